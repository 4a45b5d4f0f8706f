//! The product in f32 with AVX-512: 8 rows x 48 columns in 24 registers.
//!
//! Definition:  c [m, n] = a [m, k] b [k, n] (+ c)
//! Numerics:    every element is the sum over blocks of at most `DEPTH` terms, in order, of one chain
//!              of fused multiply-adds. The blocks depend on k alone, so an element depends neither
//!              on the other rows and columns nor on the threads.
//! Cost:        the right factor is packed into panels block by block in cache; the left one is read
//!              in place when its rows are contiguous, and packed into strips of 8 otherwise

use super::View;
use super::pack::{self, Lane, PANEL, PANEL_LANES, mask, panel_lanes};
use rayon::prelude::*;
use std::arch::x86_64::*;

/// Rows of the micro-kernel.
const ROWS: usize = 8;
/// Terms summed in registers: a strip of 8 rows takes 12 KiB of L1, a panel 72 KiB of L2.
const DEPTH: usize = 384;
/// Panels packed together: 576 KiB, so they fit an L2 of 1 MiB with the rows that meet them.
const GROUP: usize = 8;
/// Rows packed together when the left factor is stored by columns.
const STRIPS: usize = 128;
/// Floats of a packed factor that are fetched ahead: weights of one text come from far away, and no
/// hardware looks beyond a page.
const AHEAD: usize = 2048;
/// Rows that make a part of a product worth its thread.
const LEAST_ROWS: usize = 32;
/// Multiply-adds below which a second thread costs more than it saves.
const SPLIT: usize = 1 << 19;

/// The right factor.
#[derive(Clone, Copy)]
pub(super) enum Right<'a> {
    /// As stored; packed on the way.
    View(View<'a, f32>),
    /// Packed before: the panels, the rows of each, and the row at which the factor starts.
    Panels(&'a [Lane], usize, usize),
}

/// Sizes and factors of one product.
#[derive(Clone, Copy)]
pub(super) struct Product<'a> {
    pub m: usize,
    pub n: usize,
    pub k: usize,
    pub a: View<'a, f32>,
    pub b: Right<'a>,
    pub accumulate: bool,
    /// Whether other threads may help.
    pub shared: bool,
}

/// A part of the result: whole panels of columns.
#[derive(Clone, Copy)]
struct Part {
    row: usize,
    rows: usize,
    column: usize,
    columns: usize,
}

#[derive(Clone, Copy)]
struct Output(*mut f32);
// SAFETY: parts are disjoint, and every thread writes its own parts only.
unsafe impl Send for Output {}
// SAFETY: as above.
unsafe impl Sync for Output {}

impl Output {
    fn pointer(&self) -> *mut f32 {
        self.0
    }
}

/// Computes `p` into `c`, calling `finish(row, column, segment)` on every complete piece of a row.
pub(super) fn product(p: Product, c: &mut [f32], finish: impl Fn(usize, usize, &mut [f32]) + Sync) {
    assert_eq!(c.len(), p.m * p.n, "gemm: output has a wrong length");
    p.a.check(p.m, p.k);
    match p.b {
        Right::View(b) => b.check(p.k, p.n),
        Right::Panels(lanes, rows, first) => {
            assert!(rows >= first + p.k && lanes.len() >= rows * p.n.div_ceil(16), "gemm: packed factor");
        }
    }
    assert_eq!(crate::cpu::Path::detect(), crate::cpu::Path::Avx512);
    if p.m == 0 || p.n == 0 {
        return;
    }
    if p.k == 0 {
        if !p.accumulate {
            c.fill(0.0);
        }
        return c.chunks_exact_mut(p.n).enumerate().for_each(|(i, row)| finish(i, 0, row));
    }
    let threads = rayon::current_num_threads();
    if threads == 1 || !p.shared || p.m.saturating_mul(p.n).saturating_mul(p.k) < SPLIT {
        let all = Part { row: 0, rows: p.m, column: 0, columns: p.n };
        // SAFETY: AVX-512 is there, and the factors and the output have the asserted sizes.
        return unsafe { block(&p, all, c.as_mut_ptr(), &finish) };
    }
    let out = Output(c.as_mut_ptr());
    let parts = split(&p, 2 * threads);
    let run = |p: &Product, part: &Part| {
        // SAFETY: as above, and parts are disjoint.
        unsafe { block(p, *part, out.pointer(), &finish) }
    };
    let several = |p: &Product| parts.par_iter().with_max_len(1).for_each(|part| run(p, part));
    match p.b {
        // Parts that share columns would each pack them.
        Right::View(b) if parts[0].rows < p.m => {
            pack::with_panels(b, p.k, p.n, |panels| {
                several(&Product { b: Right::Panels(panels, p.k, 0), ..p })
            });
        }
        Right::View(_) | Right::Panels(..) => several(&p),
    }
}

