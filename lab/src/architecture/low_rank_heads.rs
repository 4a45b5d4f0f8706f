//! Narrow heads make scores of low rank: how that limits them, and what talking heads do about it.
//! Reference:   Bhojanapalli et al., 2020; Shazeer et al., 2020; Su, 2020-04-13 (article 24).

use anyhow::Result;
use bert4rs_nn::block::attention::{identity_mixing, mix_heads, scaled_scores};
use bert4rs_nn::{Builder, Ctx, Init};
use bert4rs_tensor::{DType, ParameterKind, Params, Rng, Tensor};

use crate::plot::{Axis, Lines, Plot, Series};
use crate::report::{Cell, Report, Table, mean};
use crate::train::{Recipe, last_tenth};
use crate::{Check, Experiment, Setup, Verdict};

pub const EXPERIMENT: Experiment = Experiment {
    name: "low_rank_heads",
    article: 24,
    claim: "The scores of a head have no higher rank than its keys are wide, so that a given attention over n \
            tokens is fitted ever better until keys are about n wide; heads that mix their scores reach a \
            higher rank, and fit better where keys are narrow.",
    run,
};

const HEADS: usize = 8;

fn run(setup: &Setup, report: &mut Report) -> Result<Verdict> {
    let mut checks = ranks(setup, report)?;
    checks.extend(fits(setup, report, Target::Permutation)?);
    checks.extend(fits(setup, report, Target::Anything)?);
    report.note(
        "A head is fitted from the tokens' random vectors by its two products, 500 steps of AdamW. Keys of \
         width 2 hold any permutation, on a circle, once scores are large; attention that is no choice of \
         one token needs the rank.",
    );
    Ok(Verdict::of(checks))
}

/// The rank of one head's scores, alone and mixed with others.
fn ranks(setup: &Setup, report: &mut Report) -> Result<Vec<Check>> {
    let tokens = setup.pick(32, 8);
    let mut table = Table::new(
        format!("Rank of a head's scores over {tokens} tokens, {HEADS} heads"),
        ["width of keys", "alone", "mixed"],
    );
    let (mut alone_as_said, mut mixed_as_said) = (true, true);
    for size in widths(tokens) {
        report.progress(&format!("rank of scores with keys of width {size}"));
        let mut rng = Rng::new(1).fork(&format!("width {size}"));
        let mut heads = || rng.normal_tensor(&[HEADS, tokens, size], 1.0, DType::F64);
        let scores = scaled_scores(&heads()?, &heads()?, 1.0 / (size as f64).sqrt())?; // [H, L, L]
        let mixed = mix_heads(&scores, &rng.normal_tensor(&[HEADS, HEADS], 1.0, DType::F64)?)?;
        let first =
            |scores: &Tensor| -> Result<usize> { Ok(rank(&scores.narrow(0, 0, 1)?.to_f64_vec(), tokens)) };
        let (alone, mixed) = (first(&scores)?, first(&mixed)?);
        alone_as_said &= alone == tokens.min(size);
        mixed_as_said &= mixed == tokens.min(HEADS * size);
        table.row([size, alone, mixed].map(|n| Cell::Number(n as f64, 0)));
    }
    report.table(table);
    Ok(vec![
        Check::new(alone_as_said, "a head alone has the rank min(n, width of keys)"),
        Check::new(mixed_as_said, "mixed heads have the rank min(n, heads x width of keys)"),
    ])
}

/// 1, 2, 4, .. up to the number of tokens.
fn widths(tokens: usize) -> Vec<usize> {
    (0..).map(|i| 1 << i).take_while(|&w| w <= tokens).collect()
}

/// The rank of a square matrix, by elimination with the largest pivot.
fn rank(matrix: &[f64], n: usize) -> usize {
    let mut a = matrix.to_vec();
    let largest = a.iter().fold(0.0f64, |m, x| m.max(x.abs()));
    for step in 0..n {
        let places = (step..n).flat_map(|i| (step..n).map(move |j| (i, j)));
        let pivot = places.max_by(|&(i, j), &(k, l)| a[i * n + j].abs().total_cmp(&a[k * n + l].abs()));
        let Some((row, column)) = pivot else { return step };
        if a[row * n + column].abs() <= 1e-9 * largest {
            return step;
        }
        (0..n).for_each(|j| a.swap(step * n + j, row * n + j));
        (0..n).for_each(|i| a.swap(i * n + step, i * n + column));
        for i in step + 1..n {
            let factor = a[i * n + step] / a[step * n + step];
            (step..n).for_each(|j| a[i * n + j] -= factor * a[step * n + j]);
        }
    }
    n
}

/// What heads are fitted to, each to its own.
#[derive(Clone, Copy)]
enum Target {
    /// Every token looks at one other.
    Permutation,
    /// Every token looks everywhere, by the softmax of normal numbers of deviation 2.
    Anything,
}

