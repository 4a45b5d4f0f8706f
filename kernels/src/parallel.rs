//! Splitting work over threads without changing its result.
//!
//! The pool is the caller's current rayon pool. Every helper hands out disjoint output rows, so the
//! sum inside a row is always computed by one thread in one order.

use rayon::prelude::*;

/// Work below this many elementary steps is not worth a second thread.
const SPLIT_COST: usize = 32 * 1024;

/// Calls `work(first_row, rows)` on blocks of whole rows of `out`; `cost` = elementary steps a row.
pub fn rows<T: Send>(out: &mut [T], width: usize, cost: usize, work: impl Fn(usize, &mut [T]) + Sync) {
    if out.is_empty() || width == 0 {
        return;
    }
    let count = out.len() / width;
    let block = block_rows(count, cost);
    if block >= count {
        return work(0, out);
    }
    out.par_chunks_mut(block * width).enumerate().for_each(|(i, chunk)| work(i * block, chunk));
}

/// As [`rows`], with two outputs of the same number of rows.
pub fn rows2<T: Send, U: Send>(
    a: (&mut [T], usize),
    b: (&mut [U], usize),
    cost: usize,
    work: impl Fn(usize, &mut [T], &mut [U]) + Sync,
) {
    let ((a, wa), (b, wb)) = (a, b);
    if a.is_empty() || wa == 0 || wb == 0 {
        return;
    }
    let count = a.len() / wa;
    assert_eq!(count, b.len() / wb, "rows2: outputs have different numbers of rows");
    let block = block_rows(count, cost);
    if block >= count {
        return work(0, a, b);
    }
    a.par_chunks_mut(block * wa)
        .zip(b.par_chunks_mut(block * wb))
        .enumerate()
        .for_each(|(i, (x, y))| work(i * block, x, y));
}

/// Calls `work(i)` for `0..count`, in any order, and collects the results in order.
pub fn map<R: Send>(count: usize, cost: usize, work: impl Fn(usize) -> R + Sync + Send) -> Vec<R> {
    if count < 2 || count.saturating_mul(cost) < 2 * SPLIT_COST || rayon::current_num_threads() == 1 {
        (0..count).map(work).collect()
    } else {
        (0..count).into_par_iter().with_max_len(1).map(work).collect()
    }
}

/// As [`map`] without results; `init` makes what a thread reuses from one piece of work to the next.
pub fn each_with<S>(
    count: usize,
    cost: usize,
    init: impl Fn() -> S + Sync + Send,
    work: impl Fn(&mut S, usize) + Sync + Send,
) {
    if count < 2 || count.saturating_mul(cost) < 2 * SPLIT_COST || rayon::current_num_threads() == 1 {
        let mut state = init();
        return (0..count).for_each(|i| work(&mut state, i));
    }
    let least = (SPLIT_COST / 2 / cost.max(1)).max(1);
    (0..count).into_par_iter().with_min_len(least).for_each_init(init, work);
}

fn block_rows(count: usize, cost: usize) -> usize {
    let threads = rayon::current_num_threads();
    if threads == 1 || count.saturating_mul(cost.max(1)) < 2 * SPLIT_COST {
        return count;
    }
    let least = SPLIT_COST.div_ceil(cost.max(1));
    count.div_ceil(4 * threads).max(least).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_visited_once() {
        let mut out = vec![0usize; 1000 * 3];
        rows(&mut out, 3, 10_000, |first, chunk| {
            for (i, row) in chunk.chunks_mut(3).enumerate() {
                row.fill(row[0] + first + i);
            }
        });
        assert!(out.chunks(3).enumerate().all(|(i, r)| r == [i, i, i]));
    }

    #[test]
    fn each_piece_of_work_is_done_once() {
        for cost in [1, 1 << 20] {
            let seen: Vec<_> = (0..500).map(|_| std::sync::atomic::AtomicUsize::new(0)).collect();
            each_with(500, cost, Vec::new, |mine: &mut Vec<usize>, i| {
                assert!(!mine.contains(&i));
                mine.push(i);
                seen[i].fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            });
            assert!(seen.into_iter().all(|n| n.into_inner() == 1));
        }
    }

    #[test]
    fn map_keeps_the_order() {
        assert_eq!(map(100, 1 << 20, |i| i * i), (0..100).map(|i| i * i).collect::<Vec<_>>());
    }
}
