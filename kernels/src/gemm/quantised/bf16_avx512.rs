//! The product with bf16 weights on AVX-512: widened panel by panel, then 8 rows x 48 columns of f32.
//!
//! Definition:  panel `p` holds outputs `48 p .. 48 p + w` as `[inputs, w]`, two bytes each
//! Numerics:    every element is the sum over blocks of `DEPTH` terms of one chain of multiply-adds
//! Cost:        a block of a panel is widened once for `BLOCK` rows: two instructions for 16 weights
//!              that then meet all of these rows

use super::bf16::round;
use super::parts::{self, Output, Part};
use crate::gemm::Epilogue;
use crate::gemm::epilogue::Finish;
use std::arch::x86_64::*;

/// Two inputs of 16 outputs: one cache line.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(super) struct Line([u16; 32]);

/// 16 floats, aligned.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Wide([f32; 16]);

/// Rows of the micro-kernel.
const ROWS: usize = 8;
/// Registers across a panel.
const LANES: usize = 3;
/// Columns of a panel.
const PANEL: usize = 16 * LANES;
/// Terms summed in registers: a widened panel of 48 KiB stays near L1.
const DEPTH: usize = 256;
/// Rows that meet a widened panel.
const BLOCK: usize = 128;
/// Multiply-adds below which a part is not worth a thread.
const LEAST: usize = 1 << 18;

/// All panels of `weight [outputs, inputs]`; the inputs of a panel are made even.
pub(super) fn panels(weight: &[f32], outputs: usize, inputs: usize) -> Vec<Line> {
    let pairs = inputs.div_ceil(2);
    let mut lines = vec![Line([0; 32]); pairs * outputs.div_ceil(16)];
    for (o, row) in weight.chunks_exact(inputs.max(1)).enumerate() {
        let (panel, column) = (o / PANEL, o % PANEL);
        let lanes = (outputs - panel * PANEL).div_ceil(16).min(LANES);
        let first = panel * LANES * pairs + column / 16;
        for (pair, two) in row.chunks(2).enumerate() {
            let line = &mut lines[first + pair * lanes].0;
            for (i, &w) in two.iter().enumerate() {
                line[16 * i + column % 16] = round(w);
            }
        }
    }
    lines
}

pub(super) fn product(
    [rows, inputs, outputs]: [usize; 3],
    x: &[f32],
    lines: &[Line],
    epilogue: Epilogue<f32>,
    y: &mut [f32],
) {
    assert!(std::is_x86_feature_detected!("avx512f"), "bf16: no AVX-512");
    assert_eq!(lines.len(), inputs.div_ceil(2) * outputs.div_ceil(16), "bf16: packed weights");
    assert!(x.len() == rows * inputs && y.len() == rows * outputs, "bf16: a wrong length");
    let finish = Finish::new(epilogue, rows, outputs);
    if y.is_empty() {
        return;
    }
    let most = rows * outputs * inputs.max(1) / LEAST;
    let parts = parts::cut(rows, outputs.div_ceil(PANEL), most, rayon::current_num_threads());
    let out = Output::new(y);
    parts::run(&parts, |part| {
        let mut wide = vec![Wide([0.0; 16]); LANES * DEPTH.min(inputs.next_multiple_of(2))];
        let column = part.panels.start * PANEL;
        let width = outputs.min(part.panels.end * PANEL) - column;
        for row in part.rows.clone().step_by(BLOCK) {
            let block = Part { rows: row..part.rows.end.min(row + BLOCK), panels: part.panels.clone() };
            // SAFETY: AVX-512 is there, sizes were asserted, parts are disjoint, and so are blocks.
            unsafe { multiply(x, [inputs, outputs], lines, &block, &mut wide, out.pointer()) };
            for row in block.rows {
                // SAFETY: this piece of the row belongs to this part alone.
                unsafe {
                    let start = out.pointer().add(row * outputs + column);
                    finish.apply(row, column, std::slice::from_raw_parts_mut(start, width));
                }
            }
        }
    });
}