/// How far heads stay from a target, by the width of their keys.
fn fits(setup: &Setup, report: &mut Report, target: Target) -> Result<Vec<Check>> {
    let tokens = setup.pick(32, 8);
    let widths = widths(tokens);
    let names = ["plain heads", "talking heads"];
    let (file, what) = match target {
        Target::Permutation => ("permutation", "permutations"),
        Target::Anything => ("anything", "random attention"),
    };
    // By kind, width and seed.
    let mut losses = vec![vec![Vec::new(); widths.len()]; 2];
    for seed in setup.seeds() {
        for (kind, losses) in losses.iter_mut().enumerate() {
            for (&size, losses) in widths.iter().zip(losses) {
                report.progress(&format!("seed {seed}: {what}, {}, keys of width {size}", names[kind]));
                losses.push(fit(setup, target, size, kind == 1, seed)?);
            }
        }
    }
    let title = format!("Divergence of {HEADS} heads from {what} of {tokens} tokens, nats");
    let mut table = Table::new(title.clone(), ["width of keys", names[0], names[1]]);
    for (i, &size) in widths.iter().enumerate() {
        let cell = |kind: usize| Cell::Seeds(losses[kind][i].clone(), 3);
        table.row([Cell::Number(size as f64, 0), cell(0), cell(1)]);
    }
    report.table(table);
    let xs: Vec<f64> = widths.iter().map(|&w| w as f64).collect();
    let series = (0..2).map(|k| Series::of_seeds(names[k], &xs, &losses[k])).collect();
    let (x, y) = (Axis::log("width of keys"), Axis::linear("divergence, nats"));
    report.plot(file, Plot::Lines(Lines { title, x, y, series }));
    let of = |kind: usize, i: usize| mean(&losses[kind][i]);
    let last = widths.len() - 1;
    let (half, full) = (of(0, last - 1), of(0, last));
    let (own, mixed) = (of(0, 1), of(1, 1));
    Ok(vec![
        Check::new(
            half > full + 0.01,
            format!(
                "{what}: plain heads need keys as wide as there are tokens: {half:.3} nats at half, {full:.3} at {tokens}"
            ),
        ),
        Check::new(
            mixed < own - 0.01,
            format!(
                "{what}: talking heads fit better where keys are narrow: {mixed:.3} nats at width 2, plain {own:.3}"
            ),
        ),
    ])
}

/// The divergence that is reached.
fn fit(setup: &Setup, target: Target, size: usize, talking: bool, seed: u64) -> Result<f64> {
    let (root, tokens) = (Rng::new(seed).fork("targets"), setup.pick(32, 8));
    let width = 2 * tokens;
    let x = root.fork("tokens").normal_tensor(&[tokens, width], 1.0, DType::F32)?; // [L, D]
    let targets = match target {
        Target::Permutation => {
            let mut orders = root.fork("orders");
            let seen: Vec<usize> = (0..HEADS).flat_map(|_| orders.permutation(tokens)).collect();
            let one = |n: usize| f32::from(u8::from(seen[n / tokens] == n % tokens));
            Tensor::new((0..HEADS * tokens * tokens).map(one).collect(), &[HEADS, tokens, tokens])?
        }
        Target::Anything => {
            root.fork("scores").normal_tensor(&[HEADS, tokens, tokens], 2.0, DType::F32)?.softmax()?
        }
    };
    let entropy: f64 = targets.to_f64_vec().iter().filter(|p| **p > 0.0).map(|p| -p * p.ln()).sum();
    let rows = (HEADS * tokens) as f64;
    let (mut params, mut rng) = (Params::new(), root.fork("weights"));
    let mut builder = Builder::new(&mut params, &mut rng, DType::F32);
    let shape = [HEADS, width, size];
    let init = Init::Normal { deviation: 1.0 / (width as f64).sqrt() };
    let query = builder.parameter("query", &shape, ParameterKind::Bias, init)?;
    let key = builder.parameter("key", &shape, ParameterKind::Bias, init)?;
    let mixing = if talking { Some(identity_mixing(&mut builder, "mixing", HEADS)?) } else { None };
    let x = x.reshape(&[1, tokens, width])?.broadcast_to(&[HEADS, tokens, width])?;
    let curve = Recipe::new(setup.pick(500, 3), 2e-2).train(&params, seed, |ctx: &mut Ctx, _| {
        let (q, k) = (x.matmul(&ctx.value(&query))?, x.matmul(&ctx.value(&key))?); // [H, L, K]
        let mut scores: Tensor = scaled_scores(&q, &k, 1.0 / (size as f64).sqrt())?; // [H, L, L]
        if let Some(mixing) = &mixing {
            scores = mix_heads(&scores, &ctx.value(mixing))?;
        }
        let fitted = scores.log_softmax()?.mul(&targets)?.sum_all()?.neg()?;
        Ok(fitted.add_scalar(-entropy)?.mul_scalar(1.0 / rows)?)
    })?;
    Ok(last_tenth(&curve))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_by_hand() {
        assert_eq!(rank(&[1.0, 2.0, 2.0, 4.0], 2), 1);
        assert_eq!(rank(&[0.0, 1.0, 1.0, 0.0], 2), 2);
        assert_eq!(rank(&[0.0; 9], 3), 0);
    }
}
