//! Rotary position embedding: pairs of numbers turned by an angle proportional to the position.
//!
//! Definition:  (a, b) -> factor * (a cos m t_i - b sin m t_i, b cos m t_i + a sin m t_i) for pair i
//!              of a head at position m; t_i = inverse frequency
//! Shapes:      x [T, H, K], the first `rotary_size` numbers of each head turn; table [positions,
//!              rotary_size / 2]
//! Numerics:    angles, sines and cosines in f64, then rounded: positions keep their order
//! Reference:   Su et al., RoFormer, 2021. Vectors: rope-roformer.json

use crate::cpu::simd;
use crate::{Real, parallel};

/// Which numbers form pair `i`. The same weights give different functions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// `2 i` and `2 i + 1`: RoFormer, GPT-J.
    Interleaved,
    /// `i` and `i + rotary_size / 2`: GPT-NeoX, LLaMA.
    Half,
}

/// Cosines and sines of every position.
#[derive(Clone, Debug)]
pub struct Table<T> {
    cos: Vec<T>,
    sin: Vec<T>,
    pairs: usize,
}

impl<T: Real> Table<T> {
    /// Rows for positions `0..positions`; `factor` multiplies both.
    pub fn new(inverse_frequencies: &[f64], positions: usize, factor: f64) -> Self {
        let positions: Vec<f64> = (0..positions).map(|m| m as f64).collect();
        Self::at(inverse_frequencies, &positions, factor)
    }

    /// Rows for any positions, fractions included.
    pub fn at(inverse_frequencies: &[f64], positions: &[f64], factor: f64) -> Self {
        let angles = || positions.iter().flat_map(|m| inverse_frequencies.iter().map(move |t| m * t));
        Self {
            cos: angles().map(|angle| T::from_f64(factor * angle.cos())).collect(),
            sin: angles().map(|angle| T::from_f64(factor * angle.sin())).collect(),
            pairs: inverse_frequencies.len(),
        }
    }

    /// The rows of `other` after its own; both are of as many pairs.
    pub fn append(&mut self, other: &Self) {
        assert_eq!(self.pairs, other.pairs, "rotary: tables of different sizes");
        self.cos.extend_from_slice(&other.cos);
        self.sin.extend_from_slice(&other.sin);
    }

    /// Number of rows.
    pub fn positions(&self) -> usize {
        self.cos.len().checked_div(self.pairs).unwrap_or(0)
    }
}

/// Turns `x [T, H, K]` in place; `positions[t]` is the row of the table for token `t`.
///
/// `inverse` turns the other way: the adjoint, which the backward pass applies to the gradient.
pub fn rotate<T: Real>(
    x: &mut [T],
    heads: usize,
    head_size: usize,
    rotary_size: usize,
    table: &Table<T>,
    positions: &[usize],
    layout: Layout,
    inverse: bool,
) {
    rotate_first(x, heads, heads, head_size, rotary_size, table, positions, layout, inverse);
}

/// As [`rotate`], the first `turned` heads only.
pub fn rotate_first<T: Real>(
    x: &mut [T],
    heads: usize,
    turned: usize,
    head_size: usize,
    rotary_size: usize,
    table: &Table<T>,
    positions: &[usize],
    layout: Layout,
    inverse: bool,
) {
    let width = heads * head_size;
    let pairs = table.pairs;
    assert_eq!(rotary_size, 2 * pairs, "rotary: the table is for another size");
    assert!(turned <= heads, "rotary: more heads to turn than there are");
    assert!(rotary_size <= head_size, "rotary: more numbers to turn than a head has");
    assert_eq!(x.len(), positions.len() * width, "rotary: x has a wrong length");
    if pairs == 0 {
        return;
    }
    parallel::rows(x, width, 2 * width, |first, x| {
        for (x, &position) in x.chunks_exact_mut(width).zip(&positions[first..]) {
            let cos = &table.cos[position * pairs..][..pairs];
            let sin = &table.sin[position * pairs..][..pairs];
            simd(
                #[inline(always)]
                || {
                    let sign = if inverse { -T::ONE } else { T::ONE };
                    for head in x.chunks_exact_mut(head_size).take(turned) {
                        match layout {
                            Layout::Interleaved => {
                                let pairs = head[..rotary_size].chunks_exact_mut(2);
                                for ((x, &c), &s) in pairs.zip(cos).zip(sin) {
                                    (x[0], x[1]) = turn(x[0], x[1], c, sign * s);
                                }
                            }
                            Layout::Half => {
                                let (a, b) = head[..rotary_size].split_at_mut(pairs);
                                for (((a, b), &c), &s) in a.iter_mut().zip(b).zip(cos).zip(sin) {
                                    (*a, *b) = turn(*a, *b, c, sign * s);
                                }
                            }
                        }
                    }
                },
            );
        }
    });
}