/// Cuts the result into about `wanted` parts. Only speed depends on the cut.
fn split(p: &Product, wanted: usize) -> Vec<Part> {
    let panels = p.n.div_ceil(PANEL);
    let mut groups = panels.div_ceil(GROUP);
    let row_parts = wanted.div_ceil(groups).min(p.m.div_ceil(LEAST_ROWS)).max(1);
    if groups * row_parts < wanted {
        groups = wanted.div_ceil(row_parts).min(panels);
    }
    let rows = p.m.div_ceil(row_parts).next_multiple_of(ROWS);
    let mut parts = Vec::with_capacity(groups * row_parts);
    for g in 0..groups {
        let column = g * panels / groups * PANEL;
        let end = ((g + 1) * panels / groups * PANEL).min(p.n);
        for row in (0..p.m).step_by(rows) {
            parts.push(Part { row, rows: rows.min(p.m - row), column, columns: end - column });
        }
    }
    parts
}

/// Computes one part, group by group, block by block of the sum.
///
/// # Safety
/// AVX-512F; the factors and `c [m, n]` have the sizes of `p`; nobody else touches this part of `c`.
#[target_feature(enable = "avx512f")]
unsafe fn block(p: &Product, part: Part, c: *mut f32, finish: &impl Fn(usize, usize, &mut [f32])) {
    let blocks = p.k.div_ceil(DEPTH);
    let depth = p.k.div_ceil(blocks).next_multiple_of(16);
    let in_place = p.a.col_stride == 1;
    let left = if in_place { 0 } else { STRIPS.min(part.rows.next_multiple_of(ROWS)) * depth };
    let columns_at_once = part.columns.min(GROUP * PANEL);
    let right = match p.b {
        Right::View(_) => depth * columns_at_once.next_multiple_of(16),
        Right::Panels(..) => 0,
    };
    // SAFETY: as the caller's; the memory has the sizes that the block needs.
    pack::with_scratch(left, right, |left, right| unsafe {
        block_in(p, part, c, finish, depth, left, right)
    });
}

/// As [`block`], with blocks of `depth` terms and memory to pack the factors into.
///
/// # Safety
/// As [`block`]; a left factor stored by columns needs room for `STRIPS` (or all) rows of `depth`
/// numbers, a right factor that is not packed for `depth` rows of a group of panels.
#[target_feature(enable = "avx512f")]
unsafe fn block_in(
    p: &Product,
    part: Part,
    c: *mut f32,
    finish: &impl Fn(usize, usize, &mut [f32]),
    depth: usize,
    left: *mut f32,
    right: *mut f32,
) {
    let in_place = p.a.col_stride == 1;
    let end = part.column + part.columns;
    for column in (part.column..end).step_by(GROUP * PANEL) {
        let columns = (end - column).min(GROUP * PANEL);
        for first in (0..p.k).step_by(depth) {
            let k = depth.min(p.k - first);
            let last = first + k == p.k;
            // SAFETY: block and group lie inside the factors, and the scratch memory was sized for them.
            let (panels, panel_rows) = unsafe {
                match p.b {
                    Right::View(b) => {
                        pack::pack(b, first, k, column, columns, right);
                        (right.cast_const(), k)
                    }
                    Right::Panels(lanes, rows, _) => (lanes.as_ptr().cast::<f32>().add(column * rows), rows),
                }
            };
            let skip = match p.b {
                Right::View(_) => 0,
                Right::Panels(_, _, row) => row + first,
            };
            for base in (0..part.rows).step_by(STRIPS) {
                let rows = (part.rows - base).min(STRIPS);
                if !in_place {
                    // SAFETY: rows <= STRIPS and k <= depth fit the scratch memory.
                    unsafe { pack::strips(p.a, part.row + base, rows, first, k, left) };
                }
                let tiles = rows.div_ceil(ROWS) * columns.div_ceil(PANEL);
                let mut tile_number = 0;
                for strip in (0..rows).step_by(ROWS) {
                    let row = part.row + base + strip;
                    let count = (rows - strip).min(ROWS);
                    // SAFETY: the strip is inside `a` or inside the scratch memory.
                    let (a, stride, step) = unsafe {
                        if in_place {
                            (p.a.data.as_ptr().add(row * p.a.row_stride + first), p.a.row_stride, 1)
                        } else {
                            (left.cast_const().add(strip * k), 1, ROWS)
                        }
                    };
                    for at in (0..columns).step_by(PANEL) {
                        let lanes = panel_lanes(columns - at);
                        if !in_place {
                            fetch_columns(p.a, part.row + base + STRIPS, first, k, tile_number, tiles);
                        }
                        tile_number += 1;
                        // SAFETY: panel `at` starts at at * panel_rows, its row `first` lies 16 lanes
                        // * first further; the tile is inside this part of `c`.
                        unsafe {
                            let tile = Tile {
                                k,
                                a,
                                stride,
                                step,
                                b: panels.add(at * panel_rows + 16 * lanes * skip),
                                c: c.add(row * p.n + column + at),
                                c_stride: p.n,
                                last: mask(columns - at - 16 * (lanes - 1)),
                                add: p.accumulate || first > 0,
                            };
                            tile.compute(count, lanes);
                        }
                    }
                    if last {
                        for r in row..row + count {
                            // SAFETY: this piece of row r belongs to this part alone.
                            let segment =
                                unsafe { std::slice::from_raw_parts_mut(c.add(r * p.n + column), columns) };
                            finish(r, column, segment);
                        }
                    }
                }
            }
        }
    }
}

