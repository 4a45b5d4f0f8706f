//! The recursions of the CRF on scaled probabilities: per token two products with one `[C, C]` matrix.
//!
//! Definition:  E = e^(g - max g), w_t = e^(f_t - max f_t), u_t = (a_(t-1) E) w_t, a_t = u_t / max u_t;
//!              log Z = sum of the logarithms of all that was divided by
//! Numerics:    f64, in which e^-708 is lost. A lost share of a token's probability weighs nothing if it
//!              cannot grow: when every tag is reached from every tag in two steps, the text after a
//!              token can prefer one of its tags over another by no more than C e^(2 range of g + range
//!              of f), for sequences of any length; a share lost within a step, by its square. Otherwise
//!              the shrinking of the largest share over the whole sequence bounds it. Where neither bound
//!              holds, `None` sends the sequence to the logarithms

use super::{Crf, finite, over};
use crate::{Real, cpu, real};

/// Numbers of a vector; rows are padded to whole ones.
const LANE: usize = 8;
/// Exponent below which a factor is 0.
const LOWEST: f64 = -708.0;
/// What a lost share of e^-708 may grow by: e^-108 of what counts is nothing in f64.
const GROWTH: f64 = 600.0;

/// The transitions as factors, once for all sequences.
pub(super) struct Matrix {
    tags: usize,
    /// Tags in whole vectors.
    width: usize,
    /// E, `[C, width]`, and its transpose.
    forward: Vec<f64>,
    backward: Vec<f64>,
    max: f64,
    /// The largest sum of a row of E: no share of the probability grows by more in one step.
    row_sum: f64,
    /// Logarithm of what two steps can prefer a tag by, the emissions left out; infinite if some tag is
    /// not reached in two steps.
    preference: f64,
}

impl Matrix {
    pub fn new<T: Real>(crf: &Crf<T>) -> Self {
        let (tags, width) = (crf.tags, crf.tags.next_multiple_of(LANE));
        let transitions: Vec<f64> = crf.transitions.iter().map(|g| g.to_f64()).collect();
        let max = finite(real::max(&transitions));
        let (mut forward, mut backward) = (vec![0.0; tags * width], vec![0.0; tags * width]);
        for (i, row) in transitions.chunks_exact(tags).enumerate() {
            for (j, g) in row.iter().enumerate() {
                let e = (g - max).exp();
                (forward[i * width + j], backward[j * width + i]) = (e, e);
            }
        }
        let allowed = transitions.iter().filter(|g| **g > f64::NEG_INFINITY);
        let range = max - allowed.fold(max, |least, &g| least.min(g));
        let step = |i: usize, j: usize| transitions[i * tags + j] > f64::NEG_INFINITY;
        let open = transitions.iter().all(|g| *g > f64::NEG_INFINITY);
        let reached = |i, j| (0..tags).any(|k| step(i, k) && step(k, j));
        let mixing = open || (0..tags).all(|i| (0..tags).all(|j| reached(i, j)));
        let preference = if mixing { 2.0 * range + (tags as f64).ln() } else { f64::INFINITY };
        let row_sum = forward.chunks_exact(width).map(|row| row.iter().sum()).fold(1.0, f64::max);
        Self { tags, width, forward, backward, max, row_sum, preference }
    }

    /// Sums of products of neighbouring shares, for [`Chain::marginals`].
    pub fn pairs(&self) -> Vec<f64> {
        vec![0.0; self.tags * self.width]
    }

    /// Adds the marginals of neighbouring tags to `sum [C, C]`.
    pub fn add_pairs<T: Real>(&self, pairs: &[f64], sum: &mut [T]) {
        let rows = self.forward.chunks_exact(self.width).zip(pairs.chunks_exact(self.width));
        for (sum, (factors, pairs)) in sum.chunks_exact_mut(self.tags).zip(rows) {
            for ((sum, e), p) in sum.iter_mut().zip(factors).zip(pairs) {
                *sum += T::from_f64(e * p);
            }
        }
    }
}

/// What the forward pass found for one sequence.
pub(super) struct Chain<'a> {
    matrix: &'a Matrix,
    /// a, `[L, width]`
    share: Vec<f64>,
    /// a_(t-1) E, `[L, width]`; row 0 is not used
    reached: Vec<f64>,
    /// e^end less its maximum, `[width]`
    end: Vec<f64>,
    /// log Z
    pub log_z: f64,
}

