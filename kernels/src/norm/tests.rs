use super::*;

const EPS: f64 = 1e-5;

fn wave(n: usize, speed: f64) -> Vec<f64> {
    (0..n).map(|i| (i as f64 * speed).sin() * 2.0 + 0.5).collect()
}

fn narrow(x: &[f64]) -> Vec<f32> {
    x.iter().map(|&x| x as f32).collect()
}

fn layer_norm<T: Real>(x: &[T], gain: Option<&[T]>, shift: Option<&[T]>, width: usize) -> [Vec<T>; 3] {
    let n = x.len() / width;
    let mut out = [vec![T::ONE; x.len()], vec![T::ONE; n], vec![T::ONE; n]];
    let [y, mean, inverse] = &mut out;
    layer_norm_forward(x, width, gain, shift, EPS, y, mean, inverse);
    out
}

fn rms_norm<T: Real>(x: &[T], gain: Option<&[T]>, width: usize) -> [Vec<T>; 2] {
    let mut out = [vec![T::ONE; x.len()], vec![T::ONE; x.len() / width]];
    let [y, inverse] = &mut out;
    rms_norm_forward(x, width, gain, EPS, y, inverse);
    out
}

#[test]
fn three_numbers_by_hand() {
    let [y, mean, inverse] = layer_norm(&[1.0, 2.0, 6.0], None, None, 3);
    let inverse_want = 1.0 / (14.0f64 / 3.0 + EPS).sqrt();
    assert!((mean[0] - 3.0).abs() < 1e-15 && (inverse[0] - inverse_want).abs() < 1e-15);
    assert!((y[2] - 3.0 * inverse_want).abs() < 1e-15);
    let [y, inverse] = rms_norm(&[1.0, 2.0, 2.0], Some(&[1.0, 1.0, 5.0]), 3);
    assert!((inverse[0] - 1.0 / (3.0 + EPS).sqrt()).abs() < 1e-15);
    assert!((y[2] - 10.0 * inverse[0]).abs() < 1e-14);
}

#[test]
fn values_are_the_plain_formulas_in_both_types() {
    for (n, width) in [(0, 5), (1, 1), (3, 17), (9, 768)] {
        let (x, gain, shift) = (wave(n * width, 0.7), wave(width, 1.3), wave(width, 2.1));
        let [y, ..] = layer_norm(&x, Some(&gain), Some(&shift), width);
        let [z, _] = rms_norm(&x, Some(&gain), width);
        let (x32, gain32, shift32) = (narrow(&x), narrow(&gain), narrow(&shift));
        let [y32, ..] = layer_norm(&x32, Some(&gain32), Some(&shift32), width);
        let [z32, _] = rms_norm(&x32, Some(&gain32), width);
        for (i, &v) in x.iter().enumerate() {
            let (row, d) = (&x[i / width * width..][..width], i % width);
            let mean = row.iter().sum::<f64>() / width as f64;
            let variance = row.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / width as f64;
            let square = row.iter().map(|v| v * v).sum::<f64>() / width as f64;
            let want = (v - mean) / (variance + EPS).sqrt() * gain[d] + shift[d];
            assert!((y[i] - want).abs() < 1e-12 && (f64::from(y32[i]) - want).abs() < 1e-5);
            let want = v / (square + EPS).sqrt() * gain[d];
            assert!((z[i] - want).abs() < 1e-12 && (f64::from(z32[i]) - want).abs() < 1e-5);
        }
    }
}

#[test]
fn constant_rows_give_the_shift_and_large_rows_stay_finite() {
    let shift: Vec<f32> = (0..77).map(|i| i as f32).collect();
    for value in [0.0, 0.1, 1e4, -1e4, 9_876.543] {
        let [y, ..] = layer_norm(&[value; 77], None, Some(&shift), 77);
        assert_eq!(y, shift, "constant {value}");
    }
    let x: Vec<f32> = (0..32).map(|i| if i % 2 == 0 { 1e4 } else { -1e4 }).collect();
    let [y, ..] = layer_norm(&x, None, None, 32);
    let [z, _] = rms_norm(&x, None, 32);
    assert!(x.iter().zip(y.iter().zip(&z)).all(|(x, (y, z))| *y == x / 1e4 && *z == x / 1e4));
}