/// The sums of a block of rows.
///
/// # Safety
/// AVX-512F; `x` holds the rows, `lines` the weights, and nobody else writes the block of
/// `y [rows, outputs]`; `wide` has room for `DEPTH` (or all) inputs of a panel.
#[target_feature(enable = "avx512f")]
unsafe fn multiply(
    x: &[f32],
    [inputs, outputs]: [usize; 2],
    lines: &[Line],
    block: &Part,
    wide: &mut [Wide],
    y: *mut f32,
) {
    let pairs = inputs.div_ceil(2);
    for panel in block.panels.clone() {
        let column = panel * PANEL;
        let columns = PANEL.min(outputs - column);
        let lanes = columns.div_ceil(16);
        for first in (0..inputs.max(1)).step_by(DEPTH) {
            let k = DEPTH.min(inputs - first);
            let start = column / 16 * pairs + first / 2 * lanes;
            for (i, line) in lines[start..][..k.div_ceil(2) * lanes].iter().enumerate() {
                let (pair, lane) = (i / lanes, i % lanes);
                let at = 2 * pair * lanes + lane;
                // SAFETY: a line is 64 bytes; `wide` has two places for it (the second is unused at
                // the end of an odd number of inputs).
                unsafe {
                    let both: *const __m256i = line.0.as_ptr().cast();
                    for half in 0..2 {
                        let words = _mm512_cvtepu16_epi32(_mm256_load_si256(both.add(half)));
                        let floats = _mm512_castsi512_ps(_mm512_slli_epi32::<16>(words));
                        _mm512_store_ps(wide[at + half * lanes].0.as_mut_ptr(), floats);
                    }
                }
            }
            for row in block.rows.clone().step_by(ROWS) {
                // SAFETY: the tile is inside `x`, the widened panel and this block of `y`.
                unsafe {
                    let tile = Tile {
                        k,
                        a: x.as_ptr().add(row * inputs + first),
                        stride: inputs,
                        b: wide.as_ptr().cast(),
                        c: y.add(row * outputs + column),
                        c_stride: outputs,
                        last: mask(columns - 16 * (lanes - 1)),
                        add: first > 0,
                    };
                    let count = ROWS.min(block.rows.end - row);
                    match lanes {
                        LANES => tile.rows::<LANES>(count),
                        2 => tile.rows::<2>(count),
                        _ => tile.rows::<1>(count),
                    }
                }
            }
        }
    }
}

fn mask(columns: usize) -> __mmask16 {
    if columns >= 16 { 0xffff } else { (1 << columns) - 1 }
}

/// One call of the micro-kernel.
struct Tile {
    k: usize,
    a: *const f32,
    stride: usize,
    b: *const f32,
    c: *mut f32,
    c_stride: usize,
    last: __mmask16,
    add: bool,
}

impl Tile {
    /// Computes `rows` rows (1 to 8) of `V` lanes.
    ///
    /// # Safety
    /// AVX-512F; the pointers hold `rows` rows of `a` and `c` and `k` rows of `V` lanes of `b`.
    #[inline]
    #[target_feature(enable = "avx512f")]
    unsafe fn rows<const V: usize>(&self, rows: usize) {
        // SAFETY: as the caller's.
        unsafe {
            match rows {
                8 => self.kernel::<8, V>(),
                7 => self.kernel::<7, V>(),
                6 => self.kernel::<6, V>(),
                5 => self.kernel::<5, V>(),
                4 => self.kernel::<4, V>(),
                3 => self.kernel::<3, V>(),
                2 => self.kernel::<2, V>(),
                _ => self.kernel::<1, V>(),
            }
        }
    }

    /// # Safety
    /// As [`Tile::rows`], with `M` rows.
    #[target_feature(enable = "avx512f")]
    unsafe fn kernel<const M: usize, const V: usize>(&self) {
        // SAFETY: `a` has M rows of k numbers, `b` k rows of V lanes, `c` M rows of V lanes, the last
        // one masked.
        unsafe {
            let mut sums = [[_mm512_setzero_ps(); V]; M];
            let (mut a, mut b) = (self.a, self.b);
            for _ in 0..self.k {
                let mut right = [_mm512_setzero_ps(); V];
                for v in 0..V {
                    right[v] = _mm512_load_ps(b.add(16 * v));
                }
                for r in 0..M {
                    let left = _mm512_set1_ps(*a.add(r * self.stride));
                    for v in 0..V {
                        sums[r][v] = _mm512_fmadd_ps(left, right[v], sums[r][v]);
                    }
                }
                a = a.add(1);
                b = b.add(16 * V);
            }
            for r in 0..M {
                for v in 0..V {
                    let mask = if v + 1 == V { self.last } else { 0xffff };
                    let c = self.c.add(r * self.c_stride + 16 * v);
                    let old = _mm512_maskz_loadu_ps(if self.add { mask } else { 0 }, c);
                    _mm512_mask_storeu_ps(c, mask, _mm512_add_ps(sums[r][v], old));
                }
            }
        }
    }
}
