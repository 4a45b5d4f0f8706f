//! The scale at which a softmax passes most gradient: its formula, random rows, and a contrastive loss.
//! Reference:   Su, From gradient maximisation to the scale of attention, 2023 (article 39).

use anyhow::Result;
use bert4rs_nn::block::Linear;
use bert4rs_nn::block::attention::{
    empirical_scale, optimal_scale_cosine, optimal_scale_normal, softmax_gradient_l1,
};
use bert4rs_nn::loss::cross_entropy;
use bert4rs_nn::{Builder, Ctx, Init};
use bert4rs_tensor::{DType, Params, Rng, Tensor};

use crate::plot::{Axis, Lines, Plot, Series};
use crate::report::{Cell, Report, Table, mean};
use crate::train::Recipe;
use crate::{Check, Experiment, Setup, Verdict};

pub const EXPERIMENT: Experiment = Experiment {
    name: "gradient_max_scale",
    article: 39,
    claim: "The softmax of n normal scores passes most gradient when they are multiplied by \
            sqrt(W(n sqrt(e) / 2) - 1/2), about 2 for n = 512; a contrastive loss learns best near the \
            corresponding scale of cosines, and badly at 1.",
    run,
};

/// Scales are searched up to here.
const HIGHEST: f64 = 12.0;
/// Scales of cosines that are tried beside the formula's.
const COSINE_SCALES: [f64; 7] = [1.0, 2.0, 5.0, 20.0, 28.0, 40.0, 100.0];
/// Width of the vectors that are compared.
const WIDTH: usize = 32;

fn run(setup: &Setup, report: &mut Report) -> Result<Verdict> {
    let mut checks = random_rows(setup, report)?;
    checks.extend(contrastive(setup, report)?);
    Ok(Verdict::of(checks))
}

/// The formula beside the mean over rows of normal scores.
fn random_rows(setup: &Setup, report: &mut Report) -> Result<Vec<Check>> {
    let shown = setup.pick(512, 64);
    let scales: Vec<f64> = (1..=60).map(|i| f64::from(i) * HIGHEST / 60.0).collect();
    let columns =
        ["scores", "formula", "best of each row", "gradient at 1", "at the formula", "at 2.5", "best mean"];
    let mut table = Table::new("Scales of normal scores, and the mean gradient they pass", columns);
    let mut checks = Vec::new();
    for n in setup.pick(vec![40, 512, 4096], vec![40, 64]) {
        report.progress(&format!("{n} random scores"));
        let mut rng = Rng::new(1).fork(&format!("{n} scores"));
        let rows: Vec<Vec<f64>> =
            (0..setup.pick(64, 4)).map(|_| (0..n).map(|_| rng.normal()).collect()).collect();
        let passed =
            |scale: f64| mean(&rows.iter().map(|r| softmax_gradient_l1(scale, r)).collect::<Vec<_>>());
        let curve: Vec<(f64, f64)> = scales.iter().map(|&a| (a, passed(a))).collect();
        let (place, best) = curve.iter().copied().max_by(|a, b| a.1.total_cmp(&b.1)).unwrap_or_default();
        let formula = optimal_scale_normal(n as f64)?;
        let own: Vec<f64> =
            rows.iter().map(|r| Ok(empirical_scale(r, 0.3, HIGHEST)?.0)).collect::<Result<_>>()?;
        let numbers = [formula, mean(&own), passed(1.0), passed(formula), passed(2.5), best];
        table.row([Cell::Number(n as f64, 0)].into_iter().chain(numbers.map(|x| Cell::Number(x, 2))));
        if n == shown {
            let (one, there) = (passed(1.0), passed(formula));
            checks.push(Check::new(
                there > one,
                format!("{n} scores pass more at {formula:.2} than at 1: {there:.2} and {one:.2}"),
            ));
            checks.push(Check::new(
                (formula / 1.5..formula * 1.5).contains(&place),
                format!("the best mean over rows, at {place:.1}, is near the formula's {formula:.2}"),
            ));
            let surrogate = |a: f64| (a, (a * (1.0 - (a * a).exp() / n as f64)).max(0.0));
            let series = vec![
                Series::new("formula's model", scales.iter().map(|&a| surrogate(a))),
                Series::new("mean of random rows", curve),
            ];
            let (x, y) = (Axis::linear("scale"), Axis::linear("half the Jacobian's absolute sum"));
            let title = format!("Gradient through the softmax of {n} normal scores");
            report.plot("gradient", Plot::Lines(Lines { title, x, y, series }));
        }
    }
    report.table(table);
    report.note(
        "The formula maximises a model in which sums over scores are expectations. Of given rows, those \
         whose two largest scores nearly tie still pass a gradient at far larger scales, so that the mean \
         over rows goes on rising: the formula is a good beginning, no maximum.",
    );
    Ok(checks)
}