/// Fetches share `i` of `n` of the next strips of a left factor stored by columns: `STRIPS` rows from
/// `row`, `k` columns from `column`.
#[inline(always)]
fn fetch_columns(a: View<f32>, row: usize, column: usize, k: usize, i: usize, n: usize) {
    for j in i * k / n..(i + 1) * k / n {
        let start = a.data.as_ptr().wrapping_add(row * a.row_stride + (column + j) * a.col_stride);
        for r in (0..STRIPS).step_by(16) {
            // SAFETY: a prefetch touches no memory that the program sees, wherever it points.
            unsafe { _mm_prefetch::<_MM_HINT_T1>(start.wrapping_add(r * a.row_stride).cast()) };
        }
    }
}

/// One call of the micro-kernel.
struct Tile {
    k: usize,
    a: *const f32,
    stride: usize,
    step: usize,
    b: *const f32,
    c: *mut f32,
    c_stride: usize,
    last: __mmask16,
    add: bool,
}

impl Tile {
    /// Computes `rows` rows (1 to 8) of `lanes` lanes (1 to 3).
    ///
    /// # Safety
    /// AVX-512F; the pointers hold `rows` rows of `a` and `c` and `k` rows of `lanes` lanes of `b`.
    #[inline]
    #[target_feature(enable = "avx512f")]
    unsafe fn compute(&self, rows: usize, lanes: usize) {
        // SAFETY: as the caller's.
        unsafe {
            match lanes {
                PANEL_LANES => self.rows::<PANEL_LANES>(rows),
                2 => self.rows::<2>(rows),
                _ => self.rows::<1>(rows),
            }
        }
    }

    /// # Safety
    /// As [`Tile::compute`], with `V` lanes.
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

    /// `c [M, 16 V] (+)= a [M, k] b [k, 16 V]`
    ///
    /// # Safety
    /// As [`Tile::compute`], with `M` rows of `V` lanes.
    #[target_feature(enable = "avx512f")]
    unsafe fn kernel<const M: usize, const V: usize>(&self) {
        // SAFETY: `a` has M rows of k numbers at these strides, `b` k rows of V lanes, `c` M rows of
        // V lanes, the last one masked.
        unsafe {
            // The result is fetched while the sums are made.
            for r in 0..M {
                for v in 0..V {
                    _mm_prefetch::<_MM_HINT_ET0>(self.c.add(r * self.c_stride + 16 * v).cast());
                }
            }
            let mut sums = [[_mm512_setzero_ps(); V]; M];
            let (mut a, mut b) = (self.a, self.b);
            for _ in 0..self.k {
                let mut right = [_mm512_setzero_ps(); V];
                for v in 0..V {
                    right[v] = _mm512_loadu_ps(b.add(16 * v));
                    _mm_prefetch::<_MM_HINT_T0>(b.wrapping_add(AHEAD + 16 * v).cast());
                }
                for r in 0..M {
                    let left = _mm512_set1_ps(*a.add(r * self.stride));
                    for v in 0..V {
                        sums[r][v] = _mm512_fmadd_ps(left, right[v], sums[r][v]);
                    }
                }
                a = a.add(self.step);
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
