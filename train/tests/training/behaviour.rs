//! What a run does.

use bert4rs_tensor::DType;
use bert4rs_train::{Evaluated, Objective, Progress, Schedule, Silent, TrainConfig, Watch, train};

use crate::toy::{Point, Toy, log, points, quick, run_folder, saved};

/// Trains a fresh toy in a fresh folder; gives the toy and the folder.
fn run(toy: Toy, examples: &[Point], config: &TrainConfig) -> (Toy, tempfile::TempDir) {
    let dir = run_folder();
    train(&toy, examples, config, dir.path(), false, &mut Silent).unwrap();
    (toy, dir)
}

/// One step over all examples without warm-up, decay or clipping.
fn one_step() -> TrainConfig {
    TrainConfig {
        epochs: 1,
        batch_tokens: 1_000_000,
        schedule: Schedule::Constant,
        warmup_ratio: 0.0,
        weight_decay: 0.0,
        max_grad_norm: 0.0,
        ..quick()
    }
}

#[test]
fn the_toy_is_learned() {
    let toy = Toy::new(DType::F32, 8, 0.1);
    let dir = run_folder();
    let before = toy.evaluate().unwrap().main;
    let config = TrainConfig { epochs: 8, ..quick() };
    let report = train(&toy, &points(200, 1), &config, dir.path(), false, &mut Silent).unwrap();
    let score = report.best.unwrap();
    assert!(before < 0.9 && score.main > 0.95, "{before} -> {}", score.main);
    assert_eq!((report.tokens, report.skipped_steps, report.stopped_early), (8 * 600, 0, false));
    assert!(report.tokens_per_second > 0.0 && report.seconds > 0.0);
    let steps = log(dir.path(), "step");
    assert_eq!(steps.len() as u64, report.steps);
    assert!(steps.iter().all(|s| s["grad_norm"].as_f64().unwrap() > 0.0 && s["steps"] == report.steps));
    assert_eq!(log(dir.path(), "evaluation").len(), 8);
}

#[test]
fn accumulated_batches_equal_one_large_batch() {
    let examples = points(32, 2);
    let large = TrainConfig { epochs: 3, ..one_step() };
    let four = TrainConfig { batch_size: Some(8), accumulate: 4, ..large.clone() };
    // A token budget makes batches of different sizes, which must count by their size.
    let ragged = TrainConfig { batch_tokens: 14, accumulate: 100, ..large.clone() };
    let (want, want_dir) = run(Toy::new(DType::F64, 8, 0.0), &examples, &large);
    for config in [four, ragged] {
        let (toy, dir) = run(Toy::new(DType::F64, 8, 0.0), &examples, &config);
        assert_eq!(log(dir.path(), "step").len(), 3);
        for (a, b) in toy.weights().iter().zip(want.weights()) {
            assert!((a - b).abs() < 1e-9, "{a} {b}");
        }
        for key in ["loss", "grad_norm"] {
            for (a, b) in log(dir.path(), "step").iter().zip(log(want_dir.path(), "step")) {
                assert!((a[key].as_f64().unwrap() - b[key].as_f64().unwrap()).abs() < 1e-9, "{key}");
            }
        }
    }
}

#[test]
fn a_long_gradient_is_clipped_to_the_norm() {
    let examples = points(16, 3);
    // With these betas an update is -lr g / (|g| + eps), so the gradient can be read off it.
    let free = TrainConfig { lr: 1.0, beta1: 0.0, beta2: 0.0, eps: 1.0, ..one_step() };
    let start = Toy::new(DType::F64, 4, 0.0).weights();
    let gradient = |config: &TrainConfig| {
        let (toy, dir) = run(Toy::new(DType::F64, 4, 0.0), &examples, config);
        let moved = start.iter().zip(toy.weights()).map(|(a, b)| a - b);
        let g: Vec<f64> = moved.map(|u| u / (1.0 - u.abs())).collect();
        let norm = g.iter().map(|g| g * g).sum::<f64>().sqrt();
        (norm, log(dir.path(), "step")[0]["grad_norm"].as_f64().unwrap())
    };
    let (norm, logged) = gradient(&free);
    assert!((norm - logged).abs() < 1e-9, "{norm} {logged}");
    let clipped = gradient(&TrainConfig { max_grad_norm: norm / 3.0, ..free.clone() });
    assert!((clipped.0 - norm / 3.0).abs() < 1e-9 && (clipped.1 - norm).abs() < 1e-9, "{clipped:?}");
    let short = gradient(&TrainConfig { max_grad_norm: norm * 3.0, ..free });
    assert!((short.0 - norm).abs() < 1e-9, "{short:?}");
}

