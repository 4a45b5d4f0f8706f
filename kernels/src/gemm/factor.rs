//! A right factor that several products share: packed once, where packing helps.

use std::ops::Range;

use super::{View, matmul};
use crate::Real;
#[cfg(target_arch = "x86_64")]
use crate::cpu::Path;
#[cfg(target_arch = "x86_64")]
use crate::gemm::{avx512, pack};

/// `b [rows, columns]`
pub(crate) struct Factor<'a, T> {
    view: View<'a, T>,
    rows: usize,
    #[cfg(target_arch = "x86_64")]
    panels: Option<Vec<pack::Lane>>,
}

impl<'a, T: Real> Factor<'a, T> {
    pub(crate) fn new(view: View<'a, T>, rows: usize, columns: usize) -> Self {
        view.check(rows, columns);
        Self {
            view,
            rows,
            #[cfg(target_arch = "x86_64")]
            panels: match view.as_f32() {
                Some(view) if Path::detect() == Path::Avx512 => {
                    Some(pack::panels_in(pack::recycled(), view, rows, columns))
                }
                _ => None,
            },
        }
    }

    /// `c = a b[rows, columns]`, plus the old `c` if `accumulate`, on this thread alone; `a` is
    /// `[m, rows]`, `c` `[m, columns]`. `columns` starts at a multiple of [`Factor::STEP`], and ends at
    /// one or at the last.
    pub(crate) fn multiply(
        &self,
        m: usize,
        columns: Range<usize>,
        rows: Range<usize>,
        a: View<T>,
        c: &mut [T],
        accumulate: bool,
    ) {
        debug_assert!(rows.end <= self.rows, "gemm: the factor has fewer rows");
        debug_assert!(columns.start.is_multiple_of(Self::STEP), "gemm: a panel cannot be cut");
        let (n, k) = (columns.len(), rows.len());
        #[cfg(target_arch = "x86_64")]
        if let (Some(panels), Some(a)) = (&self.panels, a.as_f32())
            && let Some(c) = T::as_f32_mut(c)
        {
            let panels = &panels[columns.start * self.rows / 16..];
            let b = avx512::Right::Panels(panels, self.rows, rows.start);
            let product = avx512::Product { m, n, k, a, b, accumulate, shared: false };
            return avx512::product(product, c, |_, _, _| {});
        }
        let View { data, row_stride, col_stride } = self.view;
        let at = (rows.start * row_stride + columns.start * col_stride).min(data.len());
        matmul(m, n, k, a, View { data: &data[at..], row_stride, col_stride }, c, accumulate);
    }

    /// A part of the columns is a multiple of this.
    pub(crate) const STEP: usize = 48;
}

#[cfg(target_arch = "x86_64")]
impl<T> Drop for Factor<'_, T> {
    fn drop(&mut self) {
        if let Some(panels) = self.panels.take() {
            pack::recycle(panels);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::numbers;
    use super::*;

    #[test]
    fn a_part_of_the_factor_is_the_product_with_that_part() {
        let (rows, columns, m) = (70, 100, 9);
        let b = numbers::<f32>(rows * columns, 1);
        let a = numbers::<f32>(m * rows, 2);
        for view in [View::row_major(&b, columns), View::transposed(&b, rows)] {
            let factor = Factor::new(view, rows, columns);
            for (from, to, first, last) in
                [(0, 100, 0, 70), (0, 48, 0, 70), (48, 96, 0, 33), (96, 100, 20, 21), (48, 100, 30, 70)]
            {
                let (n, k) = (to - from, last - first);
                let (mut c, mut want) = (vec![0.0; m * n], vec![0.0; m * n]);
                factor.multiply(m, from..to, first..last, View::row_major(&a, rows), &mut c, false);
                let at = first * view.row_stride + from * view.col_stride;
                let part = View { data: &view.data[at..], ..view };
                matmul(m, n, k, View::row_major(&a, rows), part, &mut want, false);
                assert_eq!(c, want, "columns {from}..{to}, terms {first}..{last}");
            }
        }
    }
}
