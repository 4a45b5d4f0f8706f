//! The batches of an epoch, a function of (seed, epoch, lengths) alone.
//! Definition:  shuffle; sort by length inside groups of about 64 batches, so that neighbours have
//!              similar lengths; cut where the token budget is full; shuffle the batches
//! Cost:        O(N log N) per epoch

use bert4rs_tensor::Rng;

use crate::TrainConfig;

/// Batches sorted together: enough that lengths inside a batch agree, few enough that batches of
/// two epochs have different members.
const GROUP: usize = 64;

/// The batches of an epoch (from 0), as indices of examples. Every example is in exactly one.
pub(crate) fn batches(lengths: &[usize], config: &TrainConfig, epoch: usize) -> Vec<Vec<usize>> {
    let mut rng = Rng::new(config.seed).fork(&format!("batches of epoch {epoch}"));
    let order = rng.permutation(lengths.len());
    let largest = config.batch_size.unwrap_or(usize::MAX);
    let mut batches = Vec::new();
    for group in groups(&order, lengths, config.batch_tokens, largest) {
        let mut group = group.to_vec();
        group.sort_by_key(|&i| lengths[i]); // stable: equal lengths stay shuffled
        batches.extend(cut(&group, lengths, config.batch_tokens, largest).map(<[usize]>::to_vec));
    }
    rng.permutation(batches.len()).into_iter().map(|i| std::mem::take(&mut batches[i])).collect()
}

/// Consecutive runs worth about [`GROUP`] batches.
fn groups<'a>(
    order: &'a [usize],
    lengths: &'a [usize],
    budget: usize,
    largest: usize,
) -> impl Iterator<Item = &'a [usize]> {
    cut(order, lengths, budget.saturating_mul(GROUP), largest.saturating_mul(GROUP))
}

/// Consecutive runs of at most `budget` tokens and `largest` examples, at least one example each.
fn cut<'a>(
    order: &'a [usize],
    lengths: &'a [usize],
    budget: usize,
    largest: usize,
) -> impl Iterator<Item = &'a [usize]> {
    let mut rest = order;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let mut tokens = 0;
        let fits = rest.iter().take(largest).take_while(|&&i| {
            tokens += lengths[i];
            tokens <= budget
        });
        let (batch, after) = rest.split_at(fits.count().max(1));
        rest = after;
        Some(batch)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lengths() -> Vec<usize> {
        (0..500).map(|i| 1 + (i * 7919) % 37).collect()
    }

    #[test]
    fn every_example_is_in_one_batch_within_the_budget() {
        let (lengths, config) = (lengths(), TrainConfig { batch_tokens: 64, ..Default::default() });
        let all = batches(&lengths, &config, 0);
        let mut seen: Vec<usize> = all.concat();
        seen.sort_unstable();
        assert_eq!(seen, (0..500).collect::<Vec<_>>());
        assert!(all.iter().all(|b| b.iter().map(|&i| lengths[i]).sum::<usize>() <= 64));
        let tokens: usize = lengths.iter().sum();
        assert!(all.len() < tokens / 64 * 3 / 2, "{} batches for {tokens} tokens", all.len());
        let limited = TrainConfig { batch_size: Some(2), ..config };
        assert!(batches(&lengths, &limited, 0).iter().all(|b| (1..=2).contains(&b.len())));
    }

    #[test]
    fn a_long_example_is_a_batch_by_itself() {
        let config = TrainConfig { batch_tokens: 10, ..Default::default() };
        let all = batches(&[4, 99, 4], &config, 0);
        assert_eq!(all.len(), 2);
        assert!(all.contains(&vec![1]));
        assert!(batches(&[], &config, 0).is_empty());
    }

    #[test]
    fn the_order_depends_on_seed_and_epoch_alone() {
        let (lengths, config) = (lengths(), TrainConfig { batch_tokens: 64, ..Default::default() });
        let first = batches(&lengths, &config, 0);
        assert_eq!(first, batches(&lengths, &config, 0));
        assert_ne!(first, batches(&lengths, &config, 1));
        assert_ne!(first, batches(&lengths, &TrainConfig { seed: 1, ..config }, 0));
    }

    #[test]
    fn members_of_a_batch_have_similar_lengths() {
        let (lengths, config) = (lengths(), TrainConfig { batch_tokens: 200, ..Default::default() });
        let spread = |b: &Vec<usize>| {
            let longest = b.iter().map(|&i| lengths[i]).max().unwrap();
            longest - b.iter().map(|&i| lengths[i]).min().unwrap()
        };
        let all = batches(&lengths, &config, 0);
        let mean = all.iter().map(spread).sum::<usize>() as f64 / all.len() as f64;
        assert!(mean < 6.0, "mean spread {mean}");
    }
}