#[test]
fn groups_learn_at_their_own_rate_and_frozen_ones_not_at_all() {
    let factors = [("encoder.bias".to_string(), 0.1)].into();
    let config = TrainConfig { lr: 1e-3, head_lr: Some(1e-2), eps: 1e-12, lr_factors: factors, ..one_step() };
    let start = Toy::new(DType::F64, 4, 0.0);
    let moved = |toy: &Toy, name: &str| {
        let pairs = start.value(name).into_iter().zip(toy.value(name));
        pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
    };
    // The first step of AdamW has the length of the learning rate.
    let (toy, _) = run(Toy::new(DType::F64, 4, 0.0), &points(16, 4), &config);
    for (name, want) in [("encoder.weight", 1e-3), ("encoder.bias", 1e-4), ("head.weight", 1e-2)] {
        assert!((moved(&toy, name) - want).abs() < 1e-8, "{name}: {}", moved(&toy, name));
    }
    let config = TrainConfig { freeze: vec!["encoder.".into()], weight_decay: 0.1, ..config };
    let (toy, _) = run(Toy::new(DType::F64, 4, 0.0), &points(16, 4), &config);
    assert_eq!((moved(&toy, "encoder.weight"), moved(&toy, "encoder.bias")), (0.0, 0.0));
    assert!(moved(&toy, "head.weight") > 1e-3);
    let dir = run_folder();
    let all = TrainConfig { freeze: vec!["encoder".into(), "head".into()], ..config };
    let error = train(&start, &points(4, 1), &all, dir.path(), false, &mut Silent).unwrap_err();
    assert_eq!(error.to_string(), "all parameters are frozen; shorten train.freeze");
}

#[test]
fn patience_ends_the_run_and_the_best_model_stays() {
    let toy = Toy::new(DType::F32, 4, 0.0);
    *toy.script.borrow_mut() = vec![0.1, 0.5, 0.4, 0.5, 0.9];
    let dir = run_folder();
    let config = TrainConfig { epochs: 5, patience: Some(2), ..quick() };
    let report = train(&toy, &points(40, 5), &config, dir.path(), false, &mut Silent).unwrap();
    assert!(report.stopped_early);
    assert_eq!((report.best.unwrap().main, report.best_step * 2), (0.5, report.steps));
    let evaluated = toy.evaluated.borrow();
    assert_eq!(evaluated.len(), 4, "an equal score is no improvement");
    assert_eq!(saved(&toy, &dir.path().join("best")), evaluated[1]);
    assert_ne!(toy.weights(), evaluated[1], "the parameters hold the last weights");
    let best: Vec<bool> =
        log(dir.path(), "evaluation").iter().map(|e| e["is_best"].as_bool().unwrap()).collect();
    assert_eq!(best, [true, true, false, false]);
}

#[test]
fn evaluations_come_every_n_steps_and_at_the_end() {
    let config = TrainConfig { batch_size: Some(4), eval_every_steps: Some(3), ..quick() };
    let (_, dir) = run(Toy::new(DType::F32, 4, 0.0), &points(20, 6), &config); // 2 epochs of 5 steps
    let at: Vec<u64> = log(dir.path(), "evaluation").iter().map(|e| e["step"].as_u64().unwrap()).collect();
    assert_eq!(at, [3, 6, 9, 10]);
    let lr: Vec<f64> = log(dir.path(), "step").iter().map(|e| e["lr"].as_f64().unwrap() / 0.02).collect();
    assert!(lr.iter().zip([1.0, 1.0, 8. / 9., 7. / 9.]).all(|(a, b)| (a - b).abs() < 1e-12), "{lr:?}");
}

#[test]
fn the_average_is_what_is_evaluated_and_kept() {
    let config = TrainConfig { average: Some(0.5), epochs: 1, ..quick() };
    let start = Toy::new(DType::F64, 4, 0.0).weights();
    let (toy, dir) = run(Toy::new(DType::F64, 4, 0.0), &points(4, 7), &config); // one step
    let decay = 2.0 / 11.0; // of the first update
    let average = start.iter().zip(toy.weights()).map(|(a, b)| decay * a + (1.0 - decay) * b);
    let evaluated = toy.evaluated.borrow()[0].clone();
    assert!(average.zip(&evaluated).all(|(a, b)| (a - b).abs() < 1e-15));
    assert_ne!(evaluated, toy.weights());
    assert_eq!(saved(&toy, &dir.path().join("best")), evaluated);
}

#[test]
fn the_seed_decides_the_run() {
    let weights = |seed: u64| {
        let config = TrainConfig { seed, ..quick() };
        run(Toy::new(DType::F32, 8, 0.1), &points(40, 8), &config).0.weights()
    };
    let first = weights(1);
    assert_eq!(first, weights(1));
    assert_ne!(first, weights(2));
}

#[test]
fn the_number_of_threads_changes_nothing() {
    // Wide enough that products, sums and updates are shared out.
    let examples = points(256, 8);
    let weights = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let config = TrainConfig { epochs: 1, batch_tokens: 384, average: Some(0.9), ..quick() };
        pool.install(|| run(Toy::new(DType::F32, 6000, 0.1), &examples, &config).0.weights())
    };
    let one = weights(1);
    assert_eq!(one, weights(2));
    assert_eq!(one, weights(3));
}

