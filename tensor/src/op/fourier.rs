//! Real part of the Fourier transform of every text, over its tokens and over channels.
//! Definition:  Y = Re(F_n X F_d), F_m[j, k] = e^(-2 pi i j k / m), not normalised
//! Shapes:      x [T, D] -> [T, D].  Cost O(T D log(L D))
//! Gradient:    fused, and the same operation: the map is its own adjoint
//! Numerics:    in the type of x; magnitudes grow by sqrt(n d), so a norm follows
//! Reference:   Lee-Thorp et al., FNet, 2021.              Vectors: non-transformer-mixers.json

use bert4rs_kernels::fourier::{Plans, real_part};
use bert4rs_kernels::parallel;

use crate::buffer::unset;
use crate::storage::{Storage, float};
use crate::{Error, Packed, Result, Tensor};

/// The transform of every text of `x [T, D]`.
pub fn fourier(x: &Tensor, batch: &Packed) -> Result<Tensor> {
    let storage = transformed(x, batch)?;
    let batch = batch.clone();
    Ok(Tensor::made("fourier", true, storage, x.shape().to_vec(), &[x], move |step| {
        let storage = transformed(&step.grad, &batch)?;
        Ok(vec![Some(Tensor::constant(storage, step.grad.shape().to_vec()))])
    }))
}

fn transformed(x: &Tensor, batch: &Packed) -> Result<Storage> {
    let &[tokens, width] = x.shape() else {
        return Error::shape("fourier", format!("x {:?}: expected [T, D]", x.shape()));
    };
    if tokens != batch.tokens() {
        return Error::shape("fourier", format!("x {:?} for {} packed tokens", x.shape(), batch.tokens()));
    }
    float!("fourier", x, T => {
        let x = x.values::<T>()?;
        let mut out = unset::<T>(tokens * width);
        let mut rest = &mut out[..];
        let mut texts = Vec::with_capacity(batch.sequences());
        for b in 0..batch.sequences() {
            let (rows, after) = rest.split_at_mut(batch.length(b) * width);
            texts.push((batch.range(b), rows));
            rest = after;
        }
        let lengths: Vec<usize> = (0..batch.sequences()).map(|b| batch.length(b)).collect();
        let plans = Plans::<T>::new(width, &lengths);
        let cost = batch.longest() * width * 32;
        parallel::rows(&mut texts, 1, cost, |_, texts| {
            for (range, out) in texts {
                real_part(&plans, &x[range.start * width..range.end * width], out);
            }
        });
        Ok::<_, Error>(Storage::from(out))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_transform_is_the_sum_over_all_pairs() {
        let batch = Packed::from_lengths(&[5, 1, 0, 7, 4]);
        let x: Vec<f64> = (0..17 * 6).map(|i| (i as f64 * 1.3).sin()).collect();
        let y = fourier(&Tensor::new(x.clone(), &[17, 6]).unwrap(), &batch).unwrap().to_f64_vec();
        for b in 0..batch.sequences() {
            let (start, n) = (batch.offsets()[b], batch.length(b));
            for (k, c) in (0..n).flat_map(|k| (0..6).map(move |c| (k, c))) {
                let turn = |j: usize, k: usize, m: usize| (j * k % m) as f64 / m as f64;
                let sum: f64 = (0..n)
                    .flat_map(|i| (0..6).map(move |j| (i, j)))
                    .map(|(i, j)| {
                        let angle = std::f64::consts::TAU * (turn(i, k, n) + turn(j, c, 6));
                        x[(start + i) * 6 + j] * angle.cos()
                    })
                    .sum();
                let got = y[(start + k) * 6 + c];
                assert!((got - sum).abs() < 1e-12, "text {b} [{k}, {c}]: {got}, expected {sum}");
            }
        }
    }

    #[test]
    fn the_gradient_is_the_transform() {
        let batch = Packed::from_lengths(&[3, 2]);
        let x = Tensor::new((0..20).map(|i| (i as f64).cos()).collect(), &[5, 4]).unwrap();
        bert4rs_testing::assert_gradients("fourier", &[x], |x| fourier(&x[0], &batch));
    }
}
