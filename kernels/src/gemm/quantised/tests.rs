use super::rows::{Row, quantise};
use super::*;
use crate::activation::Activation;
use crate::gemm::tests::numbers;
use crate::gemm::{Epilogue, linear};

/// The definition in plain integers: rounds weights and rows, sums exactly, then finishes in f32.
fn reference(rows: usize, x: &[f32], weight: &[f32], outputs: usize, epilogue: &Epilogue<f32>) -> Vec<f32> {
    let inputs = weight.len() / outputs;
    let weights = |row: &[f32]| {
        let largest = row.iter().fold(0f32, |m, x| m.max(x.abs()));
        let inverse = if largest < 1e-30 { 0.0 } else { 127.0 / largest };
        let codes: Vec<i64> = row.iter().map(|x| (x * inverse).round_ties_even() as i64).collect();
        (codes, largest / 127.0)
    };
    let numbers = |row: &[f32]| {
        let (low, high) = row.iter().fold((0f32, 0f32), |(low, high), &x| (low.min(x), high.max(x)));
        let inverse = if high - low < 1e-30 { 0.0 } else { 254.0 / (high - low) };
        let zero = (-low * inverse).round_ties_even();
        let code = |x: &f32| {
            let code = ((x * inverse + 12_582_912.0 + zero) - 12_582_912.0) as i64;
            assert!((0..256).contains(&code), "{x} of {low} .. {high}: {code}");
            code - zero as i64
        };
        (row.iter().map(code).collect::<Vec<i64>>(), (high - low) / 254.0)
    };
    let mut y = Vec::new();
    for r in 0..rows {
        let (x, s) = numbers(&x[r * inputs..][..inputs]);
        for o in 0..outputs {
            let (w, t) = weights(&weight[o * inputs..][..inputs]);
            let sum: i64 = x.iter().zip(&w).map(|(x, w)| x * w).sum();
            let mut z = sum as f32 * (s * t) + epilogue.bias.map_or(0.0, |b| b[o]);
            z = epilogue.activation.map_or(z, |f| f.apply(z));
            y.push(z + epilogue.residual.map_or(0.0, |residual| residual[r * outputs + o]));
        }
    }
    y
}

#[test]
fn three_numbers_in_eight_bits() {
    let (mut codes, mut rows) = ([0; 12], [Row::default(); 3]);
    let x = [1.54, -1.0, 0.015, 2.54, 0.0, 1.0, 0.0, 0.0, 0.0];
    quantise(&x, [3, 4], &mut codes, &mut rows);
    assert_eq!(codes, [254, 0, 102, 100, 254, 0, 100, 0, 0, 0, 0, 0]); // 0.015 is 1.5, to the even 2
    assert!((rows[0].scale - 0.01).abs() < 1e-9 && rows[0].zero == 100);
    assert!((rows[1].scale - 0.01).abs() < 1e-9 && rows[1].zero == 0);
    assert_eq!(rows[2], Row::default());
}

#[test]
fn both_ends_of_a_row_stay_in_a_byte() {
    // Whatever the ends, also where both are halfway between two codes, and 0 is exact.
    for i in 0..=2000 {
        let (low, high) = (-(i as f32) / 2000.0, 1.0 - i as f32 / 2000.0);
        let (mut codes, mut row) = ([0; 3], [Row::default()]);
        quantise(&[low, 0.0, high], [3, 3], &mut codes, &mut row);
        let value = |code: u8| row[0].scale * (i32::from(code) - row[0].zero) as f32;
        assert_eq!(value(codes[1]), 0.0);
        for (code, x) in [(codes[0], low), (codes[2], high)] {
            assert!((value(code) - x).abs() <= 0.501 * row[0].scale, "{low} .. {high}: {codes:?} {row:?}");
        }
    }
}

