//! The product in 8 bits with AVX-512 VNNI: 8 rows x 48 columns in 24 registers.
//!
//! Definition:  panel `p` holds outputs `48 p .. 48 p + w` (`w` = 48, the last: 16, 32 or 48) as
//!              `[inputs / 4, w, 4]` bytes: one instruction multiplies 4 inputs of 16 outputs
//! Numerics:    `vpdpbusd` adds 4 products of u8 and s8 to an i32 without saturation: exact. So does
//!              `vpdpwssd` with 2 products of i16, which takes the rows' zeros off: see [`Tile::begin`]
//! Cost:        rows are quantised block by block in cache; a strip of 8 rows meets a panel in L1

use super::int8::{Finish, Int8};
use super::parts::{self, Output, Part};
use super::rows::{Row, quantise, quantise_here};
use crate::activation::Activation;
use crate::wide;
use std::arch::x86_64::*;

/// 4 inputs of 16 outputs: one register, one cache line.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(super) struct Line([i8; 64]);

/// Rows of the micro-kernel.
const ROWS: usize = 8;
/// Registers across a panel.
const LANES: usize = 3;
/// Columns of a panel.
const PANEL: usize = 16 * LANES;
/// Rows quantised together: 384 KiB of codes for 3072 inputs.
const BLOCK: usize = 128;
/// Strips that are so few that memory is the limit.
const FEW: usize = 4;
/// Multiply-adds below which a part is not worth a thread.
const LEAST: usize = 1 << 20;

/// All panels of `weight [outputs, inputs]`.
pub(super) fn panels(weight: &[i8], outputs: usize, inputs: usize) -> Vec<Line> {
    let groups = inputs.div_ceil(4);
    let mut lines = vec![Line([0; 64]); groups * outputs.div_ceil(16)];
    for (o, row) in weight.chunks_exact(inputs.max(1)).enumerate() {
        let (panel, column) = (o / PANEL, o % PANEL);
        let lanes = (outputs - panel * PANEL).div_ceil(16).min(LANES);
        let first = panel * LANES * groups + column / 16;
        for (g, four) in row.chunks(4).enumerate() {
            lines[first + g * lanes].0[4 * (column % 16)..][..four.len()].copy_from_slice(four);
        }
    }
    lines
}

/// Codes of some rows.
struct Codes<'a> {
    codes: &'a [u8],
    stride: usize,
    rows: &'a [Row],
}

pub(super) fn product(rows: usize, x: &[f32], weight: &Int8, lines: &[Line], finish: &Finish, y: &mut [f32]) {
    let (inputs, outputs) = (weight.inputs, weight.outputs);
    let (groups, stride) = (inputs.div_ceil(4), inputs.next_multiple_of(4).max(4));
    assert!(std::is_x86_feature_detected!("avx512vnni"), "int8: no VNNI");
    assert_eq!(lines.len(), groups * outputs.div_ceil(16), "int8: packed weights");
    assert_eq!(y.len(), rows * outputs, "int8: output has a wrong length");
    assert!(weight.scales.len() == outputs && weight.sums.len() == outputs);
    let most = rows * outputs * inputs.max(1) / LEAST;
    let parts = parts::cut(rows, outputs.div_ceil(PANEL), most, rayon::current_num_threads());
    let out = Output::new(y);
    // Rows that meet their weights in several parts are quantised once for all of them.
    let shared = parts.get(1).is_some_and(|part| part.rows.start == 0);
    let (mut codes, mut meanings) = (Vec::new(), Vec::new());
    if shared {
        (codes, meanings) = (vec![0; rows * stride], vec![Row::default(); rows]);
        quantise(x, [inputs, stride], &mut codes, &mut meanings);
    }
    parts::run(&parts, |part| {
        let (mut own, mut own_rows) = (Vec::new(), [Row::default(); BLOCK]);
        for row in part.rows.clone().step_by(BLOCK) {
            let count = BLOCK.min(part.rows.end - row);
            let left = if shared {
                Codes { codes: &codes[row * stride..], stride, rows: &meanings[row..] }
            } else {
                own.resize(count * stride, 0);
                let x = &x[row * inputs..][..count * inputs];
                quantise_here(x, [inputs, stride], &mut own, &mut own_rows[..count]);
                Codes { codes: &own, stride, rows: &own_rows }
            };
            let block = Part { rows: row..row + count, panels: part.panels.clone() };
            // SAFETY: VNNI is there; sizes were asserted; parts are disjoint, and so are their blocks.
            unsafe { multiply(&left, weight, lines, finish, &block, out.pointer()) };
        }
    });
}

