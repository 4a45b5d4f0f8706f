use bert4rs_testing::{Case, golden};

use super::*;

fn numbers(case: &Case, key: &str) -> (Vec<f64>, usize) {
    let tensor = case.input(key);
    let width = *tensor.shape().last().unwrap();
    (tensor.to_f64_vec(), width)
}

fn moments(x: &[f64], width: usize) -> Fitter {
    let mut moments = Fitter::new(width);
    moments.update(x).unwrap();
    moments
}

fn close(case: &Case, key: &str, got: &[f64]) {
    let want = bert4rs_testing::tensor_of(&case.expected[key]).to_f64_vec();
    assert_eq!(want.len(), got.len(), "{}: {key}", case.name);
    for (i, (want, got)) in want.iter().zip(got).enumerate() {
        assert!(
            (want - got).abs() <= case.tol * (1.0 + want.abs()),
            "{}: {key}[{i}] {got}, {want}",
            case.name
        );
    }
}

/// `a^T b` per row.
fn cosines(whitening: &Whitening, left: &[f64], right: &[f64]) -> Vec<f64> {
    let (a, b) = (whitening.transform(left).unwrap(), whitening.transform(right).unwrap());
    let k = whitening.dimensions;
    a.chunks(k).zip(b.chunks(k)).map(|(a, b)| a.iter().zip(b).map(|(a, b)| a * b).sum()).collect()
}

#[test]
fn two_points_by_hand() {
    // Mean 2, variance 1: the points become -1 and 1.
    let whitening = Whitening::fit(&moments(&[1.0, 3.0], 1), &Config::default()).unwrap();
    assert_eq!((whitening.mean[0], whitening.eigenvalues[0]), (2.0, 1.0));
    assert_eq!(whitening.project(&[1.0, 2.0, 3.0]).unwrap().map_abs(), [1.0, 0.0, 1.0]);
    let halved = Config { gamma: 0.0, beta: 0.5, ..Config::default() };
    let halved = Whitening::fit(&moments(&[1.0, 3.0], 1), &halved).unwrap();
    assert_eq!(halved.project(&[5.0]).unwrap().map_abs(), [4.0]);
}

trait MapAbs {
    fn map_abs(self) -> Self;
}

impl MapAbs for Vec<f64> {
    fn map_abs(self) -> Self {
        self.into_iter().map(f64::abs).collect()
    }
}

#[test]
fn fits_equal_the_golden_vectors() {
    let mut seen = 0;
    for case in golden("bert-whitening").iter().filter(|c| c.name.starts_with("fit_transform")) {
        let (x, width) = numbers(case, "x");
        let config = Config {
            dimensions: Some(case.number("n_components") as usize),
            beta: case.number("beta"),
            gamma: case.number("gamma"),
            ..Config::default()
        };
        let whitening = Whitening::fit(&moments(&x, width), &config).unwrap();
        close(case, "mean", &whitening.mean);
        close(case, "eigenvalues", &whitening.eigenvalues);
        let (kernel, k) = (&whitening.kernel, whitening.dimensions);
        let gram: Vec<f64> = (0..width * width)
            .map(|n| (0..k).map(|j| kernel[n / width * k + j] * kernel[n % width * k + j]).sum())
            .collect();
        close(case, "kernel_gram", &gram);
        let (left, right) = (numbers(case, "left").0, numbers(case, "right").0);
        close(case, "pair_cosine", &cosines(&whitening, &left, &right));
        seen += 1;
    }
    assert_eq!(seen, 6);
}

#[test]
fn whitened_vectors_have_the_identity_as_covariance() {
    let cases = golden("bert-whitening");
    let case = cases.iter().find(|c| c.name == "whitened_covariance_is_identity").unwrap();
    let (x, width) = numbers(case, "x");
    let whitening = Whitening::fit(&moments(&x, width), &Config::default()).unwrap();
    let after = moments(&whitening.project(&x).unwrap(), width);
    close(case, "cov_after", &after.second_moment(1.0));
    close(case, "mean_after", after.mean());
}