#[test]
fn a_row_that_is_not_finite_does_not_pass_for_one() {
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let mut y = [0.0; 2];
        let weight = Int8::new(&[1.0, 1.0, 0.5, -1.0], 2, 2);
        for x in [[1.0, bad], [-1.0, bad], [-bad, 0.0]] {
            linear_int8(1, &x, &weight, Epilogue::default(), &mut y);
            assert!(y.iter().all(|y| !y.is_finite()), "{x:?}: {y:?}");
        }
    }
}

#[test]
fn two_outputs_by_hand() {
    let weight = Int8::new(&[1.27, -0.5, 0.0, 0.0, 0.0, 0.0], 2, 3);
    let mut y = [0.0; 2];
    let epilogue = Epilogue { bias: Some(&[1.0, 3.0]), ..Epilogue::default() };
    linear_int8(1, &[2.0, 2.54, 0.0], &weight, epilogue, &mut y);
    // 2 -> 200, 2.54 -> 254, both by 0.01; weights 127 and -50 by 0.01
    assert!((y[0] - (1.0 + (200.0 * 127.0 - 254.0 * 50.0) * 0.01 * 0.01)).abs() < 1e-5);
    assert_eq!(y[1], 3.0);
}

#[test]
fn integer_sums_are_exact_at_every_size() {
    for (rows, inputs, outputs) in [
        (1, 1, 1),
        (3, 4, 16),
        (7, 5, 17),
        (8, 384, 48),
        (9, 33, 49),
        (17, 130, 100),
        (200, 64, 33),
        (2, 3072, 50),
    ] {
        let (x, w) = (numbers::<f32>(rows * inputs, 1), numbers::<f32>(outputs * inputs, 2));
        let (bias, residual) = (numbers::<f32>(outputs, 3), numbers::<f32>(rows * outputs, 4));
        let weight = Int8::new(&w, outputs, inputs);
        for activation in [None, Some(Activation::Relu)] {
            for bias in [None, Some(&bias[..])] {
                for residual in [None, Some(&residual[..])] {
                    let epilogue = || Epilogue { bias, activation, residual, pre_activation: None };
                    let mut y = vec![f32::NAN; rows * outputs];
                    linear_int8(rows, &x, &weight, epilogue(), &mut y);
                    assert_eq!(y, reference(rows, &x, &w, outputs, &epilogue()), "{rows} {inputs} {outputs}");
                }
            }
        }
    }
}

#[test]
fn the_largest_codes_do_not_saturate() {
    let outputs = 20;
    for (inputs, sign) in [(4096, 1.0), (4096, -1.0), (66_000, 1.0), (66_000, -1.0)] {
        let (x, w) = (vec![sign; inputs], vec![1.0; inputs * outputs]);
        let mut y = vec![0.0; outputs];
        linear_int8(1, &x, &Int8::new(&w, outputs, inputs), Epilogue::default(), &mut y);
        assert!(y.iter().all(|y| (y / inputs as f32 - sign).abs() < 1e-6), "{y:?}");
    }
}

#[test]
fn no_inputs_leave_the_bias() {
    let epilogue = || Epilogue { bias: Some(&[2.0f32, 3.0]), ..Epilogue::default() };
    for rows in [0, 3] {
        let (mut y, mut z) = (vec![9.0; 2 * rows], vec![9.0; 2 * rows]);
        linear_int8(rows, &[], &Int8::new(&[], 2, 0), epilogue(), &mut y);
        linear_bf16(rows, &[], &Bf16::new(&[], 2, 0), epilogue(), &mut z);
        assert_eq!((y, z), ([2.0, 3.0].repeat(rows), [2.0, 3.0].repeat(rows)));
    }
}

