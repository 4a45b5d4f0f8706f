//! Two linear layers with an activation between them, block by block of rows: the wide rows of a block
//! are still in cache when the second product reads them.
//!
//! Definition:  z = x W^T + b, y = f(z) U^T + c + r
//! Shapes:      x [N, D], W [F, D], b [F], z [N, F], U [M, F], c [M], r and y [N, M]
//! Numerics:    the bits of two calls of [`linear`](super::linear), and of their gradients; sums over
//!              rows run in groups that do not depend on threads
//! Cost:        O(N F (D + M)); without it the wide rows go through memory three times more each way

use super::{Epilogue, View, linear, matmul};
use crate::Real;
use crate::activation::{self, Activation};
#[cfg(target_arch = "x86_64")]
use fast::Fast;

/// Sizes and weights of both layers.
#[derive(Clone, Copy, Debug)]
pub struct FeedForward<'a, T> {
    /// `N`
    pub rows: usize,
    /// `D`
    pub inputs: usize,
    /// `F`
    pub size: usize,
    /// `M`
    pub outputs: usize,
    /// `W [F, D]`
    pub inner: &'a [T],
    /// `U [M, F]`
    pub outer: &'a [T],
    /// `f`
    pub activation: Activation,
}

/// What the backward pass sets.
pub struct FeedForwardGradients<'a, T> {
    /// Of the input, `[N, D]`.
    pub d_x: Option<&'a mut [T]>,
    /// `f(z) [N, F]` again: with the gradient of `y` it gives that of `U`.
    pub wide: &'a mut [T],
    /// Of `z`, `[N, F]`: with `x` it gives the gradient of `W`.
    pub d_wide: &'a mut [T],
    /// Of `b`, `[F]`.
    pub d_bias: Option<&'a mut [T]>,
}

