//! Rows of a table by id, and the gradient of the table.
//!
//! Definition:  out[t] = table[ids[t]]; d_table[v] += sum of d_out[t] over t with ids[t] = v
//! Shapes:      table [V, D], ids [T], out [T, D]
//! Numerics:    a repeated id adds up in token order, whatever the number of threads

use crate::Real;
use crate::cpu::simd;
use crate::parallel::rows;

/// `out[t] = table[ids[t]]`.
pub fn gather<T: Real>(table: &[T], width: usize, ids: &[usize], out: &mut [T]) {
    check(table, width, ids, out);
    rows(out, width, width, |first, out| {
        for (row, &id) in out.chunks_exact_mut(width).zip(&ids[first..]) {
            row.copy_from_slice(&table[id * width..][..width]);
        }
    });
}

/// `d_table[ids[t]] += d_out[t]`; rows without a token are not touched.
///
/// Threads share out the rows of the table, and each finds its tokens in a list sorted by id. Cost:
/// `O(T log T + T D)`.
pub fn scatter_add<T: Real>(d_out: &[T], width: usize, ids: &[usize], d_table: &mut [T]) {
    check(d_table, width, ids, d_out);
    if ids.is_empty() {
        return;
    }
    let mut order: Vec<usize> = (0..ids.len()).collect();
    order.sort_by_key(|&t| ids[t]); // stable: the tokens of an id stay in order
    let cost = d_out.len() / (d_table.len() / width); // of an average row
    rows(d_table, width, cost, |first, d_table| {
        let start = order.partition_point(|&t| ids[t] < first);
        let last = first + d_table.len() / width;
        let tokens = order[start..].iter().take_while(|&&t| ids[t] < last);
        simd(
            #[inline(always)]
            || {
                for &t in tokens {
                    let row = &mut d_table[(ids[t] - first) * width..][..width];
                    for (sum, &d) in row.iter_mut().zip(&d_out[t * width..][..width]) {
                        *sum += d;
                    }
                }
            },
        )
    });
}

fn check<T>(table: &[T], width: usize, ids: &[usize], out: &[T]) {
    assert!(width > 0 && table.len().is_multiple_of(width), "embedding: rows of the table are not whole");
    assert_eq!(out.len(), ids.len() * width, "embedding: one row for every id");
    let count = table.len() / width;
    let most = ids.iter().copied().max();
    assert!(most.is_none_or(|id| id < count), "embedding: id {most:?} in a table of {count} rows");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_copied_and_their_gradients_add_up() {
        let table = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
        let mut out = [0.0; 6];
        gather(&table, 2, &[2, 0, 2], &mut out);
        assert_eq!(out, [5.0, 6.0, 1.0, 2.0, 5.0, 6.0]);
        let mut d_table = [0.5; 6];
        scatter_add(&out, 2, &[2, 0, 2], &mut d_table);
        assert_eq!(d_table, [1.5, 2.5, 0.5, 0.5, 10.5, 12.5]);
    }

    #[test]
    fn no_ids_change_nothing() {
        gather(&[1f32], 1, &[], &mut []);
        let mut d_table = [3f32];
        scatter_add(&[], 1, &[], &mut d_table);
        scatter_add::<f32>(&[], 1, &[], &mut []);
        assert_eq!(d_table, [3.0]);
    }

    #[test]
    #[should_panic(expected = "id Some(2) in a table of 2 rows")]
    fn an_id_outside_the_table_is_refused() {
        gather(&[1f32, 2.0], 1, &[0, 2], &mut [0.0; 2]);
    }

    #[test]
    fn sums_are_those_of_the_plain_loop_on_any_number_of_threads() {
        for (tokens, width, vocabulary) in [(1, 1, 1), (3000, 67, 500), (3000, 67, 3), (50, 8, 20_000)] {
            let ids: Vec<usize> = (0..tokens).map(|t| (t * t * 7 + t) % vocabulary).collect();
            let d_out: Vec<f32> = (0..tokens * width).map(|i| (i as f32 * 0.73).sin()).collect();
            let mut want = vec![0.25f32; vocabulary * width];
            for (t, &id) in ids.iter().enumerate() {
                for d in 0..width {
                    want[id * width + d] += d_out[t * width + d];
                }
            }
            for threads in [1, 3] {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a pool");
                let (mut got, mut rows) = (vec![0.25f32; want.len()], vec![0.0; d_out.len()]);
                pool.install(|| {
                    scatter_add(&d_out, width, &ids, &mut got);
                    gather(&want, width, &ids, &mut rows);
                });
                assert_eq!(got, want);
                assert!((0..rows.len()).all(|i| rows[i] == want[ids[i / width] * width + i % width]));
            }
        }
    }
}