#[test]
fn a_step_without_a_finite_gradient_changes_nothing() {
    let mut examples = points(12, 9);
    examples[3].at[0] = f64::NAN;
    let toy = Toy::new(DType::F32, 4, 0.0);
    let dir = run_folder();
    let config = TrainConfig { batch_size: Some(4), ..quick() };
    let mut notes = Notes::default();
    let report = train(&toy, &examples, &config, dir.path(), false, &mut notes).unwrap();
    assert_eq!((report.steps, report.skipped_steps), (6, 2), "one bad batch in each epoch");
    assert_eq!(log(dir.path(), "skipped").len(), 2);
    assert!(toy.weights().iter().all(|w| w.is_finite()));
    assert!(notes.0[0].contains("skipped: the gradient of encoder.weight (first of them) is not finite"));
}

#[test]
fn ten_bad_steps_in_a_row_end_the_run() {
    let mut examples = points(40, 9);
    examples.iter_mut().for_each(|p| p.at[1] = f64::INFINITY);
    let toy = Toy::new(DType::F32, 4, 0.0);
    let before = toy.weights();
    let dir = run_folder();
    let config = TrainConfig { batch_size: Some(2), ..quick() };
    let error = train(&toy, &examples, &config, dir.path(), false, &mut Silent).unwrap_err().to_string();
    assert!(error.starts_with("10 steps in a row were skipped, the last one is step 10: "), "{error}");
    assert!(error.contains("the gradient of encoder.weight") && error.contains("lower train.lr"), "{error}");
    assert_eq!(toy.weights(), before);
}

#[test]
fn the_watcher_sees_steps_and_evaluations() {
    let toy = Toy::new(DType::F32, 4, 0.0);
    let dir = run_folder();
    let config = TrainConfig { batch_size: Some(5), ..quick() };
    let mut notes = Notes::default();
    train(&toy, &points(10, 1), &config, dir.path(), false, &mut notes).unwrap();
    assert_eq!(notes.0, ["1 of 4", "2 of 4", "evaluated", "3 of 4", "4 of 4", "evaluated"]);
}

#[test]
fn bad_input_is_an_error_that_says_so() {
    let toy = Toy::new(DType::F32, 4, 0.0);
    let dir = run_folder();
    let error = |examples: &[Point], config: TrainConfig| {
        train(&toy, examples, &config, dir.path(), false, &mut Silent).unwrap_err().to_string()
    };
    assert!(error(&[], quick()).contains("no training examples"));
    assert!(error(&points(2, 1), TrainConfig { lr: 0.0, ..quick() }).starts_with("train.lr: is 0, expected"));
    let mut wrong = points(2, 1);
    wrong[1].side = 7;
    assert!(error(&wrong, quick()).contains("loss of step 1: cross_entropy: target 7"));
}

/// Collects what the trainer says.
#[derive(Default)]
struct Notes(Vec<String>);

impl Watch for Notes {
    fn step(&mut self, progress: &Progress) {
        if progress.grad_norm.is_finite() && progress.steps == 4 {
            self.0.push(format!("{} of {}", progress.step, progress.steps));
        }
    }

    fn evaluated(&mut self, evaluated: &Evaluated) {
        if evaluated.epoch > 0 && evaluated.step.is_multiple_of(2) && evaluated.step <= 4 {
            self.0.push("evaluated".into());
        }
    }

    fn note(&mut self, message: &str) {
        self.0.insert(0, message.into());
    }
}

#[test]
fn sixteen_bits_train_as_well_and_small_scales_adapt() {
    use bert4rs_train::Precision;
    let examples = points(200, 1);
    let score = |precision| {
        let toy = Toy::new(DType::F32, 8, 0.0);
        let config = TrainConfig { epochs: 8, precision, ..quick() };
        let (toy, dir) = run(toy, &examples, &config);
        let skipped = log(dir.path(), "skipped").len();
        (toy.evaluate().unwrap().main, toy.weights(), skipped)
    };
    let (single, weights, _) = score(Precision::F32);
    for precision in [Precision::Bf16, Precision::F16] {
        let (half, others, skipped) = score(precision);
        assert!((half - single).abs() < 0.05, "{precision:?}: {half} {single}");
        assert_ne!(weights, others, "{precision:?}");
        assert_eq!(skipped, 0);
    }
}

#[test]
fn a_scale_that_overflows_halves_until_it_does_not() {
    use bert4rs_train::Precision;
    let mut examples = points(64, 3);
    // Gradients of about 8: times 65536 they are beyond f16.
    examples.iter_mut().for_each(|p| p.at.iter_mut().for_each(|x| *x *= 8.0));
    let config = TrainConfig { epochs: 4, precision: Precision::F16, ..quick() };
    let (toy, dir) = run(Toy::new(DType::F32, 8, 0.0), &examples, &config);
    let skipped = log(dir.path(), "skipped").len();
    assert!((1..8).contains(&skipped), "{skipped}");
    assert!(toy.weights().iter().all(|w| w.is_finite()));
}
