//! Attention biases by the distance of key and query: T5's learned buckets, ALiBi's slopes.
//! Definition:  T5: bias[h, bucket(j - i)], a bucket for each short distance and ever wider ones beyond;
//!              ALiBi: -slope_h |j - i|, slopes 2^(-8 h / H)
//! Shapes:      -> [H, 2 S - 1] for distances below S; the middle column is distance 0
//! Reference:   Raffel et al., T5, 2019; Press et al., Train Short, Test Long, 2021

use bert4rs_tensor::{DType, Parameter, ParameterKind, Tensor};

use crate::{Builder, Ctx, Init, Result};

/// T5's bucket of the distance `j - i` from query `i` to key `j`. Half of the buckets are for keys that
/// follow where `both_ways`; otherwise all keys that follow share bucket 0.
pub fn t5_bucket(distance: isize, buckets: usize, max_distance: usize, both_ways: bool) -> usize {
    let (first, buckets, n) = if both_ways {
        let half = buckets / 2;
        (if distance > 0 { half } else { 0 }, half, distance.unsigned_abs())
    } else {
        (0, buckets, (-distance).max(0).unsigned_abs())
    };
    let exact = buckets / 2;
    if n < exact {
        return first + n;
    }
    let ratio = (n as f64 / exact as f64).ln() / (max_distance as f64 / exact as f64).ln();
    first + (exact + (ratio * (buckets - exact) as f64) as usize).min(buckets - 1)
}

/// A learned bias for each head and bucket of distances, shared by all layers.
#[derive(Clone)]
pub struct DistanceBuckets {
    table: Parameter, // [buckets, H]
    buckets: usize,
    max_distance: usize,
    both_ways: bool,
}

impl DistanceBuckets {
    /// `relative_attention_bias.weight [buckets, H]`
    pub fn new(
        builder: &mut Builder,
        (buckets, max_distance): (usize, usize),
        heads: usize,
        both_ways: bool,
        init: Init,
    ) -> Result<Self> {
        let mut at = builder.at("relative_attention_bias");
        let table = at.parameter("weight", &[buckets, heads], ParameterKind::Embedding, init)?;
        Ok(Self { table, buckets, max_distance, both_ways })
    }

    /// The bias for distances below `span`: `[H, 2 span - 1]`.
    pub fn bias(&self, ctx: &Ctx, span: usize) -> Result<Tensor> {
        let reach = span.max(1) as isize - 1;
        let ids: Vec<usize> =
            (-reach..=reach).map(|d| t5_bucket(d, self.buckets, self.max_distance, self.both_ways)).collect();
        Ok(ctx.value(&self.table).rows(&ids)?.t()?)
    }
}

/// ALiBi's slope of each head.
pub fn alibi_slopes(heads: usize) -> Vec<f64> {
    let powers = |n: usize| (1..=n).map(move |h| (-8.0 * h as f64 / n as f64).exp2());
    let whole = if heads.is_power_of_two() { heads } else { heads.next_power_of_two() / 2 };
    // Other numbers of heads get every second slope of the next power of two besides.
    powers(whole).chain(powers(2 * whole).step_by(2)).take(heads).collect()
}

/// ALiBi's bias for distances below `span`: `[H, 2 span - 1]`.
pub fn alibi_bias(heads: usize, span: usize, dtype: DType) -> Result<Tensor> {
    let reach = span.max(1) as isize - 1;
    let values: Vec<f64> = alibi_slopes(heads)
        .into_iter()
        .flat_map(|slope| (-reach..=reach).map(move |d| -slope * d.unsigned_abs() as f64))
        .collect();
    Ok(Tensor::new(values, &[heads, (2 * reach + 1) as usize])?.cast(dtype)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_exact_near_and_logarithmic_far() {
        let both = |d| t5_bucket(d, 32, 128, true);
        assert_eq!([0, -1, -7, -8, -127, -500].map(both), [0, 1, 7, 8, 15, 15]);
        assert_eq!([1, 7, 8, 500].map(both), [17, 23, 24, 31]);
        let past = |d| t5_bucket(d, 32, 128, false);
        assert_eq!([5, 0, -1, -15, -16, -1000].map(past), [0, 0, 1, 15, 16, 31]);
    }

    #[test]
    fn slopes_halve_and_odd_numbers_of_heads_fill_in_between() {
        assert_eq!(alibi_slopes(8)[..3], [0.5, 0.25, 0.125]);
        assert_eq!(alibi_slopes(3), [0.0625, 0.003_906_25, 0.25]);
        let bias = alibi_bias(1, 3, DType::F64).unwrap();
        assert_eq!(bias.to_f64_vec(), [-2.0, -1.0, 0.0, -1.0, -2.0].map(|d| d / 256.0));
    }
}
