//! A right factor that several products share: packed once, where packing helps.

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

    /// `c [m, n] = a [m, k] b[..k, ..n]`, plus the old `c` if `accumulate`, on this thread alone;
    /// where `n` is not all columns it is a multiple of [`Factor::STEP`].
    pub(crate) fn multiply(&self, m: usize, n: usize, k: usize, a: View<T>, c: &mut [T], accumulate: bool) {
        debug_assert!(k <= self.rows, "gemm: the factor has fewer rows");
        #[cfg(target_arch = "x86_64")]
        if let (Some(panels), Some(a)) = (&self.panels, a.as_f32())
            && let Some(c) = T::as_f32_mut(c)
        {
            let b = avx512::Right::Panels(panels, self.rows);
            let product = avx512::Product { m, n, k, a, b, accumulate, shared: false };
            return avx512::product(product, c, |_, _, _| {});
        }
        matmul(m, n, k, a, self.view, c, accumulate);
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
            for (n, k) in [(100, 70), (48, 70), (96, 33), (100, 1)] {
                let (mut c, mut want) = (vec![0.0; m * n], vec![0.0; m * n]);
                factor.multiply(m, n, k, View::row_major(&a, rows), &mut c, false);
                matmul(m, n, k, View::row_major(&a, rows), view, &mut want, false);
                assert_eq!(c, want, "{n} columns, {k} terms");
            }
        }
    }
}
