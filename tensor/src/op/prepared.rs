//! Weights arranged once for many products without gradients, in f32, bf16 or 8 bits.
//! Definition:  y = f(x W'^T + b) + r, W' = W in the precision of the weights
//! Shapes:      x [.., K], W [N, K], b [N], r and y [.., N].  Cost O(rows N K)
//! Gradient:    none: an operation on a tracked tensor is refused

use bert4rs_kernels::activation::Activation;
use bert4rs_kernels::gemm::quantised::{Bf16, Int8, linear_bf16, linear_int8};
use bert4rs_kernels::gemm::{Epilogue, Packed, linear_packed};

use rayon::prelude::*;

use super::linear::After;
use crate::buffer::unset;
use crate::shape::elements;
use crate::storage::Storage;
use crate::{Error, Result, Shape, Tensor, profile};

/// How many bits of a weight are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WeightPrecision {
    /// All 32: the same bits as the product with the tensor itself.
    F32,
    /// 16, in the format bf16; sums in f32.
    Bf16,
    /// 8 with a scale per output; rows of `x` too, with a scale per row.
    Int8,
}

/// A matrix `[N, K]` arranged for products.
pub struct PreparedMatrix(Form);

enum Form {
    F32(Packed),
    Bf16(Bf16),
    Int8(Int8),
}

impl PreparedMatrix {
    /// Arranges `weight [N, K]`, which must be f32.
    pub fn new(weight: &Tensor, precision: WeightPrecision) -> Result<Self> {
        let &[outputs, inputs] = weight.shape() else {
            return Error::shape("prepare", format!("weight {:?}: expected [N, K]", weight.shape()));
        };
        let values = weight.values::<f32>()?;
        Ok(Self(match precision {
            WeightPrecision::F32 => Form::F32(Packed::new(values, outputs, inputs)),
            WeightPrecision::Bf16 => Form::Bf16(Bf16::new(values, outputs, inputs)),
            WeightPrecision::Int8 if inputs > Self::MOST_INT8_INPUTS => {
                return Error::value("prepare", format!("{inputs} inputs are too many for 8 bits; use bf16"));
            }
            WeightPrecision::Int8 => Form::Int8(Int8::new(values, outputs, inputs)),
        }))
    }

    /// Beyond it, the largest sum of 8-bit products leaves 32 bits.
    const MOST_INT8_INPUTS: usize = 66_000;

    /// `N`
    pub fn outputs(&self) -> usize {
        match &self.0 {
            Form::F32(w) => w.outputs(),
            Form::Bf16(w) => w.outputs(),
            Form::Int8(w) => w.outputs(),
        }
    }

    /// `K`
    pub fn inputs(&self) -> usize {
        match &self.0 {
            Form::F32(w) => w.inputs(),
            Form::Bf16(w) => w.inputs(),
            Form::Int8(w) => w.inputs(),
        }
    }

    /// `f(x W'^T + b) + r`; see the head of this file.
    pub fn linear(&self, x: &Tensor, after: After) -> Result<Tensor> {
        let (shape, rows) = self.check(x, after)?;
        let (values, after) = (x.values::<f32>()?, Values::of(after)?);
        let _scope = profile::scope(self.name()).product(rows, self.outputs(), self.inputs());
        let mut y = unset::<f32>(rows * self.outputs());
        self.multiply(rows, values, &after, &mut y);
        Ok(Tensor::constant(Storage::from(y), shape))
    }

    /// The shape of the result, and its number of rows.
    fn check(&self, x: &Tensor, after: After) -> Result<(Shape, usize)> {
        let (inputs, outputs) = (self.inputs(), self.outputs());
        let mut shape = x.shape().to_vec();
        match shape.last_mut() {
            Some(last) if *last == inputs => *last = outputs,
            _ => {
                let message = format!("x {:?}, weight [{outputs}, {inputs}]: expected [.., K]", x.shape());
                return Error::shape("prepared linear", message);
            }
        }
        let bias_fits = after.bias.is_none_or(|b| b.shape() == [outputs]);
        if !bias_fits || after.residual.is_some_and(|r| r.shape() != shape) {
            let (b, r) = (after.bias.map(Tensor::shape), after.residual.map(Tensor::shape));
            let message = format!("y {shape:?}, bias {b:?}, residual {r:?} do not fit");
            return Error::shape("prepared linear", message);
        }
        for operand in [Some(x), after.bias, after.residual].into_iter().flatten() {
            operand.refuse_gradient("prepared linear")?;
        }
        let rows = elements(&shape[..shape.len() - 1]);
        Ok((shape, rows))
    }

    fn multiply(&self, rows: usize, x: &[f32], after: &Values, y: &mut [f32]) {
        let &Values { bias, activation, residual } = after;
        let epilogue = Epilogue { bias, activation, residual, pre_activation: None };
        match &self.0 {
            Form::F32(w) => linear_packed(rows, x, w, epilogue, y),
            Form::Bf16(w) => linear_bf16(rows, x, w, epilogue, y),
            Form::Int8(w) => linear_int8(rows, x, w, epilogue, y),
        }
    }

    fn name(&self) -> &'static str {
        match &self.0 {
            Form::F32(_) => "linear f32",
            Form::Bf16(_) => "linear bf16",
            Form::Int8(_) => "linear int8",
        }
    }
}

/// [`After`] as slices.
struct Values<'a> {
    bias: Option<&'a [f32]>,
    activation: Option<Activation>,
    residual: Option<&'a [f32]>,
}

impl<'a> Values<'a> {
    fn of(after: After<'a>) -> Result<Self> {
        Ok(Self {
            bias: after.bias.map(|b| b.values::<f32>()).transpose()?,
            activation: after.activation,
            residual: after.residual.map(|r| r.values::<f32>()).transpose()?,
        })
    }
}

