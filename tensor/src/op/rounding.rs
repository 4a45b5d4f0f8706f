//! Rounding to the numbers of a 16-bit format, in a tensor of the type it was.
//! Definition:  y = the nearest number of the format, ties to even; gradient: rounded in the same way
//! Numerics:    beyond the largest number infinite; below the smallest of f16 (6e-8) 0
//! Elementary, O(elements).       Vectors: mixed-precision-and-graph-compilation.json

use half::{bf16, f16};

use super::unary::unary;
use crate::{Result, Tensor};

/// A floating-point format of 16 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Half {
    /// The range of f32, 8 bits of precision.
    Bf16,
    /// 11 bits of precision, up to 65504.
    F16,
}

impl Tensor {
    /// Every value as the format `to` would hold it; the gradient passes through, held by it likewise.
    pub fn rounded(&self, to: Half) -> Result<Tensor> {
        let backward = move |grad: &Tensor| grad.rounded(to);
        match to {
            Half::Bf16 => unary(
                "rounded",
                self,
                nearest_bf16,
                |x| bf16::from_f64(x).to_f64(),
                move |s| backward(&s.grad),
            ),
            Half::F16 => unary(
                "rounded",
                self,
                |x| f16::from_f32(x).to_f32(),
                |x| f16::from_f64(x).to_f64(),
                move |s| backward(&s.grad),
            ),
        }
    }
}

/// As `bf16::from_f32`, in a form that is computed for many at once.
fn nearest_bf16(x: f32) -> f32 {
    let bits = x.to_bits();
    let rounded = bits.wrapping_add(0x7fff + ((bits >> 16) & 1)) & 0xffff_0000;
    if x.is_nan() { x } else { f32::from_bits(rounded) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_at_once_are_rounded_as_one_is() {
        let mut bits = 1u32;
        for _ in 0..100_000 {
            bits = bits.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let x = f32::from_bits(bits);
            let (got, expected) = (nearest_bf16(x), bf16::from_f32(x).to_f32());
            assert!(got == expected || (got.is_nan() && expected.is_nan()), "{x}: {got} {expected}");
        }
    }

    #[test]
    fn the_gradient_is_rounded_too() {
        let x = Tensor::new(vec![1.0f32 + 1e-3], &[1]).unwrap().tracked();
        let y = x.rounded(Half::Bf16).unwrap();
        assert_eq!(y.to_f64_vec(), [1.0]);
        let loss = y.mul_scalar(1.0 + 1e-3).unwrap().sum_all().unwrap();
        let gradient = crate::backward(loss).unwrap().take(&x).unwrap();
        assert_eq!(gradient.to_f64_vec(), [1.0]);
    }
}