#[test]
fn bf16_is_the_product_with_rounded_weights() {
    for (rows, inputs, outputs) in [(1, 1, 1), (3, 7, 17), (8, 384, 48), (150, 300, 49), (17, 769, 100)] {
        let (x, w) = (numbers::<f32>(rows * inputs, 1), numbers::<f32>(outputs * inputs, 2));
        let (bias, residual) = (numbers::<f32>(outputs, 3), numbers::<f32>(rows * outputs, 4));
        let epilogue = || Epilogue {
            bias: Some(&bias),
            activation: Some(Activation::Gelu),
            residual: Some(&residual),
            pre_activation: None,
        };
        let rounded: Vec<f32> = w.iter().map(|&w| f32::from_bits(w.to_bits() & 0xffff_0000)).collect();
        assert!(w.iter().any(|w| w.to_bits() & 0xffff != 0));
        for (w, rounded) in [(&w, false), (&rounded, true)] {
            let (mut y, mut want) = (vec![f32::NAN; rows * outputs], vec![0.0; rows * outputs]);
            linear_bf16(rows, &x, &Bf16::new(w, outputs, inputs), epilogue(), &mut y);
            linear(rows, inputs, outputs, &x, w, epilogue(), &mut want);
            let bound = if rounded { 3e-7 } else { 2e-3 } * (inputs as f32 + 8.0).sqrt() * 4.0;
            let worst = y.iter().zip(&want).map(|(y, w)| (y - w).abs()).fold(0.0, f32::max);
            assert!(worst < bound, "{rows} {inputs} {outputs}: {worst} is not below {bound}");
        }
    }
}

#[test]
fn bf16_rounds_to_the_nearest_and_ties_to_even() {
    let one = 0x3f80_0000u32;
    for (bits, want) in
        [(one, 0x3f80), (one + 0x8000, 0x3f80), (one + 0x8001, 0x3f81), (one + 0x1_8000, 0x3f82)]
    {
        assert_eq!(bf16::round(f32::from_bits(bits)), want, "{bits:x}");
    }
    assert_eq!(bf16::round(f32::INFINITY), 0x7f80);
    assert!(f32::from_bits(u32::from(bf16::round(f32::NAN)) << 16).is_nan());
}

#[test]
fn threads_and_rows_do_not_change_a_bit() {
    let (rows, inputs, outputs) = (300, 400, 333);
    let (x, w) = (numbers::<f32>(rows * inputs, 1), numbers::<f32>(outputs * inputs, 2));
    let (int8, bf16) = (Int8::new(&w, outputs, inputs), Bf16::new(&w, outputs, inputs));
    let run = |first: usize, count: usize| {
        let x = &x[first * inputs..][..count * inputs];
        let epilogue = || Epilogue { activation: Some(Activation::Gelu), ..Epilogue::default() };
        let (mut y, mut z) = (vec![0.0; count * outputs], vec![0.0; count * outputs]);
        linear_int8(count, x, &int8, epilogue(), &mut y);
        linear_bf16(count, x, &bf16, epilogue(), &mut z);
        (y, z)
    };
    let pool = |n| rayon::ThreadPoolBuilder::new().num_threads(n).build().expect("a pool");
    let (y, z) = pool(1).install(|| run(0, rows));
    for threads in [2, 3, 7] {
        assert_eq!(pool(threads).install(|| run(0, rows)), (y.clone(), z.clone()), "{threads} threads");
    }
    for (first, count) in [(0, 1), (299, 1), (100, 2), (7, 9), (1, 130)] {
        let part = first * outputs..(first + count) * outputs;
        let some = run(first, count);
        assert_eq!((&some.0[..], &some.1[..]), (&y[part.clone()], &z[part]), "rows {first} + {count}");
    }
}

#[test]
fn fewer_bits_take_less_memory() {
    let w = numbers::<f32>(768 * 768, 1);
    assert_eq!(Bf16::new(&w, 768, 768).bytes(), 2 * w.len());
    assert_eq!(Int8::new(&w, 768, 768).bytes(), w.len() + 8 * 768);
}

#[test]
#[should_panic(expected = "bias")]
fn a_wrong_bias_is_refused() {
    let epilogue = Epilogue { bias: Some(&[0.0f32; 3]), ..Epilogue::default() };
    linear_int8(1, &[1.0], &Int8::new(&[1.0, 1.0], 2, 1), epilogue, &mut [0.0; 2]);
}