/// Computes a block of at most `BLOCK` rows.
///
/// # Safety
/// AVX-512 with VNNI; `left` holds the rows of the block, `y [rows, outputs]` is written in the block
/// by nobody else; the weight, its lines and the epilogue have the sizes of the product.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
unsafe fn multiply(left: &Codes, weight: &Int8, lines: &[Line], finish: &Finish, block: &Part, y: *mut f32) {
    let (outputs, groups) = (weight.outputs, weight.inputs.div_ceil(4));
    for panel in block.panels.clone() {
        let column = panel * PANEL;
        let columns = PANEL.min(outputs - column);
        // The next panel comes from far while this one is used: many strips fetch a share each before
        // they begin, the first of a few fetches all of it on the way.
        let next = lines.get((column + PANEL) / 16 * groups..).unwrap_or_default();
        let next = &next[..next.len().min(LANES * groups)];
        let strips = block.rows.len().div_ceil(ROWS);
        let share = if strips > FEW { next.len().div_ceil(strips) } else { 0 };
        for strip in (0..block.rows.len()).step_by(ROWS) {
            for line in next.iter().skip(strip / ROWS * share).take(share) {
                _mm_prefetch::<_MM_HINT_T1>(line.0.as_ptr());
            }
            let (row, count) = (block.rows.start + strip, ROWS.min(block.rows.len() - strip));
            // SAFETY: the strip is inside the codes, the panel inside the lines, the tile inside `y`.
            unsafe {
                let at = row * outputs + column;
                let tile = Tile {
                    groups,
                    a: left.codes.as_ptr().add(strip * left.stride),
                    stride: left.stride,
                    rows: left.rows.as_ptr().add(strip),
                    b: lines.as_ptr().add(column / 16 * groups).cast(),
                    sums: weight.sums.as_ptr().add(column),
                    factors: weight.scales.as_ptr().add(column),
                    bias: finish.bias.map(|bias| bias.as_ptr().add(column)),
                    residual: finish.residual.map(|residual| residual.as_ptr().add(at)),
                    activation: finish.activation,
                    c: y.add(at),
                    c_stride: outputs,
                    columns,
                    ahead: if strips <= FEW && strip == 0 { LANES * groups } else { 0 },
                };
                match columns.div_ceil(16) {
                    LANES => tile.rows::<LANES>(count),
                    2 => tile.rows::<2>(count),
                    _ => tile.rows::<1>(count),
                }
            }
        }
    }
}

/// One call of the micro-kernel.
struct Tile {
    groups: usize,
    a: *const u8,
    stride: usize,
    rows: *const Row,
    b: *const i8,
    sums: *const i32,
    factors: *const f32,
    bias: Option<*const f32>,
    residual: Option<*const f32>,
    activation: Option<Activation>,
    c: *mut f32,
    c_stride: usize,
    columns: usize,
    /// Distance in lines of what is fetched ahead; 0 for nothing.
    ahead: usize,
}