/// Rows that go through both products before the next ones: what lies between them stays in cache.
const BLOCK: usize = 64;

/// Two products, `second(first(x))`, block by block of rows; the bits are those of two calls of
/// [`PreparedMatrix::linear`].
pub fn linear_twice(
    x: &Tensor,
    (first, after_first): (&PreparedMatrix, After),
    (second, after_second): (&PreparedMatrix, After),
) -> Result<Tensor> {
    let between = first.outputs();
    let rows = x.elements() / first.inputs().max(1);
    if rows < 2 * BLOCK * rayon::current_num_threads() || second.inputs() != between || x.rank() != 2 {
        return second.linear(&first.linear(x, after_first)?, after_second);
    }
    first.check(x, after_first)?;
    let width = second.outputs();
    let residual_fits = after_second.residual.is_none_or(|r| r.shape() == [rows, width]);
    let bias_fits = after_second.bias.is_none_or(|b| b.shape() == [width]);
    if !residual_fits || !bias_fits || after_first.residual.is_some() {
        return second.linear(&first.linear(x, after_first)?, after_second); // which says what is wrong
    }
    for operand in [after_second.bias, after_second.residual].into_iter().flatten() {
        operand.refuse_gradient("prepared linear")?;
    }
    let inputs = first.inputs();
    let (values, one, two) = (x.values::<f32>()?, Values::of(after_first)?, Values::of(after_second)?);
    let _scope = profile::scope(second.name()).product(rows, between, inputs + width);
    let mut y = unset::<f32>(rows * width);
    y.par_chunks_mut(BLOCK * width.max(1)).enumerate().for_each_init(
        || unset::<f32>(BLOCK * between),
        |hidden, (block, y)| {
            let (row, count) = (block * BLOCK, y.len() / width.max(1));
            let hidden = &mut hidden[..count * between];
            first.multiply(count, &values[row * inputs..][..count * inputs], &one, hidden);
            let residual = two.residual.map(|r| &r[row * width..][..count * width]);
            second.multiply(count, hidden, &Values { residual, ..two }, y);
        },
    );
    Ok(Tensor::constant(Storage::from(y), vec![rows, width]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::op::linear::linear;
    use crate::{DType, Rng};

    fn some(shape: &[usize], seed: u64) -> Tensor {
        Rng::new(seed).normal_tensor(shape, 1.0, DType::F32).unwrap()
    }

    #[test]
    fn f32_gives_the_bits_of_the_plain_product_and_fewer_bits_stay_near() {
        let (x, w, b) = (some(&[5, 40], 1), some(&[30, 40], 2), some(&[30], 3));
        let r = some(&[5, 30], 4);
        let after = After { bias: Some(&b), activation: Some(Activation::Silu), residual: Some(&r) };
        let want = linear(&x, &w, after).unwrap();
        for (precision, bound) in
            [(WeightPrecision::F32, 0.0), (WeightPrecision::Bf16, 0.06), (WeightPrecision::Int8, 0.3)]
        {
            let got = PreparedMatrix::new(&w, precision).unwrap().linear(&x, after).unwrap();
            assert_eq!(got.shape(), [5, 30]);
            let (got, want) = (got.to_f64_vec(), want.to_f64_vec());
            let worst = got.iter().zip(&want).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
            assert!(worst <= bound, "{precision:?}: {worst}");
            assert!(bound == 0.0 || worst > 0.0);
        }
    }

    #[test]
    fn blocks_of_rows_give_the_bits_of_two_products() {
        let (x, w, v) = (some(&[1000, 24], 1), some(&[40, 24], 2), some(&[24, 40], 3));
        let (b, c) = (some(&[40], 4), some(&[24], 5));
        for precision in [WeightPrecision::F32, WeightPrecision::Bf16, WeightPrecision::Int8] {
            let (w, v) =
                (PreparedMatrix::new(&w, precision).unwrap(), PreparedMatrix::new(&v, precision).unwrap());
            let one = After { bias: Some(&b), activation: Some(Activation::Gelu), residual: None };
            let two = After { bias: Some(&c), activation: None, residual: Some(&x) };
            let want = v.linear(&w.linear(&x, one).unwrap(), two).unwrap().to_f64_vec();
            for threads in [1, 3] {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                let got = pool.install(|| linear_twice(&x, (&w, one), (&v, two)).unwrap());
                assert_eq!(got.to_f64_vec(), want, "{precision:?}, {threads} threads");
            }
            let short = some(&[999, 24], 6);
            let wrong = After { residual: Some(&short), ..two };
            assert!(linear_twice(&x, (&w, one), (&v, wrong)).unwrap_err().to_string().contains("999"));
        }
    }

    #[test]
    fn misfits_and_tracked_inputs_are_errors() {
        let w = PreparedMatrix::new(&some(&[3, 4], 1), WeightPrecision::F32).unwrap();
        let error = |x: &Tensor, after| w.linear(x, after).unwrap_err().to_string();
        assert!(error(&some(&[2, 5], 1), After::default()).contains("[2, 5]"));
        let bias = some(&[4], 1);
        let after = After { bias: Some(&bias), ..After::default() };
        assert!(error(&some(&[2, 4], 1), after).contains("bias"));
        assert!(error(&some(&[2, 4], 1).tracked(), After::default()).contains("x.detach()"));
        assert!(PreparedMatrix::new(&some(&[3], 1), WeightPrecision::F32).is_err());
        assert!(PreparedMatrix::new(&Tensor::zeros(&[2, 2], DType::F64), WeightPrecision::F32).is_err());
    }
}