impl<T: Real> FeedForward<'_, T> {
    fn check(&self, x: &[T], y: &[T]) {
        let &Self { rows, inputs, size, outputs, inner, outer, .. } = self;
        assert_eq!((x.len(), y.len()), (rows * inputs, rows * outputs), "feed_forward: rows");
        assert_eq!((inner.len(), outer.len()), (size * inputs, outputs * size), "feed_forward: weights");
    }

    /// Sets `y`; `pre [N, F]`, if given, becomes `z`.
    pub fn forward(
        &self,
        x: &[T],
        bias: Option<&[T]>,
        pre: Option<&mut [T]>,
        after: Epilogue<T>,
        y: &mut [T],
    ) {
        self.check(x, y);
        let &Self { rows, inputs, size, outputs, inner, outer, activation } = self;
        let mut between =
            Epilogue { bias, activation: Some(activation), residual: None, pre_activation: pre };
        let mut after = after;
        #[cfg(target_arch = "x86_64")]
        if let Some(fast) = Fast::of(self)
            && let (Some(x), Some(y)) = (T::as_f32(x), T::as_f32_mut(y))
            && let (Some(between), Some(after)) = (between.as_f32(), after.as_f32())
        {
            return fast.forward(x, between, after, y);
        }
        let mut wide = vec![T::ZERO; rows * size];
        linear(rows, inputs, size, x, inner, between, &mut wide);
        linear(rows, size, outputs, &wide, outer, after, y);
    }

    /// The gradients from `d_y [N, M]` and the `pre [N, F]` of the forward pass.
    pub fn backward(&self, pre: &[T], d_y: &[T], gradients: FeedForwardGradients<T>) {
        let &Self { rows, inputs, size, outputs, inner, outer, activation } = self;
        let FeedForwardGradients { d_x, wide, d_wide, d_bias } = gradients;
        assert_eq!(d_y.len(), rows * outputs, "feed_forward: gradient of the result");
        assert_eq!([pre.len(), wide.len(), d_wide.len()], [rows * size; 3], "feed_forward: wide rows");
        assert!(d_x.as_ref().is_none_or(|d_x| d_x.len() == rows * inputs), "feed_forward: gradient of x");
        #[cfg(target_arch = "x86_64")]
        if let Some(fast) = Fast::of(self)
            && let (Some(pre), Some(d_y)) = (T::as_f32(pre), T::as_f32(d_y))
            && let (Some(wide), Some(d_wide)) = (T::as_f32_mut(wide), T::as_f32_mut(d_wide))
        {
            let [d_x, d_bias] = [d_x, d_bias].map(|d| d.and_then(T::as_f32_mut));
            return fast.backward(pre, d_y, FeedForwardGradients { d_x, wide, d_wide, d_bias });
        }
        let (d_y, outer) = (View::row_major(d_y, outputs), View::row_major(outer, size));
        matmul(rows, size, outputs, d_y, outer, d_wide, false);
        activation::replay(activation, pre, wide, d_wide);
        if let Some(d_x) = d_x {
            let (d_wide, inner) = (View::row_major(d_wide, size), View::row_major(inner, inputs));
            matmul(rows, inputs, size, d_wide, inner, d_x, false);
        }
        if let Some(d_bias) = d_bias {
            activation::sum_rows(d_wide, size, d_bias);
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod fast {
    use rayon::prelude::*;
    use std::cell::Cell;

    use super::super::avx512::{Product, Right, product};
    use super::super::epilogue::Finish;
    use super::super::pack::with_panels;
    use super::{Epilogue, FeedForward, FeedForwardGradients, View};
    use crate::Real;
    use crate::activation::sum_rows;
    use crate::cpu::Path;

    /// Rows of a block: the wide ones fit L2 beside the weights that meet them.
    const BLOCK: usize = 128;
    /// Rows that [`sum_rows`] adds in a group.
    const GROUP: usize = 64;

    thread_local! {
        /// The wide rows of this thread's block.
        static WIDE: Cell<Vec<f32>> = const { Cell::new(Vec::new()) };
    }

    /// The layers on the AVX-512 path, with blocks enough for all threads.
    pub(super) struct Fast<'a>(FeedForward<'a, f32>);

    impl<'a> Fast<'a> {
        pub(super) fn of<T: Real>(layers: &FeedForward<'a, T>) -> Option<Self> {
            let &FeedForward { rows, inputs, size, outputs, inner, outer, activation } = layers;
            let (inner, outer) = (T::as_f32(inner)?, T::as_f32(outer)?);
            let enough = rows >= 2 * BLOCK * rayon::current_num_threads() && inputs * size * outputs > 0;
            let layers = FeedForward { rows, inputs, size, outputs, inner, outer, activation };
            (enough && Path::detect() == Path::Avx512).then_some(Fast(layers))
        }

        pub(super) fn forward(&self, x: &[f32], between: Epilogue<f32>, after: Epilogue<f32>, y: &mut [f32]) {
            let FeedForward { rows, inputs, size, outputs, inner, outer, .. } = self.0;
            let (between, after) = (Finish::new(between, rows, size), Finish::new(after, rows, outputs));
            let (inner, outer) = (View::transposed(inner, inputs), View::transposed(outer, size));
            let mut run = |inner: Right, outer: Right| {
                y.par_chunks_mut(BLOCK * outputs).enumerate().for_each(|(block, y)| {
                    let (first, m) = (block * BLOCK, y.len() / outputs);
                    let mut memory = WIDE.take();
                    memory.resize(BLOCK * size, 0.0);
                    let wide = &mut memory[..m * size];
                    let a = View::row_major(&x[first * inputs..], inputs);
                    let one =
                        Product { m, n: size, k: inputs, a, b: inner, accumulate: false, shared: false };
                    // SAFETY: this block owns its rows, and the product hands out every piece once.
                    product(one, wide, |row, column, z| unsafe { between.apply(first + row, column, z) });
                    let a = View::row_major(wide, size);
                    let two =
                        Product { m, n: outputs, k: size, a, b: outer, accumulate: false, shared: false };
                    // SAFETY: as above.
                    product(two, y, |row, column, y| unsafe { after.apply(first + row, column, y) });
                    WIDE.set(memory);
                });
            };
            with_panels(inner, inputs, size, |inner| {
                with_panels(outer, size, outputs, |outer| {
                    run(Right::Panels(inner, inputs, 0), Right::Panels(outer, size, 0));
                });
            });
        }

        pub(super) fn backward(&self, pre: &[f32], d_y: &[f32], gradients: FeedForwardGradients<f32>) {
            let FeedForward { rows, inputs, size, outputs, inner, outer, activation } = self.0;
            let FeedForwardGradients { d_x, wide, d_wide, d_bias } = gradients;
            let (inner, outer) = (View::row_major(inner, inputs), View::row_major(outer, size));
            let blocks = rows.div_ceil(BLOCK);
            let groups = if d_bias.is_some() { rows.div_ceil(GROUP) } else { 0 };
            let mut sums = vec![0.0; groups * size];
            let mut d_x: Vec<_> = match d_x {
                Some(d_x) => d_x.chunks_mut(BLOCK * inputs).map(Some).collect(),
                None => (0..blocks).map(|_| None).collect(),
            };
            let mut parts: Vec<_> = match d_bias {
                Some(_) => sums.chunks_mut(BLOCK / GROUP * size).map(Some).collect(),
                None => (0..blocks).map(|_| None).collect(),
            };
            let mut run = |inner: Right, outer: Right| {
                let wide = wide.par_chunks_mut(BLOCK * size).zip(d_wide.par_chunks_mut(BLOCK * size));
                let rest = d_x.par_iter_mut().zip(parts.par_iter_mut());
                wide.zip(rest).enumerate().for_each(|(block, ((wide, d_wide), (d_x, sums)))| {
                    let (first, m) = (block * BLOCK, wide.len() / size);
                    let a = View::row_major(&d_y[first * outputs..], outputs);
                    let two =
                        Product { m, n: size, k: outputs, a, b: outer, accumulate: false, shared: false };
                    product(two, d_wide, |_, _, _| {});
                    activation.replay_part(&pre[first * size..][..wide.len()], wide, d_wide);
                    if let Some(d_x) = d_x {
                        let a = View::row_major(d_wide, size);
                        let one =
                            Product { m, n: inputs, k: size, a, b: inner, accumulate: false, shared: false };
                        product(one, d_x, |_, _, _| {});
                    }
                    if let Some(sums) = sums {
                        let groups = d_wide.chunks(GROUP * size).zip(sums.chunks_exact_mut(size));
                        groups.for_each(|(rows, sums)| sum_rows(rows, size, sums));
                    }
                });
            };
            with_panels(inner, size, inputs, |inner| {
                with_panels(outer, outputs, size, |outer| {
                    run(Right::Panels(inner, size, 0), Right::Panels(outer, outputs, 0));
                });
            });
            if let Some(d_bias) = d_bias {
                d_bias.fill(0.0);
                for block in sums.chunks_exact(size) {
                    d_bias.iter_mut().zip(block).for_each(|(d, &s)| *d += s);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::numbers;
    use super::*;

    /// `[pre, y, d_x, wide, d_wide, d_bias]`, and the same by single products.
    fn both<T: Real>(rows: usize, [inputs, size, outputs]: [usize; 3]) -> [Vec<Vec<T>>; 2] {
        let (x, d_y) = (numbers::<T>(rows * inputs, 1), numbers::<T>(rows * outputs, 2));
        let (inner, outer) = (numbers::<T>(size * inputs, 3), numbers::<T>(outputs * size, 4));
        let (b, c) = (numbers::<T>(size, 5), numbers::<T>(outputs, 6));
        let residual = numbers::<T>(rows * outputs, 7);
        let activation = Activation::Gelu;
        let layers = FeedForward { rows, inputs, size, outputs, inner: &inner, outer: &outer, activation };
        let sizes = [rows * size, rows * outputs, rows * inputs, rows * size, rows * size, size];
        let mut got: Vec<Vec<T>> = sizes.iter().map(|&n| vec![T::ONE; n]).collect();
        let mut want = got.clone();
        let after = || Epilogue { bias: Some(&c), residual: Some(&residual), ..Epilogue::default() };
        {
            let [pre, y, d_x, wide, d_wide, d_bias] = &mut got[..] else { unreachable!() };
            layers.forward(&x, Some(&b), Some(pre), after(), y);
            layers.backward(
                pre,
                &d_y,
                FeedForwardGradients { d_x: Some(d_x), wide, d_wide, d_bias: Some(d_bias) },
            );
        }
        let [pre, y, d_x, wide, d_wide, d_bias] = &mut want[..] else { unreachable!() };
        let between = Epilogue {
            bias: Some(&b),
            activation: Some(activation),
            residual: None,
            pre_activation: Some(pre),
        };
        linear(rows, inputs, size, &x, &inner, between, wide);
        linear(rows, size, outputs, wide, &outer, after(), y);
        let (g, u) = (View::row_major(&d_y, outputs), View::row_major(&outer, size));
        matmul(rows, size, outputs, g, u, d_wide, false);
        activation::replay(activation, pre, wide, d_wide);
        let (g, w) = (View::row_major(d_wide, size), View::row_major(&inner, inputs));
        matmul(rows, inputs, size, g, w, d_x, false);
        activation::sum_rows(d_wide, size, d_bias);
        [got, want]
    }

    #[test]
    fn blocks_of_rows_give_the_bits_of_single_products() {
        for (rows, sizes) in [(0, [3, 4, 5]), (1, [3, 4, 5]), (200, [20, 50, 20]), (1000, [33, 100, 17])] {
            let [got, want] = both::<f32>(rows, sizes);
            assert_eq!(got, want, "{rows} rows");
            let [got, want] = both::<f64>(rows, sizes);
            assert_eq!(got, want, "{rows} rows in f64");
        }
    }

    #[test]
    fn threads_do_not_change_a_bit() {
        let run = |n| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(n).build().expect("a pool");
            pool.install(|| both::<f32>(777, [40, 70, 40]))
        };
        assert_eq!(run(1), run(3));
    }
}
