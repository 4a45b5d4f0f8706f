use super::*;

/// Numbers between -1 and 1 without a pattern.
pub(super) fn numbers<T: Real>(count: usize, seed: u64) -> Vec<T> {
    (0..count)
        .map(|i| T::from_f64(f64::from(crate::random::philox(seed, i as u64)[0]) / 2_147_483_648.0 - 1.0))
        .collect()
}

fn reference<T: Real>(m: usize, n: usize, k: usize, a: View<T>, b: View<T>, c: &[T]) -> Vec<f64> {
    let mut out = vec![0.0; m * n];
    for i in 0..m {
        for j in 0..n {
            let terms = (0..k).map(|l| {
                a.data[i * a.row_stride + l * a.col_stride].to_f64()
                    * b.data[l * b.row_stride + j * b.col_stride].to_f64()
            });
            out[i * n + j] = c[i * n + j].to_f64() + terms.sum::<f64>();
        }
    }
    out
}

fn check_all_layouts<T: Real>(m: usize, n: usize, k: usize, unit: f64) {
    let (a, b, old) = (numbers::<T>(m * k, 1), numbers::<T>(k * n, 2), numbers::<T>(m * n, 3));
    for layout in 0..4 {
        let a = if layout & 1 == 0 { View::row_major(&a, k) } else { View::transposed(&a, m) };
        let b = if layout & 2 == 0 { View::row_major(&b, n) } else { View::transposed(&b, k) };
        for accumulate in [false, true] {
            let start = if accumulate { old.clone() } else { vec![T::ZERO; m * n] };
            let mut c = if accumulate { old.clone() } else { vec![T::from_f64(f64::NAN); m * n] };
            matmul(m, n, k, a, b, &mut c, accumulate);
            let bound = unit * (k as f64 + 2.0);
            for (got, want) in c.iter().zip(reference(m, n, k, a, b, &start)) {
                let error = (got.to_f64() - want).abs();
                assert!(error <= bound, "{m} {n} {k} layout {layout}: {got} is not {want}");
            }
        }
    }
}

#[test]
fn product_of_two_by_two() {
    let (a, b) = ([1.0f32, 2.0, 3.0, 4.0], [5.0f32, 6.0, 7.0, 8.0]);
    let mut c = [0.0; 4];
    matmul(2, 2, 2, View::row_major(&a, 2), View::row_major(&b, 2), &mut c, false);
    assert_eq!(c, [19.0, 22.0, 43.0, 50.0]);
    matmul(2, 2, 2, View::transposed(&a, 2), View::row_major(&b, 2), &mut c, true);
    assert_eq!(c, [19.0 + 26.0, 22.0 + 30.0, 43.0 + 38.0, 50.0 + 44.0]);
}

#[test]
fn every_small_size_and_layout_agrees_with_plain_loops() {
    for m in [0, 1, 2, 7, 8, 9, 17] {
        for n in [0, 1, 3, 15, 16, 17, 33, 47, 48, 49, 100] {
            for k in [0, 1, 2, 3, 15, 16, 33] {
                check_all_layouts::<f32>(m, n, k, 6e-8);
                check_all_layouts::<f64>(m, n, k, 1.2e-16);
            }
        }
    }
}

#[test]
fn sizes_beyond_every_block_agree_with_plain_loops() {
    for (m, n, k) in [(150, 50, 800), (9, 450, 1000), (300, 1, 400), (65, 385, 385)] {
        check_all_layouts::<f32>(m, n, k, 6e-8);
        check_all_layouts::<f64>(m, n, k, 1.2e-16);
    }
}

#[test]
fn views_may_have_any_strides() {
    let (m, n, k) = (10, 20, 30);
    let (a, b) = (numbers::<f32>(m * k * 6, 1), numbers::<f32>(n * k * 6, 2));
    let a = View { data: &a, row_stride: 3, col_stride: 50 };
    let b = View { data: &b, row_stride: 61, col_stride: 2 };
    let mut c = vec![0.0; m * n];
    matmul(m, n, k, a, b, &mut c, false);
    for (got, want) in c.iter().zip(reference(m, n, k, a, b, &vec![0.0; m * n])) {
        assert!((f64::from(*got) - want).abs() < 1e-5);
    }
}

fn check_rows_are_independent<T: Real>(m: usize, n: usize, k: usize) {
    let (a, b) = (numbers::<T>(m * k, 4), numbers::<T>(k * n, 5));
    for b in [View::row_major(&b, n), View::transposed(&b, k)] {
        let mut all = vec![T::ZERO; m * n];
        matmul(m, n, k, View::row_major(&a, k), b, &mut all, false);
        for (first, count) in [(0, 1), (m - 1, 1), (m / 2, 2), (1, m - 2), (3, 9)] {
            let mut some = vec![T::ZERO; count * n];
            matmul(count, n, k, View::row_major(&a[first * k..], k), b, &mut some, false);
            assert_eq!(some, all[first * n..(first + count) * n], "{m} {n} {k}, rows {first} + {count}");
        }
    }
}

#[test]
fn a_row_does_not_depend_on_the_other_rows() {
    for n in [1, 2, 10, 48, 300] {
        for k in [1, 2, 3, 64, 900] {
            check_rows_are_independent::<f32>(70, n, k);
            check_rows_are_independent::<f64>(70, n, k);
        }
    }
}

fn check_columns_are_independent<T: Real>(m: usize, n: usize, k: usize) {
    let (a, b) = (numbers::<T>(m * k, 6), numbers::<T>(n * k, 7));
    let left = View::row_major(&a, k);
    let mut all = vec![T::ZERO; m * n];
    matmul(m, n, k, left, View::transposed(&b, k), &mut all, false);
    for (first, count) in [(0, 1), (n - 1, 1), (n / 2, 2.min(n - n / 2)), (0, n / 2)] {
        let mut some = vec![T::ZERO; m * count];
        matmul(m, count, k, left, View::transposed(&b[first * k..], k), &mut some, false);
        for i in 0..m {
            let expected = &all[i * n + first..][..count];
            assert_eq!(&some[i * count..][..count], expected, "{m} {n} {k}, columns {first} + {count}");
        }
    }
}

#[test]
fn a_column_does_not_depend_on_the_other_columns() {
    for m in [1, 2, 10, 48] {
        for k in [1, 2, 3, 16, 64, 900] {
            for n in [2, 3, 5, 20, 130] {
                check_columns_are_independent::<f32>(m, n, k);
                check_columns_are_independent::<f64>(m, n, k);
            }
        }
    }
}

#[test]
fn the_number_of_threads_does_not_change_a_bit() {
    let (m, n, k) = (200, 500, 700);
    let (a, b) = (numbers::<f32>(m * k, 6), numbers::<f32>(k * n, 7));
    let run = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a pool");
        let mut c = vec![0.0; m * n];
        pool.install(|| matmul(m, n, k, View::transposed(&a, m), View::row_major(&b, n), &mut c, false));
        c
    };
    let one = run(1);
    for threads in [2, 3, 7] {
        assert_eq!(run(threads), one, "{threads} threads");
    }
}

#[test]
#[should_panic(expected = "leaves its slice")]
fn a_view_beyond_its_slice_is_refused() {
    let mut c = [0.0f32; 4];
    matmul(2, 2, 3, View::row_major(&[0.0; 5], 3), View::row_major(&[0.0; 6], 2), &mut c, false);
}