impl<'a> Chain<'a> {
    /// `None` where scaled probabilities might lose digits.
    pub fn new<T: Real>(crf: &Crf<T>, matrix: &'a Matrix, emissions: &[T]) -> Option<Self> {
        let (tags, width) = (matrix.tags, matrix.width);
        let length = emissions.len() / tags;
        let edge = |scores: Option<&[T]>| -> (Vec<f64>, f64) {
            let mut row = vec![0.0; width];
            let max = finite(scores.map_or(T::ZERO, real::max)).to_f64();
            for j in 0..tags {
                row[j] = scores.map_or(1.0, |s| (s[j].to_f64() - max).exp());
            }
            (row, max)
        };
        let ((start, start_max), (end, end_max)) = (edge(crf.start), edge(crf.end));
        let mut chain = Self {
            matrix,
            share: vec![0.0; length * width],
            reached: vec![0.0; length * width],
            end,
            log_z: 0.0,
        };
        if length == 0 {
            return Some(chain);
        }
        let mut log = start_max + end_max + matrix.max * (length - 1) as f64;
        let (mut product, mut shrunk, mut of_last, mut lowest) = (1.0, 1.0, 1.0, [0.0; LANE]);
        let Self { share, reached, .. } = &mut chain;
        let fits = cpu::simd(
            #[inline(always)]
            || {
                for (f, share) in emissions.chunks_exact(tags).zip(share.chunks_exact_mut(width)) {
                    let max = finite(real::max(f)).to_f64();
                    log += max;
                    share.iter_mut().zip(f).for_each(|(w, &f)| *w = f.to_f64() - max);
                    for share in share.chunks_exact(LANE) {
                        for i in 0..LANE {
                            lowest[i] = if share[i] < lowest[i] { share[i] } else { lowest[i] };
                        }
                    }
                    share[tags..].fill(f64::NEG_INFINITY);
                }
                share.iter_mut().for_each(|w| *w = exp(*w));
                for t in 0..length {
                    let (before, now) = share.split_at_mut(t * width);
                    let (now, reached) = (&mut now[..width], &mut reached[t * width..][..width]);
                    if t == 0 {
                        reached.copy_from_slice(&start);
                    } else {
                        times(&before[(t - 1) * width..][..tags], &matrix.forward, reached);
                    }
                    let mut top = [0.0; LANE];
                    for (now, reached) in now.chunks_exact_mut(LANE).zip(reached.chunks_exact(LANE)) {
                        for i in 0..LANE {
                            now[i] *= reached[i];
                            top[i] = if now[i] > top[i] { now[i] } else { top[i] };
                        }
                    }
                    let max = top.iter().fold(0.0, |max, &x| if x > max { x } else { max });
                    if !(max > 1e-290 && max <= f64::MAX) {
                        return false;
                    }
                    scale(now, 1.0 / max);
                    product *= max;
                    if !(1e-200..1e200).contains(&product) {
                        log += product.ln();
                        product = 1.0;
                    }
                    shrunk *= (max / matrix.row_sum).min(1.0);
                    of_last = max;
                }
                true
            },
        );
        let last = &chain.share[(length - 1) * width..];
        let ending: f64 = last.iter().zip(&chain.end).map(|(a, e)| a * e).sum();
        let least = (-GROWTH).exp();
        // The bound by two steps says nothing about the last two, where the sequence ends.
        let lowest = lowest.iter().fold(0.0, |least: f64, &w| least.min(w));
        let mixed = 2.0 * (matrix.preference - lowest) < GROWTH && of_last * ending > least;
        if !fits || ending.is_nan() || !(mixed || shrunk * ending > least) {
            return None;
        }
        chain.log_z = log + product.ln() + ending.ln();
        Some(chain)
    }

