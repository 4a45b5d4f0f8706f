//! Both precisions on the same texts.

use std::path::Path;
use std::time::Instant;

use bert4rs_nn::encoder::Precision;
use bert4rs_text::Example;
use bert4rs_train::metric::EntityScore;

use super::{Agreement, Calibration};
use crate::ner::{Answer, NerModel, PredictOptions};
use crate::sentence::{Options, SentenceEncoder};
use crate::{Error, Result, scheduler};

/// Texts that are enough; more of them change no figure.
pub const MOST_TEXTS: usize = 20_000;
/// Fewer texts, or fewer entities, say nothing about a tenth of a point.
const LEAST: usize = 100;

/// Of sentence vectors. Texts that follow each other are compared with each other: give pairs of
/// sentences one after the other.
pub fn of_vectors(dir: &Path, texts: &[&str], bound: f64, options: &Options) -> Result<Calibration> {
    enough("texts", texts.len())?;
    let models = [Precision::F32, Precision::Int8].map(|p| SentenceEncoder::open(dir)?.prepare(p));
    let [exact, short] = models;
    let (exact, short) = (exact?, short?);
    let (mut cosines, mut worst, mut change, mut pairs) = (0.0, f64::MAX, 0.0, 0usize);
    let mut seconds = [0.0; 2];
    for chunk in texts.chunks(scheduler::CHUNK) {
        let a = timed(&mut seconds[0], || exact.encode(chunk, options))?.vectors;
        let b = timed(&mut seconds[1], || short.encode(chunk, options))?.vectors;
        for (a, b) in a.iter().zip(&b) {
            let cosine = cosine(a, b);
            cosines += cosine;
            worst = f64::min(worst, cosine);
        }
        for (a, b) in a.windows(2).zip(b.windows(2)) {
            change += (cosine(&a[0], &a[1]) - cosine(&b[0], &b[1])).abs();
            pairs += 1;
        }
    }
    let agreement = Agreement::Vectors {
        mean_cosine: cosines / texts.len() as f64,
        worst_cosine: worst,
        score_change: change / pairs.max(1) as f64,
    };
    Calibration::new(dir, texts.len(), agreement, bound, seconds[0] / seconds[1].max(1e-9))
}

/// Of an entity model, on annotated texts.
pub fn of_entities(
    dir: &Path,
    examples: &[Example],
    bound: f64,
    options: &PredictOptions,
) -> Result<Calibration> {
    enough("annotated entities", examples.iter().map(|e| e.entities.len()).sum())?;
    let exact = NerModel::open(dir)?.prepare(Precision::F32)?;
    let short = NerModel::open(dir)?.prepare(Precision::Int8)?;
    let (mut scores, mut same, mut seconds) = ([EntityScore::default(), EntityScore::default()], 0, [0.0; 2]);
    for (chunk, examples) in examples.chunks(scheduler::CHUNK).enumerate() {
        let texts: Vec<&str> = examples.iter().map(|e| e.text.as_str()).collect();
        let named = |e: Error| match e {
            Error::Text { index, message } => {
                Error::Text { index: chunk * scheduler::CHUNK + index, message }
            }
            other => other,
        };
        let a = timed(&mut seconds[0], || exact.predict(&texts, options)).map_err(named)?;
        let b = timed(&mut seconds[1], || short.predict(&texts, options)).map_err(named)?;
        for (example, (a, b)) in examples.iter().zip(a.iter().zip(&b)) {
            let gold: Vec<_> = example.entities.iter().map(|e| (e.start, e.end, e.label.as_str())).collect();
            let (a, b) = (spans(a), spans(b));
            scores[0].add(&gold, &a);
            scores[1].add(&gold, &b);
            same += usize::from(a == b);
        }
    }
    let agreement = Agreement::Entities {
        f1_f32: scores[0].total.f1(),
        f1_int8: scores[1].total.f1(),
        same_answers: same as f64 / examples.len() as f64,
    };
    Calibration::new(dir, examples.len(), agreement, bound, seconds[0] / seconds[1].max(1e-9))
}

fn enough(what: &str, count: usize) -> Result<()> {
    if count >= LEAST {
        return Ok(());
    }
    Err(Error::Input(format!("{count} {what} are too few to calibrate with; give {LEAST} or more")))
}

fn timed<R>(seconds: &mut f64, work: impl FnOnce() -> R) -> R {
    let start = Instant::now();
    let result = work();
    *seconds += start.elapsed().as_secs_f64();
    result
}

fn spans(answer: &Answer) -> Vec<(usize, usize, &str)> {
    answer.entities.iter().map(|e| (e.start, e.end, e.label.as_str())).collect()
}

/// 0 where a vector is 0.
fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum::<f64>();
    let lengths = (dot(a, a) * dot(b, b)).sqrt();
    if lengths == 0.0 { 0.0 } else { dot(a, b) / lengths }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cosines_are_of_directions() {
        assert_eq!(cosine(&[3.0, 0.0], &[5.0, 0.0]), 1.0);
        assert_eq!(cosine(&[1.0, 1.0], &[-2.0, 2.0]), 0.0);
        assert_eq!(cosine(&[0.0, 0.0], &[1.0, 2.0]), 0.0);
    }

    #[test]
    fn few_texts_are_refused() {
        let error = of_vectors(Path::new("none"), &["a"; 99], 1.0, &Options::default()).unwrap_err();
        assert!(error.to_string().contains("99 texts are too few"), "{error}");
    }
}