#[inline(always)]
fn turn<T: Real>(a: T, b: T, cos: T, sin: T) -> (T, T) {
    (a * cos - b * sin, b * cos + a * sin)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::f64::consts::FRAC_PI_2;

    const FREQUENCIES: [f64; 4] = [1.0, 0.1, 0.01, 0.001];

    fn numbers(count: usize) -> Vec<f64> {
        (0..count).map(|i| ((i * 37 + 11) % 64) as f64 / 32.0 - 1.0).collect()
    }

    fn close(got: &[f64], want: &[f64]) {
        assert_eq!(got.len(), want.len());
        assert!(got.iter().zip(want).all(|(g, w)| (g - w).abs() < 1e-9), "{got:?} is not {want:?}");
    }

    #[test]
    fn a_quarter_turn_by_hand() {
        let table = Table::<f64>::new(&[FRAC_PI_2], 2, 1.0);
        for layout in [Layout::Interleaved, Layout::Half] {
            let mut x = [1.0, 2.0, 9.0, 1.0, 2.0, 9.0];
            rotate(&mut x, 1, 3, 2, &table, &[0, 1], layout, false);
            close(&x, &[1.0, 2.0, 9.0, -2.0, 1.0, 9.0]);
        }
    }

    /// Position 7 of the cases `apply_interleaved`, `apply_half` and `apply_partial_rotary`.
    #[test]
    fn golden_vectors() {
        let table = Table::<f64>::new(&FREQUENCIES, 8, 1.0);
        let short = Table::<f64>::new(&[1.0, 0.01], 8, 1.0);
        let run = |layout, size, table: &Table<f64>| {
            let mut x = [
                -2.71116247897,
                -1.88901324597,
                -0.174772092055,
                -0.422190411576,
                0.213642997499,
                0.217321931023,
                2.11783875505,
                -1.11202076269,
            ];
            rotate(&mut x, 1, 8, size, table, &[7], layout, false);
            x
        };
        close(
            &run(Layout::Interleaved, 8, &table),
            &[
                -0.80289511738,
                -3.20532876025,
                0.138309461356,
                -0.435500310778,
                0.197919671207,
                0.231732509227,
                2.12557094998,
                -1.09716876808,
            ],
        );
        close(
            &run(Layout::Half, 8, &table),
            &[
                -2.18431209105,
                -1.58479965464,
                -0.322471747976,
                -0.414395986185,
                -1.62013147819,
                -1.05071876341,
                2.10042811072,
                -1.11494882704,
            ],
        );
        close(
            &run(Layout::Half, 4, &short),
            &[
                -1.92912858247,
                -1.8548578535,
                -1.91295848983,
                -0.553279432447,
                0.213642997499,
                0.217321931023,
                2.11783875505,
                -1.11202076269,
            ],
        );
    }

    #[test]
    fn scores_depend_on_the_distance_alone() {
        let table = Table::<f64>::new(&FREQUENCIES, 60, 1.0);
        for layout in [Layout::Interleaved, Layout::Half] {
            let score = |m, n| {
                let (mut q, mut k) = (numbers(8), numbers(16)[8..].to_vec());
                rotate(&mut q, 1, 8, 8, &table, &[m], layout, false);
                rotate(&mut k, 1, 8, 8, &table, &[n], layout, false);
                q.iter().zip(&k).map(|(q, k)| q * k).sum::<f64>()
            };
            close(&[score(3, 10), score(50, 57)], &[score(0, 7), score(0, 7)]);
        }
    }

    #[test]
    fn inverse_is_the_adjoint_and_undoes_a_rotation() {
        for layout in [Layout::Interleaved, Layout::Half] {
            for factor in [1.0, 1.3] {
                let table = Table::at(&FREQUENCIES, &[2.5, 1000.0, 0.0], factor);
                let (x, g) = (numbers(60), numbers(120)[60..].to_vec());
                let (mut y, mut back) = (x.clone(), g.clone());
                rotate(&mut y, 2, 10, 8, &table, &[2, 0, 1], layout, false);
                rotate(&mut back, 2, 10, 8, &table, &[2, 0, 1], layout, true);
                let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
                close(&[dot(&y, &g)], &[dot(&x, &back)]);
                if factor == 1.0 {
                    rotate(&mut y, 2, 10, 8, &table, &[2, 0, 1], layout, true);
                    close(&y, &x);
                }
            }
        }
    }

    #[test]
    fn f32_keeps_the_order_of_far_positions() {
        let table = Table::<f32>::new(&[1.0], 70_000, 1.0);
        let mut x = [1.0f32, 0.0];
        rotate(&mut x, 1, 2, 2, &table, &[65_535], Layout::Half, false);
        assert_eq!(x, [65_535f64.cos() as f32, 65_535f64.sin() as f32]);
    }

    #[test]
    fn no_tokens_and_no_pairs_are_fine() {
        rotate(&mut [0f32; 0], 2, 4, 2, &Table::new(&[1.0], 3, 1.0), &[], Layout::Half, false);
        let mut x = [1f32, 2.0];
        rotate(&mut x, 1, 2, 0, &Table::new(&[], 3, 1.0), &[1], Layout::Half, false);
        assert_eq!(x, [1.0, 2.0]);
    }

    #[test]
    #[should_panic(expected = "another size")]
    fn a_table_of_another_size_is_refused() {
        rotate(&mut [0f32; 8], 1, 8, 8, &Table::new(&[1.0], 3, 1.0), &[0], Layout::Half, false);
    }
}