#[test]
fn gradients_are_finite_differences() {
    for (n, width) in [(1, 1), (3, 5), (70, 3), (2, 70)] {
        let (x, gain, shift) = (wave(n * width, 0.7), wave(width, 1.3), wave(width, 2.1));
        let d_y = wave(n * width, 3.3);
        let check = |f: &dyn Fn(&[f64]) -> Vec<f64>, at: &[f64], got: &[f64]| {
            for i in 0..at.len() {
                let loss = |step: f64| {
                    let mut moved = at.to_vec();
                    moved[i] += step;
                    dot(&f(&moved), &d_y)
                };
                let want = (loss(1e-6) - loss(-1e-6)) / 2e-6;
                assert!((got[i] - want).abs() < 1e-6 * (1.0 + want.abs()), "{n}x{width}: {i}");
            }
        };
        let [_, mean, inverse] = layer_norm(&x, Some(&gain), Some(&shift), width);
        let (mut d_x, mut d_gain, mut d_shift) = (vec![9.0; n * width], vec![9.0; width], vec![9.0; width]);
        let (d_g, d_s) = (Some(&mut d_gain[..]), Some(&mut d_shift[..]));
        layer_norm_backward(&x, width, Some(&gain), &mean, &inverse, &d_y, &mut d_x, d_g, d_s);
        check(&|x| layer_norm(x, Some(&gain), Some(&shift), width)[0].clone(), &x, &d_x);
        check(&|g| layer_norm(&x, Some(g), Some(&shift), width)[0].clone(), &gain, &d_gain);
        check(&|s| layer_norm(&x, Some(&gain), Some(s), width)[0].clone(), &shift, &d_shift);
        layer_norm_backward(&x, width, None, &mean, &inverse, &d_y, &mut d_x, None, None);
        check(&|x| layer_norm(x, None, None, width)[0].clone(), &x, &d_x);

        let [_, inverse] = rms_norm(&x, Some(&gain), width);
        rms_norm_backward(&x, width, Some(&gain), &inverse, &d_y, &mut d_x, Some(&mut d_gain));
        check(&|x| rms_norm(x, Some(&gain), width)[0].clone(), &x, &d_x);
        check(&|g| rms_norm(&x, Some(g), width)[0].clone(), &gain, &d_gain);
    }
}

fn everything(x: &[f32], width: usize) -> Vec<Vec<f32>> {
    let d_y = narrow(&wave(x.len(), 3.3));
    let gain = narrow(&wave(width, 1.3));
    let [y, mean, inverse] = layer_norm(x, Some(&gain), None, width);
    let (mut d_x, mut d_gain) = (vec![0.0; x.len()], vec![0.0; width]);
    layer_norm_backward(x, width, Some(&gain), &mean, &inverse, &d_y, &mut d_x, Some(&mut d_gain), None);
    let [z, inverse] = rms_norm(x, Some(&gain), width);
    let mut d_z = vec![0.0; x.len()];
    rms_norm_backward(x, width, Some(&gain), &inverse, &d_y, &mut d_z, None);
    vec![y, d_x, z, d_z, d_gain]
}

#[test]
fn results_do_not_depend_on_threads_or_other_rows() {
    let x = narrow(&wave(1000 * 133, 0.37));
    let pool = |n| rayon::ThreadPoolBuilder::new().num_threads(n).build().expect("a pool");
    let all = pool(1).install(|| everything(&x, 133));
    assert_eq!(all, pool(3).install(|| everything(&x, 133)));
    let head = everything(&x[..133 * 7], 133);
    assert!((0..4).all(|i| head[i] == all[i][..133 * 7]));
}

#[test]
fn f32_gradients_are_near_f64() {
    let x = wave(40 * 133, 0.37);
    let (d_y, gain) = (wave(x.len(), 3.3), wave(133, 1.3));
    let [_, mean, inverse] = layer_norm(&x, Some(&gain), None, 133);
    let (mut d_x, mut d_gain) = (vec![0.0; x.len()], vec![0.0; 133]);
    layer_norm_backward(&x, 133, Some(&gain), &mean, &inverse, &d_y, &mut d_x, Some(&mut d_gain), None);
    let got = everything(&narrow(&x), 133);
    assert!(d_x.iter().zip(&got[1]).all(|(want, got)| (want - f64::from(*got)).abs() < 2e-5));
    assert!(d_gain.iter().zip(&got[4]).all(|(want, got)| (want - f64::from(*got)).abs() < 2e-4));
}