#[test]
fn parts_and_merged_parts_equal_the_whole() {
    let cases = golden("bert-whitening");
    let case = cases.iter().find(|c| c.name == "streaming_equals_batch").unwrap();
    let chunks = case.inputs["chunks"].as_array().unwrap().iter().map(bert4rs_testing::tensor_of);
    let (width, mut all) = (6, Vec::new());
    let mut streamed = Fitter::new(width);
    let mut parts: Vec<Fitter> = Vec::new();
    for chunk in chunks.map(|chunk| chunk.to_f64_vec()) {
        streamed.update(&chunk).unwrap();
        parts.push(moments(&chunk, width));
        all.extend(chunk);
    }
    let mut merged = parts.pop().unwrap();
    parts.iter().for_each(|part| merged.merge(part).unwrap());
    for fitter in [&streamed, &merged, &moments(&all, width)] {
        assert_eq!(fitter.count() as f64, case.expected["count"].as_f64().unwrap());
        close(case, "mean", fitter.mean());
        close(case, "cov", &fitter.second_moment(1.0));
    }
}

#[test]
fn directions_without_deviation_are_dropped_or_refused() {
    let cases = golden("bert-whitening");
    let case = cases.iter().find(|c| c.name == "rank_deficient_n4").unwrap();
    let (x, width) = numbers(case, "x");
    let whitening = Whitening::fit(&moments(&x, width), &Config::default()).unwrap();
    assert_eq!(whitening.rank as f64, case.expected["numerical_rank"].as_f64().unwrap());
    assert_eq!(whitening.dimensions, 3);
    close(case, "eigenvalues_top", &whitening.eigenvalues[..3]);
    let y = whitening.transform(&x).unwrap();
    let gram: Vec<f64> = (0..16).map(|n| (0..3).map(|j| y[n / 4 * 3 + j] * y[n % 4 * 3 + j]).sum()).collect();
    close(case, "gram_after", &gram);
    let strict = Config { on_rank_deficient: OnRankDeficient::Error, ..Config::default() };
    let error = Whitening::fit(&moments(&x, width), &strict).unwrap_err().to_string();
    assert!(error.contains("fill 3 of 6 dimensions"), "{error}");
    let turned = Config { beta: 0.0, gamma: 0.0, ..strict };
    assert_eq!(Whitening::fit(&moments(&x, width), &turned).unwrap().dimensions, 6);
}

/// Pearson of average ranks, here only to read the file's cases; scores of users come from `train`.
fn spearman(a: &[f64], b: &[f64]) -> f64 {
    let ranks = |xs: &[f64]| -> Vec<f64> {
        let below = |x: f64| xs.iter().filter(|&&y| y < x).count() as f64;
        let equal = |x: f64| xs.iter().filter(|&&y| y == x).count() as f64;
        xs.iter().map(|&x| below(x) + (equal(x) - 1.0) / 2.0).collect()
    };
    let centred = |xs: Vec<f64>| -> Vec<f64> {
        let mean = xs.iter().sum::<f64>() / xs.len() as f64;
        xs.into_iter().map(|x| x - mean).collect()
    };
    let (a, b) = (centred(ranks(a)), centred(ranks(b)));
    let dot = |x: &[f64], y: &[f64]| -> f64 { x.iter().zip(y).map(|(x, y)| x * y).sum() };
    dot(&a, &b) / (dot(&a, &a) * dot(&b, &b)).sqrt()
}

#[test]
fn rank_correlations_equal_the_golden_vectors() {
    let mut seen = 0;
    for case in golden("bert-whitening").iter().filter(|c| c.name.starts_with("spearman")) {
        let rho = spearman(&numbers(case, "a").0, &numbers(case, "b").0);
        if case.expected["rho"].is_string() {
            assert!(rho.is_nan(), "{}", case.name);
        } else {
            close(case, "rho", &[rho]);
        }
        seen += 1;
    }
    assert_eq!(seen, 4);
}

