//! Which sequences run together: similar lengths, a token budget per batch.
//!
//! Packed batches need no padding, so sorting is only for an even load and small peaks of memory.
//! Results never depend on the grouping.

use rayon::prelude::*;

use crate::Result;

/// Tokens of a batch, unless the user says otherwise: so few that a layer's rows stay near the cores, so
/// many that its weights are read for a reason.
pub(crate) const BATCH_TOKENS: usize = 512;

/// Texts that are read, run and let go together, so that a stream of any length needs the same memory.
pub(crate) const CHUNK: usize = 4096;

/// Runs every batch, several at a time when there are several, and gives the results in their order.
/// A single batch has all threads to itself, inside its products.
pub(crate) fn run<R: Send>(
    batches: &[Vec<usize>],
    work: impl Fn(&[usize]) -> Result<R> + Sync + Send,
) -> Result<Vec<R>> {
    // Inside the pool even when there is one batch: its operations then wake no thread one by one.
    rayon::scope(|_| match batches {
        [one] => Ok(vec![work(one)?]),
        many => many.par_iter().with_max_len(1).map(|batch| work(batch)).collect(),
    })
}

/// Groups of positions in `lengths`; longest first, each group at most `budget` tokens (a longer
/// sequence stands alone). Every position occurs once.
pub fn batches(lengths: &[usize], budget: usize) -> Vec<Vec<usize>> {
    let mut order: Vec<usize> = (0..lengths.len()).collect();
    order.sort_by_key(|&i| (std::cmp::Reverse(lengths[i]), i));
    let mut groups: Vec<Vec<usize>> = Vec::new();
    let mut room = 0;
    for i in order {
        if groups.is_empty() || lengths[i] > room {
            groups.push(Vec::new());
            room = budget;
        }
        room = room.saturating_sub(lengths[i]);
        if let Some(group) = groups.last_mut() {
            group.push(i);
        }
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_respect_the_budget_and_lose_nothing() {
        let lengths = [5, 100, 3, 8, 0, 7];
        let groups = batches(&lengths, 16);
        assert_eq!(groups, [vec![1], vec![3, 5], vec![0, 2, 4]]);
        let mut all: Vec<usize> = groups.concat();
        all.sort_unstable();
        assert_eq!(all, [0, 1, 2, 3, 4, 5]);
        assert!(batches(&[], 16).is_empty());
    }
}
