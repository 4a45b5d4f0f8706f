//! Softmax cross entropy of a linear layer over many classes, without the array of its scores.
//! Definition:  mean over i with t_i >= 0 of logsumexp(s_i) - s_i[t_i], s = x W^T + b; with smoothing e
//!              the target is (1-e) onehot + e/C
//! Shapes:      x [N, K], W [C, K], b [C], targets [N] (negative = ignored) -> scalar
//! Gradient:    fused: made beside the loss, a block of rows at a time, since scores that are not kept
//!              would have to be computed twice; the backward pass only scales them
//! Numerics:    no target at all -> exactly 0.  Memory: 32 MB of scores instead of 4 N C bytes.
//!              Cost O(N K C), three products

use bert4rs_kernels::cross_entropy::cross_entropy_in_place;
use bert4rs_kernels::gemm::{self, Epilogue, View};
use bert4rs_kernels::{Real, activation, softmax};

use super::cross_entropy::check_targets;
use crate::buffer::{Buffer, Pooled, unset};
use crate::storage::{Storage, float};
use crate::{Error, Result, Tensor, profile};

/// Scores held at a time.
const SCORES: usize = 8 << 20;
/// Rows below which weights would be arranged more than they are used.
const FEWEST: usize = 64;

/// The mean over rows that have a target; see the head of this file.
pub fn linear_cross_entropy(
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    targets: &[i64],
    label_smoothing: f64,
) -> Result<Tensor> {
    const NAME: &str = "linear_cross_entropy";
    let (&[rows, inputs], &[classes, k]) = (x.shape(), weight.shape()) else {
        let message = format!("x {:?}, weight {:?}: expected [N, K] and [C, K]", x.shape(), weight.shape());
        return Error::shape(NAME, message);
    };
    if inputs != k || bias.is_some_and(|b| b.shape() != [classes]) {
        let (x, weight, bias) = (x.shape(), weight.shape(), bias.map(Tensor::shape));
        return Error::shape(NAME, format!("x {x:?}, weight {weight:?}, bias {bias:?} do not fit"));
    }
    check_targets(NAME, rows, classes, targets, label_smoothing)?;
    let operands: Vec<&Tensor> = [Some(x), Some(weight), bias].into_iter().flatten().collect();
    if let Some(other) = operands.iter().find(|t| t.dtype() != x.dtype()) {
        return Error::value(
            NAME,
            format!("x is {:?}, an operand {:?}: expected one type", x.dtype(), other.dtype()),
        );
    }
    let needs = [x.is_tracked(), weight.is_tracked(), bias.is_some_and(Tensor::is_tracked)];
    let (loss, gradients) = float!(NAME, x, T => {
        let mut work = Work::<T> {
            sizes: [inputs, classes],
            weight: weight.values::<T>()?,
            bias: bias.map(|b| b.values::<T>()).transpose()?,
            label_smoothing,
            scale: T::from_f64(1.0 / targets.iter().filter(|&&t| t >= 0).count().max(1) as f64),
            d_x: needs[0].then(|| unset(rows * inputs)),
            d_weight: needs[1].then(|| unset(classes * inputs)),
            d_bias: needs[2].then(|| unset(classes)),
        };
        let loss = work.run(x.values::<T>()?, targets);
        let Work { d_x, d_weight, d_bias, scale, .. } = work;
        let gradients = [d_x, d_weight, d_bias].map(|d| d.map(Storage::from));
        Ok::<_, Error>((Storage::from(vec![loss * scale]), gradients))
    })?;
    let shapes = [vec![rows, inputs], vec![classes, inputs], vec![classes]];
    let gradients: Vec<Option<Tensor>> =
        gradients.into_iter().zip(shapes).map(|(d, shape)| Some(Tensor::constant(d?, shape))).collect();
    let count = operands.len();
    Ok(Tensor::made(NAME, true, loss, Vec::new(), &operands, move |step| {
        let scale = step.grad.item()?;
        let scaled = |d: &Tensor| if scale == 1.0 { Ok(d.clone()) } else { d.mul_scalar(scale) };
        gradients[..count].iter().map(|d| d.as_ref().map(scaled).transpose()).collect()
    }))
}

struct Work<'a, T: Real + Pooled> {
    /// `[K, C]`
    sizes: [usize; 2],
    weight: &'a [T],
    bias: Option<&'a [T]>,
    label_smoothing: f64,
    scale: T,
    d_x: Option<Buffer<T>>,
    d_weight: Option<Buffer<T>>,
    d_bias: Option<Buffer<T>>,
}