    /// The marginals `[L, C]` times `weight`; `pairs` takes what [`Matrix::add_pairs`] needs.
    ///
    /// P(y_t = i, y_(t+1) = j) = a_t[i] E[i, j] r[j] with r[j] = P(y_(t+1) = j) / (a_t E)[j].
    pub fn marginals<T: Real>(&self, weight: T, out: &mut [T], mut pairs: Option<&mut [f64]>) {
        let (tags, width) = (self.matrix.tags, self.matrix.width);
        let weight = weight.to_f64();
        let length = self.share.len() / width;
        let (mut now, mut ratio) = (self.end.clone(), vec![0.0; width]);
        cpu::simd(
            #[inline(always)]
            || {
                for t in (0..length).rev() {
                    let share = &self.share[t * width..][..width];
                    if t + 1 < length {
                        let reached = &self.reached[(t + 1) * width..][..width];
                        let lanes = ratio.chunks_exact_mut(LANE).zip(now.chunks_exact(LANE));
                        for ((r, p), v) in lanes.zip(reached.chunks_exact(LANE)) {
                            for i in 0..LANE {
                                r[i] = over(p[i], v[i]);
                            }
                        }
                        times(&ratio[..tags], &self.matrix.backward, &mut now);
                        if let Some(pairs) = &mut pairs {
                            for (pairs, &a) in pairs.chunks_exact_mut(width).zip(share) {
                                let a = weight * a;
                                for (p, r) in pairs.chunks_exact_mut(LANE).zip(ratio.chunks_exact(LANE)) {
                                    for i in 0..LANE {
                                        p[i] += a * r[i];
                                    }
                                }
                            }
                        }
                    }
                    let mut sums = [0.0; LANE];
                    for (p, a) in now.chunks_exact_mut(LANE).zip(share.chunks_exact(LANE)) {
                        for i in 0..LANE {
                            p[i] *= a[i];
                            sums[i] += p[i];
                        }
                    }
                    let sum: f64 = sums.iter().sum();
                    for p in now.chunks_exact_mut(LANE) {
                        for i in 0..LANE {
                            p[i] /= sum; // not times the inverse: a sure tag has probability 1 exactly
                        }
                    }
                    for (out, &p) in out[t * tags..][..tags].iter_mut().zip(&now) {
                        *out = T::from_f64(weight * p);
                    }
                }
            },
        );
    }
}

#[inline(always)]
fn scale(row: &mut [f64], factor: f64) {
    for x in row.chunks_exact_mut(LANE) {
        for i in 0..LANE {
            x[i] *= factor;
        }
    }
}

/// `out [width] = x [C] matrix [C, width]`
#[inline(always)]
fn times(x: &[f64], matrix: &[f64], out: &mut [f64]) {
    let width = out.len();
    for (lane, out) in out.chunks_exact_mut(LANE).enumerate() {
        let mut sums = [[0.0; LANE]; 2];
        let rows = matrix.chunks_exact(2 * width);
        let odd = rows.remainder();
        for (x, rows) in x.chunks_exact(2).zip(rows) {
            for half in 0..2 {
                let row = &rows[half * width + lane * LANE..][..LANE];
                for i in 0..LANE {
                    sums[half][i] += x[half] * row[i];
                }
            }
        }
        if let (Some(row), Some(x)) = (odd.get(lane * LANE..), x.last())
            && row.len() >= LANE
        {
            for i in 0..LANE {
                sums[0][i] += x * row[i];
            }
        }
        for i in 0..LANE {
            out[i] = sums[0][i] + sums[1][i];
        }
    }
}

/// `e^x` for `x <= 0`, without a branch, so that it vectorises; 0 below -708.
#[inline(always)]
fn exp(x: f64) -> f64 {
    // x = n ln 2 + r with |r| <= ln 2 / 2; ln 2 in two parts keeps r exact, adding 1.5 * 2^52 rounds and
    // leaves n in the low bits. The Taylor polynomial is below 1e-17 there.
    const ROUND: f64 = 6_755_399_441_055_744.0;
    let y = if x < LOWEST { LOWEST } else { x };
    let shifted = y * std::f64::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = (y - n * 6.931_471_803_691_238e-1) - n * 1.908_214_929_270_587_7e-10;
    let mut p = 1.0 / 6_227_020_800.0;
    for inverse in [
        1.0 / 479_001_600.0,
        1.0 / 39_916_800.0,
        1.0 / 3_628_800.0,
        1.0 / 362_880.0,
        1.0 / 40_320.0,
        1.0 / 5_040.0,
        1.0 / 720.0,
        1.0 / 120.0,
        1.0 / 24.0,
        1.0 / 6.0,
        0.5,
        1.0,
        1.0,
    ] {
        p = p * r + inverse;
    }
    let n = shifted.to_bits().wrapping_sub(ROUND.to_bits());
    let scaled = p * f64::from_bits(n.wrapping_add(1023) << 52);
    if x < LOWEST { 0.0 } else { scaled }
}
