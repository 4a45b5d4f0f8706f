//! Inner products in f32.

use crate::gemm::Packed;
use crate::{cpu, gemm, real};

/// `out [N, Q] = rows [N, D] queries^T`, on the thread of the caller.
pub fn products(rows: &[f32], queries: &Packed, out: &mut [f32]) {
    let (count, width) = (queries.outputs(), queries.inputs());
    if count == 0 || width == 0 {
        return out.fill(0.0);
    }
    assert_eq!(rows.len() / width * count, out.len(), "nearest: scores have a wrong length");
    gemm::products_alone(rows, queries, out);
}

/// Inner products of one query with the vectors at some places: `out[i] = rows[places[i]] query`.
///
/// # Panics
/// When a place is not in `rows`.
pub fn products_at(rows: &[f32], places: &[u32], query: &[f32], out: &mut [f32]) {
    let width = query.len();
    assert_eq!(places.len(), out.len(), "nearest: scores have a wrong length");
    cpu::simd(
        #[inline(always)]
        || {
            for (i, (out, &place)) in out.iter_mut().zip(places).enumerate() {
                if let Some(&next) = places.get(i + 1) {
                    fetch(&rows[next as usize * width..][..width]);
                }
                *out = real::dot(query, &rows[place as usize * width..][..width]);
            }
        },
    );
}

/// Asks for a vector that is soon needed: places are scattered, and no hardware guesses them.
#[inline(always)]
fn fetch(row: &[f32]) {
    #[cfg(target_arch = "x86_64")]
    for line in row.chunks(16).take(16) {
        // SAFETY: a prefetch touches no memory that the program sees.
        unsafe {
            use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
            _mm_prefetch::<_MM_HINT_T0>(line.as_ptr().cast());
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = row;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(count: usize, seed: usize) -> Vec<f32> {
        (0..count).map(|i| ((i * 37 + seed * 11) % 101) as f32 / 50.0 - 1.0).collect()
    }

    #[test]
    fn scores_are_inner_products_whatever_stands_beside_them() {
        for (rows, count, width) in [(1, 1, 1), (5, 3, 7), (130, 50, 400), (33, 1, 384), (9, 17, 20)] {
            let (x, q) = (numbers(rows * width, 1), numbers(count * width, 2));
            let mut all = vec![0.0; rows * count];
            products(&x, &Packed::new(&q, count, width), &mut all);
            for j in 0..count {
                let query = &q[j * width..][..width];
                let mut alone = vec![0.0; rows];
                products(&x, &Packed::new(query, 1, width), &mut alone);
                let places: Vec<u32> = (0..rows as u32).rev().collect();
                let mut at = vec![0.0; rows];
                products_at(&x, &places, query, &mut at);
                for i in 0..rows {
                    let want: f64 =
                        query.iter().zip(&x[i * width..]).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
                    assert_eq!(alone[i], all[i * count + j], "{rows} {count} {width}");
                    assert!((f64::from(alone[i]) - want).abs() < 1e-4, "{} {want}", alone[i]);
                    assert!((f64::from(at[rows - 1 - i]) - want).abs() < 1e-4);
                }
            }
        }
    }

    #[test]
    #[should_panic(expected = "range")]
    fn a_place_outside_is_refused() {
        products_at(&[1.0, 2.0], &[2], &[1.0], &mut [0.0]);
    }
}