impl Tile {
    /// Computes `rows` rows (1 to 8) of `V` lanes.
    ///
    /// # Safety
    /// AVX-512 with VNNI; the pointers hold `rows` rows and the panel of `columns` columns.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
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
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
    unsafe fn kernel<const M: usize, const V: usize>(&self) {
        let mask = |v: usize| -> __mmask16 {
            let left = self.columns - 16 * v;
            if left >= 16 { 0xffff } else { (1 << left) - 1 }
        };
        // SAFETY: `a` has M rows of 4 * groups codes, `b` as many lines for V lanes; what belongs to
        // the columns is read and written under the mask of those that are there.
        unsafe {
            let mut sums = self.begin::<M, V>(mask(V - 1));
            let (mut a, mut b) = (self.a, self.b);
            for _ in 0..self.groups {
                let mut right = [_mm512_setzero_si512(); V];
                for v in 0..V {
                    right[v] = _mm512_load_si512(b.add(64 * v).cast());
                    _mm_prefetch::<_MM_HINT_T0>(b.wrapping_add(64 * (self.ahead + v)));
                }
                for r in 0..M {
                    let four = a.add(r * self.stride).cast::<i32>().read_unaligned();
                    let left = _mm512_set1_epi32(four);
                    for v in 0..V {
                        sums[r][v] = _mm512_dpbusd_epi32(sums[r][v], left, right[v]);
                    }
                }
                a = a.add(4);
                b = b.add(64 * V);
            }
            for v in 0..V {
                let mask = mask(v);
                let factor = _mm512_maskz_loadu_ps(mask, self.factors.add(16 * v));
                let bias = match self.bias {
                    Some(bias) => _mm512_maskz_loadu_ps(mask, bias.add(16 * v)),
                    None => _mm512_setzero_ps(),
                };
                for r in 0..M {
                    let scale = _mm512_mul_ps(_mm512_set1_ps((*self.rows.add(r)).scale), factor);
                    let mut y = _mm512_mul_ps(_mm512_cvtepi32_ps(sums[r][v]), scale);
                    y = _mm512_add_ps(y, bias);
                    if let (Some(residual), None) = (self.residual, self.activation) {
                        let residual = residual.add(r * self.c_stride + 16 * v);
                        y = _mm512_add_ps(y, _mm512_maskz_loadu_ps(mask, residual));
                    }
                    _mm512_mask_storeu_ps(self.c.add(r * self.c_stride + 16 * v), mask, y);
                }
            }
            if let Some(activation) = self.activation {
                self.activate(activation, M);
            }
        }
    }

    /// `-zero S` for every row, `S` being the sum of an output's weights: `-127 S + (127 - zero) S`,
    /// with `S = low + 256 high`, so that all factors fit into 16 bits (`high` for 66,000 inputs).
    ///
    /// # Safety
    /// AVX-512 with VNNI; the pointers hold `M` rows and the sums of `V` lanes, the last one masked.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
    unsafe fn begin<const M: usize, const V: usize>(&self, last: __mmask16) -> [[__m512i; V]; M] {
        let (mut middle, mut halves) = ([_mm512_setzero_si512(); V], [_mm512_setzero_si512(); V]);
        for v in 0..V {
            let mask = if v + 1 == V { last } else { 0xffff };
            // SAFETY: the sums of the panel, those of the last lane under the mask.
            let sums = unsafe { _mm512_maskz_loadu_epi32(mask, self.sums.add(16 * v)) };
            let low = _mm512_srai_epi32::<24>(_mm512_slli_epi32::<24>(sums));
            let high = _mm512_slli_epi32::<8>(_mm512_sub_epi32(sums, low));
            halves[v] = _mm512_mask_blend_epi16(0xaaaa_aaaa, low, high);
            middle[v] = _mm512_sub_epi32(sums, _mm512_slli_epi32::<7>(sums));
        }
        let mut begin = [middle; M];
        for r in 0..M {
            // SAFETY: the rows of the tile.
            let rest = 127 - unsafe { (*self.rows.add(r)).zero };
            let factors = _mm512_set1_epi32(rest << 24 | rest & 0xffff); // rest, 256 rest
            for v in 0..V {
                begin[r][v] = _mm512_dpwssd_epi32(middle[v], factors, halves[v]);
            }
        }
        begin
    }

    /// The activation, and the residual after it.
    ///
    /// # Safety
    /// As [`Tile::rows`].
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    unsafe fn activate(&self, activation: Activation, rows: usize) {
        // SAFETY: the rows of the tile, which are this thread's alone.
        let row =
            |r: usize| unsafe { std::slice::from_raw_parts_mut(self.c.add(r * self.c_stride), self.columns) };
        match activation {
            Activation::Gelu => (0..rows).for_each(|r| wide::gelu_all(row(r))),
            other => other.specialise(
                #[inline(always)]
                |f| {
                    for r in 0..rows {
                        for y in row(r) {
                            *y = f.apply(*y); // a loop: a closure inside would stay baseline code
                        }
                    }
                },
            ),
        }
        if let Some(residual) = self.residual {
            for r in 0..rows {
                for i in 0..self.columns {
                    // SAFETY: inside the tile.
                    unsafe { *self.c.add(r * self.c_stride + i) += *residual.add(r * self.c_stride + i) };
                }
            }
        }
    }
}
