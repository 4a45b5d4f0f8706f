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