impl<T: Real + Pooled> Work<'_, T> {
    /// The sum of the losses; fills the gradients that are asked for.
    fn run(&mut self, x: &[T], targets: &[i64]) -> T {
        let [inputs, classes] = self.sizes;
        let tracked = self.d_x.is_some() || self.d_weight.is_some() || self.d_bias.is_some();
        let most = (SCORES / classes).max(FEWEST).min(targets.len());
        let mut scores = unset::<T>(most * classes);
        let (mut loss, mut lse) = (unset::<T>(most), unset::<T>(most));
        for d in [&mut self.d_weight, &mut self.d_bias].into_iter().flatten() {
            d.fill(T::ZERO);
        }
        let mut total = 0.0;
        for (block, targets) in targets.chunks(most.max(1)).enumerate() {
            let (first, rows) = (block * most, targets.len());
            let x = &x[first * inputs..][..rows * inputs];
            let scores = &mut scores[..rows * classes];
            let epilogue =
                Epilogue { bias: self.bias, activation: None, residual: None, pre_activation: None };
            {
                let _scope = profile::scope("linear y").product(rows, classes, inputs);
                gemm::linear(rows, inputs, classes, x, self.weight, epilogue, scores);
            }
            let loss = &mut loss[..rows];
            {
                let _scope = profile::scope("cross entropy");
                let smoothing = self.label_smoothing;
                if tracked {
                    cross_entropy_in_place(scores, classes, targets, smoothing, self.scale, loss);
                } else {
                    let lse = &mut lse[..rows];
                    softmax::cross_entropy_forward(scores, classes, targets, smoothing, loss, lse);
                }
            }
            total += loss.iter().map(|&l| l.to_f64()).sum::<f64>();
            self.add_gradients(first, rows, x, scores);
        }
        T::from_f64(total)
    }

    /// From the gradient of a block of scores.
    fn add_gradients(&mut self, first: usize, rows: usize, x: &[T], d_scores: &[T]) {
        let [inputs, classes] = self.sizes;
        if let Some(d) = &mut self.d_x {
            let _scope = profile::scope("linear dx").product(rows, inputs, classes);
            let (g, w) = (View::row_major(d_scores, classes), View::row_major(self.weight, inputs));
            gemm::matmul(rows, inputs, classes, g, w, &mut d[first * inputs..][..rows * inputs], false);
        }
        if let Some(d) = &mut self.d_weight {
            let _scope = profile::scope("linear dw").product(classes, inputs, rows);
            let (g, x) = (View::transposed(d_scores, classes), View::row_major(x, inputs));
            gemm::matmul(classes, inputs, rows, g, x, d, true);
        }
        if let Some(d) = &mut self.d_bias {
            let _scope = profile::scope("linear db");
            let mut sum = unset::<T>(classes);
            activation::sum_rows(d_scores, classes, &mut sum);
            d.iter_mut().zip(sum.iter()).for_each(|(d, &s)| *d += s);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::op::cross_entropy::cross_entropy;
    use crate::op::linear::{After, linear};
    use crate::{DType, Rng, backward};

    #[test]
    fn blocks_of_rows_are_the_whole_array_of_scores() {
        // 130 rows of 100,000 classes are two blocks.
        let some =
            |seed, shape: &[usize]| Rng::new(seed).normal_tensor(shape, 0.5, DType::F32).unwrap().tracked();
        let (x, w, b) = (some(1, &[130, 4]), some(2, &[100_000, 4]), some(3, &[100_000]));
        let targets: Vec<i64> = (0..130).map(|i| i * 769 - 1).collect(); // the first is ignored
        let fused = linear_cross_entropy(&x, &w, Some(&b), &targets, 0.0).unwrap();
        let scores = linear(&x, &w, After { bias: Some(&b), ..After::default() }).unwrap();
        let plain = cross_entropy(&scores, &targets, 0.0).unwrap().sum_all().unwrap().mul_scalar(1.0 / 129.0);
        let plain = plain.unwrap();
        assert!((fused.item().unwrap() / plain.item().unwrap() - 1.0).abs() < 1e-6);
        let half = backward(fused.mul_scalar(0.5).unwrap()).unwrap();
        let whole = backward(plain).unwrap();
        for tensor in [&x, &w, &b] {
            let (a, b) = (half.of(tensor).unwrap().to_f64_vec(), whole.of(tensor).unwrap().to_f64_vec());
            let size = b.iter().map(|b| b * b).sum::<f64>().sqrt();
            let off = a.iter().zip(&b).map(|(a, b)| (2.0 * a - b).powi(2)).sum::<f64>().sqrt();
            assert!(off < 1e-5 * size, "{off} of {size}");
        }
    }
}
