//! Cutting a product with packed weights into parts for threads.

use rayon::prelude::*;
use std::ops::Range;

/// A part of the result: some rows, and whole panels of columns.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Part {
    pub rows: Range<usize>,
    pub panels: Range<usize>,
}

/// Rows of a part that is cut by rows only: enough to pay for reading the weights again.
const LEAST_ROWS: usize = 64;

/// Cuts `rows x panels` for `threads` threads into at most `most` parts, or a multiple of the threads.
/// Only speed depends on the cut.
pub(super) fn cut(rows: usize, panels: usize, most: usize, threads: usize) -> Vec<Part> {
    let wanted = match most.min(4 * threads) {
        few if few < threads || threads == 1 => few.clamp(1, threads),
        many => many / threads * threads,
    };
    let across = rows.div_ceil(LEAST_ROWS).min(wanted).max(1);
    let along = wanted.div_ceil(across).min(panels).max(1);
    let height = rows.div_ceil(across).next_multiple_of(8);
    let mut parts = Vec::with_capacity(across * along);
    for start in (0..rows).step_by(height.max(1)) {
        for i in 0..along {
            let panels = i * panels / along..(i + 1) * panels / along;
            parts.push(Part { rows: start..rows.min(start + height), panels });
        }
    }
    parts
}

/// Runs `work` on every part, on all threads when there are several.
pub(super) fn run(parts: &[Part], work: impl Fn(&Part) + Sync + Send) {
    if parts.len() < 2 {
        parts.iter().for_each(work);
    } else {
        parts.par_iter().with_max_len(1).for_each(work);
    }
}

/// A `[N, outputs]` result that threads fill, each its own parts.
#[derive(Clone, Copy)]
pub(super) struct Output(*mut f32);
// SAFETY: parts are disjoint, and every thread writes its own parts only.
unsafe impl Send for Output {}
// SAFETY: as above.
unsafe impl Sync for Output {}

impl Output {
    pub(super) fn new(y: &mut [f32]) -> Self {
        Self(y.as_mut_ptr())
    }

    pub(super) fn pointer(&self) -> *mut f32 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_element_is_in_one_part() {
        for (rows, panels, most, threads) in
            [(1, 1, 9, 2), (16, 8, 8, 2), (1000, 3, 80, 3), (65, 2, 1, 4), (7, 5, 0, 2)]
        {
            let parts = cut(rows, panels, most, threads);
            let mut seen = vec![0; rows * panels];
            for part in &parts {
                for row in part.rows.clone() {
                    part.panels.clone().for_each(|panel| seen[row * panels + panel] += 1);
                }
            }
            assert!(seen.iter().all(|&n| n == 1), "{rows} x {panels}: {parts:?}");
        }
        assert!(cut(0, 3, 9, 2).is_empty());
    }
}
