//! The linear layer with everything that follows it in one pass.

use super::epilogue::Finish;
use super::{Epilogue, View, portable};
use crate::Real;
#[cfg(target_arch = "x86_64")]
use crate::cpu::Path;
#[cfg(target_arch = "x86_64")]
use crate::gemm::{avx512, pack};

/// Weights `[outputs, inputs]`, arranged once for many products.
pub struct Packed {
    outputs: usize,
    inputs: usize,
    store: Store,
}

enum Store {
    /// As the micro-kernel reads them.
    #[cfg(target_arch = "x86_64")]
    Panels(Vec<pack::Lane>),
    /// Unchanged, for machines without it.
    Rows(Vec<f32>),
}

impl Packed {
    /// Copies `weight [outputs, inputs]`.
    pub fn new(weight: &[f32], outputs: usize, inputs: usize) -> Self {
        assert_eq!(weight.len(), outputs * inputs, "linear: weight has a wrong length");
        #[cfg(target_arch = "x86_64")]
        if Path::detect() == Path::Avx512 {
            let panels = pack::panels(View::transposed(weight, inputs), inputs, outputs);
            return Self { outputs, inputs, store: Store::Panels(panels) };
        }
        Self { outputs, inputs, store: Store::Rows(weight.to_vec()) }
    }

    /// Rows of the weight.
    pub fn outputs(&self) -> usize {
        self.outputs
    }

    /// Columns of the weight.
    pub fn inputs(&self) -> usize {
        self.inputs
    }
}

/// `y [rows, outputs] = activation(x [rows, inputs] weight^T + bias) + residual`.
///
/// Bit for bit the result of [`linear_packed`] with the same weight.
pub fn linear<T: Real>(
    rows: usize,
    inputs: usize,
    outputs: usize,
    x: &[T],
    weight: &[T],
    epilogue: Epilogue<T>,
    y: &mut [T],
) {
    assert_eq!(x.len(), rows * inputs, "linear: input has a wrong length");
    assert_eq!(weight.len(), outputs * inputs, "linear: weight has a wrong length");
    let (x, weight) = (View::row_major(x, inputs), View::transposed(weight, inputs));
    #[cfg(target_arch = "x86_64")]
    let epilogue = {
        let mut epilogue = epilogue;
        if Path::detect() == Path::Avx512
            && let (Some(x), Some(weight)) = (x.as_f32(), weight.as_f32())
            && let (Some(epilogue), Some(y)) = (epilogue.as_f32(), T::as_f32_mut(y))
        {
            return fast(rows, inputs, outputs, x, avx512::Right::View(weight), epilogue, y);
        }
        epilogue
    };
    slow(rows, inputs, outputs, x, weight, epilogue, y);
}

/// `y [rows, outputs] = activation(x [rows, inputs] weight^T + bias) + residual`.
pub fn linear_packed(rows: usize, x: &[f32], weight: &Packed, epilogue: Epilogue<f32>, y: &mut [f32]) {
    let (inputs, outputs) = (weight.inputs, weight.outputs);
    assert_eq!(x.len(), rows * inputs, "linear: input has a wrong length");
    let x = View::row_major(x, inputs);
    match &weight.store {
        #[cfg(target_arch = "x86_64")]
        Store::Panels(lanes) => {
            fast(rows, inputs, outputs, x, avx512::Right::Panels(lanes, inputs, 0), epilogue, y)
        }
        Store::Rows(weight) => {
            slow(rows, inputs, outputs, x, View::transposed(weight, inputs), epilogue, y);
        }
    }
}

/// `y [rows, outputs] = x [rows, inputs] weight^T` on this thread. An element depends on its row and its
/// output alone, not on how many there are.
pub(crate) fn products_alone(x: &[f32], weight: &Packed, y: &mut [f32]) {
    let (inputs, outputs) = (weight.inputs, weight.outputs);
    assert!(x.len().is_multiple_of(inputs), "linear: input has a wrong length");
    let rows = x.len() / inputs;
    assert_eq!(y.len(), rows * outputs, "linear: output has a wrong length");
    match &weight.store {
        #[cfg(target_arch = "x86_64")]
        Store::Panels(lanes) => {
            let (a, b) = (View::row_major(x, inputs), avx512::Right::Panels(lanes, inputs, 0));
            let (m, n, k) = (rows, outputs, inputs);
            let product = avx512::Product { m, n, k, a, b, accumulate: false, shared: false };
            avx512::product(product, y, |_, _, _| {});
        }
        Store::Rows(weight) => crate::cpu::simd(
            #[inline(always)]
            || {
                for (x, y) in x.chunks_exact(inputs).zip(y.chunks_exact_mut(outputs)) {
                    for (weight, y) in weight.chunks_exact(inputs).zip(y) {
                        *y = crate::real::dot(x, weight);
                    }
                }
            },
        ),
    }
}