#[test]
fn what_is_noise_stays_noise() {
    // Cosines of isotropic vectors behind a map and a large offset come back: raw ones say little.
    let mut state = 1u64;
    let mut normal = || {
        let mut sum = -6.0;
        for _ in 0..12 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            sum += (state >> 11) as f64 / (1u64 << 53) as f64;
        }
        sum
    };
    let (hidden, width, rows) = (8, 32, 600);
    let map: Vec<f64> = (0..hidden * width).map(|i| normal() * (-0.2 * (i / width) as f64).exp()).collect();
    let offset: Vec<f64> = (0..width).map(|_| 6.0 * normal()).collect();
    let z: Vec<f64> = (0..rows * hidden).map(|_| normal()).collect();
    let x: Vec<f64> = (0..rows * width)
        .map(|n| {
            let (row, j) = (n / width, n % width);
            (0..hidden).map(|i| z[row * hidden + i] * map[i * width + j]).sum::<f64>()
                + offset[j]
                + 0.02 * normal()
        })
        .collect();
    let cosine = |xs: &[f64], width: usize| -> Vec<f64> {
        let dot = |x: &[f64], y: &[f64]| -> f64 { x.iter().zip(y).map(|(x, y)| x * y).sum() };
        let pairs = xs.chunks(2 * width).map(|pair| pair.split_at(width));
        pairs.map(|(a, b)| dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()).collect()
    };
    let gold = cosine(&z, hidden);
    let keep = Config { dimensions: Some(hidden), ..Config::default() };
    let whitening = Whitening::fit(&moments(&x, width), &keep).unwrap();
    let whitened = cosine(&whitening.transform(&x).unwrap(), hidden);
    let (raw, white) = (spearman(&gold, &cosine(&x, width)), spearman(&gold, &whitened));
    assert!(white > 0.98 && white > raw + 0.05, "raw {raw}, whitened {white}");
}

#[test]
fn bad_input_says_where_and_changes_nothing() {
    let mut moments = moments(&[1.0, 2.0, 3.0, 4.0], 2);
    let before = moments.clone();
    let error = moments.update(&[1.0, f64::NAN]).unwrap_err().to_string();
    assert!(error.contains("vector 3: number 2 is not finite"), "{error}");
    assert!(moments.update(&[1.0]).is_err() && moments.merge(&Fitter::new(3)).is_err());
    assert_eq!(moments, before);
    for dimensions in [Some(0), Some(3)] {
        let error = Whitening::fit(&moments, &Config { dimensions, ..Config::default() }).unwrap_err();
        assert!(error.to_string().contains("expected 1 to 2"), "{error}");
    }
    let one = {
        let mut one = Fitter::new(2);
        one.update(&[1.0, 2.0]).unwrap();
        one
    };
    assert!(Whitening::fit(&one, &Config::default()).unwrap_err().to_string().contains("at least 2"));
}

#[test]
fn the_linear_layer_is_the_map() {
    let x: Vec<f32> = (0..60).map(|i| ((i * 37 % 101) as f32).sin() + (i % 3) as f32 * 5.0).collect();
    let mut moments = Fitter::new(3);
    moments.update(&x).unwrap();
    let whitening = Whitening::fit(&moments, &Config { dimensions: Some(2), ..Config::default() }).unwrap();
    let (weight, bias) = whitening.linear_layer();
    for (row, y) in x.chunks(3).zip(whitening.project(&x).unwrap().chunks(2)) {
        for j in 0..2 {
            let got: f32 = row.iter().zip(&weight[3 * j..]).map(|(x, w)| x * w).sum::<f32>() + bias[j];
            assert!((f64::from(got) - y[j]).abs() < 1e-4, "{got} {}", y[j]);
        }
    }
}
