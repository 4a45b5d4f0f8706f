//! Dropout, by element or by channel of a sequence.
//! Definition:  x m / (1 - rate), m is 0 with probability `rate`, else 1
//! Shapes:      x [T, D] -> [T, D]; by sequence, m [B, D] is the same for all tokens of a text

use bert4rs_tensor::{Packed, Tensor};

use crate::Result;
use crate::encoder::DropoutMask;

/// Dropout with a given seed.
pub fn dropout(x: &Tensor, rate: f64, seed: u64, mask: DropoutMask, batch: &Packed) -> Result<Tensor> {
    Ok(match mask {
        DropoutMask::Element => x.dropout(rate, seed)?,
        DropoutMask::Sequence => {
            let width = x.shape().last().copied().unwrap_or(0);
            let ones = Tensor::full(1.0, &[batch.sequences(), width], x.dtype());
            x.mul(&ones.dropout(rate, seed)?.rows(&batch.sequence_of_tokens())?)?
        }
    })
}

#[cfg(test)]
mod tests {
    use bert4rs_tensor::DType;

    use super::*;

    #[test]
    fn a_sequence_mask_is_the_same_for_all_tokens_of_a_text() {
        let batch = Packed::from_lengths(&[3, 0, 2]);
        let x = Tensor::full(1.0, &[5, 16], DType::F64);
        let y = dropout(&x, 0.5, 7, DropoutMask::Sequence, &batch).unwrap().to_f64_vec();
        let row = |t: usize| &y[t * 16..(t + 1) * 16];
        assert_eq!(row(0), row(2));
        assert_eq!(row(3), row(4));
        assert_ne!(row(0), row(3));
        assert!(y.iter().all(|v| *v == 0.0 || *v == 2.0));
    }
}