#[cfg(target_arch = "x86_64")]
fn fast(
    rows: usize,
    inputs: usize,
    outputs: usize,
    x: View<f32>,
    weight: avx512::Right,
    epilogue: Epilogue<f32>,
    y: &mut [f32],
) {
    let finish = Finish::new(epilogue, rows, outputs);
    let (m, n, k) = (rows, outputs, inputs);
    let product = avx512::Product { m, n, k, a: x, b: weight, accumulate: false, shared: true };
    // SAFETY: the product hands out every piece of a row once.
    avx512::product(product, y, |row, column, y| unsafe { finish.apply(row, column, y) });
}

fn slow<T: Real>(
    rows: usize,
    inputs: usize,
    outputs: usize,
    x: View<T>,
    weight: View<T>,
    epilogue: Epilogue<T>,
    y: &mut [T],
) {
    let finish = Finish::new(epilogue, rows, outputs);
    // SAFETY: the product hands out every piece of a row once.
    let each = |row, column, y: &mut [T]| unsafe { finish.apply(row, column, y) };
    portable::product(rows, outputs, inputs, x, weight, y, false, each);
}

#[cfg(test)]
mod tests {
    use super::super::tests::numbers;
    use super::*;
    use crate::activation::Activation;

    #[test]
    fn two_outputs_by_hand() {
        let (x, weight) = ([1.0, 2.0], [3.0, 4.0, -5.0, -6.0]);
        let (mut y, mut kept) = ([0.0; 2], [0.0; 2]);
        let epilogue = Epilogue {
            bias: Some(&[0.5, 0.5]),
            activation: Some(Activation::Relu),
            residual: Some(&[100.0, 200.0]),
            pre_activation: Some(&mut kept),
        };
        linear(1, 2, 2, &x, &weight, epilogue, &mut y);
        assert_eq!(kept, [11.5, -16.5]);
        assert_eq!(y, [111.5, 200.0]);
    }

    fn run(
        rows: usize,
        inputs: usize,
        outputs: usize,
        activation: Option<Activation>,
        packed: bool,
    ) -> (Vec<f32>, Vec<f32>) {
        let x = numbers::<f32>(rows * inputs, 1);
        let weight = numbers::<f32>(outputs * inputs, 2);
        let (bias, residual) = (numbers::<f32>(outputs, 3), numbers::<f32>(rows * outputs, 4));
        let (mut y, mut kept) = (vec![0.0; rows * outputs], vec![0.0; rows * outputs]);
        let epilogue = Epilogue {
            bias: Some(&bias),
            activation,
            residual: Some(&residual),
            pre_activation: Some(&mut kept),
        };
        if packed {
            linear_packed(rows, &x, &Packed::new(&weight, outputs, inputs), epilogue, &mut y);
        } else {
            linear(rows, inputs, outputs, &x, &weight, epilogue, &mut y);
        }
        for r in 0..rows {
            for o in 0..outputs {
                let product: f64 = (0..inputs)
                    .map(|i| f64::from(x[r * inputs + i]) * f64::from(weight[o * inputs + i]))
                    .sum();
                let z = product + f64::from(bias[o]);
                let want = activation.map_or(z, |f| f.apply(z)) + f64::from(residual[r * outputs + o]);
                let at = r * outputs + o;
                let bound = 1.2e-7 * (inputs as f64 + 8.0);
                assert!((f64::from(kept[at]) - z).abs() < bound, "{rows} {inputs} {outputs}: kept {at}");
                assert!((f64::from(y[at]) - want).abs() < 1.2 * bound, "{rows} {inputs} {outputs}: y {at}");
            }
        }
        (y, kept)
    }

    #[test]
    fn packed_weights_give_the_same_bits() {
        for (rows, inputs, outputs) in
            [(1, 8, 2), (5, 400, 50), (70, 768, 100), (3, 900, 449), (4, 0, 3), (2, 1, 1)]
        {
            for activation in [None, Some(Activation::Gelu), Some(Activation::Tanh)] {
                let packed = run(rows, inputs, outputs, activation, true);
                assert_eq!(packed, run(rows, inputs, outputs, activation, false));
            }
        }
    }

    #[test]
    fn threads_and_rows_do_not_change_a_bit() {
        let (rows, inputs, outputs) = (300, 200, 333);
        let one = run(rows, inputs, outputs, Some(Activation::Silu), true);
        let pool = rayon::ThreadPoolBuilder::new().num_threads(3).build().expect("a pool");
        assert_eq!(pool.install(|| run(rows, inputs, outputs, Some(Activation::Silu), true)), one);

        let x = numbers::<f32>(rows * inputs, 1);
        let packed = Packed::new(&numbers::<f32>(outputs * inputs, 2), outputs, inputs);
        let alone = |count: usize| {
            let mut y = vec![0.0; count * outputs];
            linear_packed(count, &x[..count * inputs], &packed, Epilogue::default(), &mut y);
            y
        };
        let all = alone(rows);
        for count in [1, 2, 3, 7, 8, 9, 31, 100] {
            assert_eq!(alone(count), all[..count * outputs], "{count} rows");
        }
    }

    #[test]
    #[should_panic(expected = "bias")]
    fn a_wrong_bias_is_refused() {
        let epilogue = Epilogue { bias: Some(&[0.0f32; 3]), ..Epilogue::default() };
        linear(1, 1, 2, &[1.0], &[1.0, 1.0], epilogue, &mut [0.0; 2]);
    }
}