/// Two noisy views of hidden vectors, made alike by a small net; which scale of the cosines finds pairs.
fn contrastive(setup: &Setup, report: &mut Report) -> Result<Vec<Check>> {
    let candidates = setup.pick(128, 16);
    let formula = optimal_scale_cosine(candidates as f64, WIDTH)?;
    let mut scales = [&COSINE_SCALES[..], &[formula]].concat();
    scales.sort_by(f64::total_cmp);
    let mut found = vec![Vec::new(); scales.len()];
    for seed in setup.seeds() {
        report.progress(&format!("seed {seed}: contrastive losses"));
        for (scale, found) in scales.iter().zip(&mut found) {
            found.push(100.0 * pairs_found(setup, *scale, candidates, seed)?);
        }
    }
    let mut table = Table::new("Pairs that a contrastive loss finds, % of 512", ["scale", "found"]);
    for (scale, found) in scales.iter().zip(&found) {
        table.row([Cell::Number(*scale, usize::from(*scale == formula)), Cell::Seeds(found.clone(), 1)]);
    }
    report.table(table);
    let series = vec![Series::of_seeds("found", &scales, &found)];
    let (x, y) = (Axis::log("scale of cosines"), Axis::linear("pairs found, %"));
    let title = format!("Scale of a contrastive loss; the formula says {formula:.1}");
    report.plot("contrastive", Plot::Lines(Lines { title, x, y, series }));
    let means: Vec<f64> = found.iter().map(|f| mean(f)).collect();
    let most = means.iter().copied().fold(0.0, f64::max);
    let there = scales.iter().position(|s| *s == formula).map_or(f64::NAN, |i| means[i]);
    Ok(vec![
        Check::new(
            there > most - 1.0,
            format!(
                "the formula's {formula:.1} finds as many pairs as any, within a point: {there:.1} %, the best {most:.1} %"
            ),
        ),
        Check::new(
            means[0] < 0.8 * most,
            format!("at scale 1 far fewer pairs are found: {:.1} % and {most:.1} %", means[0]),
        ),
    ])
}

/// The share of held-out vectors whose other view is the nearest.
fn pairs_found(setup: &Setup, scale: f64, candidates: usize, seed: u64) -> Result<f64> {
    const HIDDEN: usize = 24;
    const SEEN: usize = 64;
    let (mut params, root) = (Params::new(), Rng::new(seed).fork("contrastive"));
    let mut rng = root.fork("weights");
    let mut builder = Builder::new(&mut params, &mut rng, DType::F32);
    let first = Linear::new(&mut builder.at("first"), SEEN, 128, true, Init::LeCun)?;
    let second = Linear::new(&mut builder.at("second"), 128, WIDTH, true, Init::LeCun)?;
    let deviation = 1.0 / (HIDDEN as f64).sqrt();
    let sides =
        ["left", "right"].map(|side| root.fork(side).normal_tensor(&[HIDDEN, SEEN], deviation, DType::F32));
    let [left, right] = sides;
    let (left, right) = (left?, right?);
    let unit = |ctx: &mut Ctx, x: &Tensor| -> Result<Tensor> {
        let x = second.forward(ctx, &first.forward(ctx, x)?.gelu()?)?;
        Ok(x.div(&x.square()?.sum(-1, true)?.add_scalar(1e-12)?.sqrt()?)?) // [N, WIDTH]
    };
    let cosines = |ctx: &mut Ctx, rng: &mut Rng, count: usize| -> Result<Tensor> {
        let hidden = rng.normal_tensor(&[count, HIDDEN], 1.0, DType::F32)?;
        let mut view = |side: &Tensor| -> Result<Tensor> {
            let noise = rng.normal_tensor(&[count, SEEN], 1.0, DType::F32)?;
            unit(ctx, &hidden.matmul(side)?.add(&noise)?)
        };
        let (a, b) = (view(&left)?, view(&right)?);
        Ok(a.matmul_t(&b)?) // [N, N]
    };
    let targets: Vec<i64> = (0..candidates as i64).collect();
    Recipe::new(setup.pick(300, 3), 3e-3).train(&params, seed, |ctx, rng| {
        let scores = cosines(ctx, rng, candidates)?.mul_scalar(scale)?;
        Ok(cross_entropy(&scores, &targets, 0.0)?)
    })?;
    let count = setup.pick(512, 32);
    let scores = cosines(&mut Ctx::inference(), &mut root.fork("held out"), count)?;
    let nearest = scores.argmax(-1)?.to_indices()?;
    Ok(nearest.iter().enumerate().filter(|(i, n)| i == *n).count() as f64 / count as f64)
}
