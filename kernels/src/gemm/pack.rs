//! Panels: the right factor of a product in the order in which the micro-kernel reads it.
//!
//! Definition:  panel `p` holds columns `48 p .. 48 p + w`, `w` = 48 (the last: 16, 32 or 48), as
//!              `[k, w]` row-major; missing columns are 0
//! Shapes:      b [k, n] -> panels of k * columns(n) numbers
//! Numerics:    a copy

use super::View;
use rayon::prelude::*;
use std::arch::x86_64::*;
use std::cell::{Cell, RefCell};

/// 16 floats that fill one register and one cache line.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(super) struct Lane([f32; 16]);

/// Registers across a panel.
pub(super) const PANEL_LANES: usize = 3;
/// Columns of a panel.
pub(super) const PANEL: usize = 16 * PANEL_LANES;

/// Columns of a left factor that are fetched before they are packed.
const AHEAD: usize = 8;

/// Memory for `len` floats, unset.
fn scratch(len: usize) -> Vec<Lane> {
    Vec::with_capacity(len.div_ceil(16))
}

thread_local! {
    /// Where this thread packs its factors; taken out while a product runs.
    static SCRATCH: Cell<[Vec<Lane>; 2]> = const { Cell::new([Vec::new(), Vec::new()]) };
    /// Where factors are packed that several threads read: those not lent now.
    static PANELS: RefCell<Vec<Vec<Lane>>> = const { RefCell::new(Vec::new()) };
    /// Panels of small factors that nobody uses now.
    static FREE: RefCell<Vec<Vec<Lane>>> = const { RefCell::new(Vec::new()) };
}

/// Lends all panels of `b [k, n]`, packed by all threads.
pub(super) fn with_panels<R>(b: View<f32>, k: usize, n: usize, work: impl FnOnce(&[Lane]) -> R) -> R {
    let lanes = k * n.div_ceil(16);
    let mut memory = PANELS.with_borrow_mut(Vec::pop).unwrap_or_default();
    memory.clear();
    memory.reserve(lanes);
    memory.spare_capacity_mut()[..lanes].par_chunks_mut(k * PANEL_LANES).enumerate().for_each(
        |(panel, out)| {
            let first = panel * PANEL;
            // SAFETY: the caller is on the AVX-512 path; the chunk is the room of this panel.
            unsafe { pack(b, 0, k, first, (n - first).min(PANEL), out.as_mut_ptr().cast()) };
        },
    );
    // SAFETY: every panel has written its lanes.
    unsafe { memory.set_len(lanes) };
    let result = work(&memory);
    PANELS.with_borrow_mut(|free| free.push(memory));
    result
}

/// Lends memory for `left` and `right` floats, unset.
pub(super) fn with_scratch<R>(left: usize, right: usize, work: impl FnOnce(*mut f32, *mut f32) -> R) -> R {
    let mut memory = SCRATCH.take();
    for (memory, len) in memory.iter_mut().zip([left, right]) {
        if memory.capacity() < len.div_ceil(16) {
            *memory = scratch(len);
        }
    }
    let [left, right] = memory.each_mut().map(|memory| memory.as_mut_ptr().cast());
    let result = work(left, right);
    SCRATCH.set(memory);
    result
}

/// Width in lanes of the panel that starts `columns` before the end.
pub(super) fn panel_lanes(columns: usize) -> usize {
    columns.div_ceil(16).min(PANEL_LANES)
}

/// The first `lanes` bits of a mask set.
#[inline(always)]
pub(super) fn mask(lanes: usize) -> __mmask16 {
    if lanes >= 16 { 0xffff } else { (1u16 << lanes) - 1 }
}

/// Memory of an earlier factor of this thread, or none.
pub(super) fn recycled() -> Vec<Lane> {
    FREE.with_borrow_mut(Vec::pop).unwrap_or_default()
}

/// Gives the memory of a factor to the next one on this thread.
pub(super) fn recycle(panels: Vec<Lane>) {
    const MOST: usize = 8;
    FREE.with_borrow_mut(|free| {
        if free.len() < MOST {
            free.push(panels);
        }
    });
}

/// All panels of `b [k, n]`.
pub(super) fn panels(b: View<f32>, k: usize, n: usize) -> Vec<Lane> {
    panels_in(Vec::new(), b, k, n)
}

/// As [`panels`], in memory that was used before.
pub(super) fn panels_in(mut out: Vec<Lane>, b: View<f32>, k: usize, n: usize) -> Vec<Lane> {
    let lanes = k * n.div_ceil(16);
    out.clear();
    out.reserve(lanes);
    // SAFETY: the caller is on the AVX-512 path; `out` has room for the k * ceil(n / 16) lanes of
    // all panels, and all of them are written.
    unsafe {
        pack(b, 0, k, 0, n, out.as_mut_ptr().cast());
        out.set_len(lanes);
    }
    out
}

/// Writes the panels of the block of `k` rows from `row` and `n` columns from `column` of `b`.
///
/// # Safety
/// AVX-512F; the block lies inside `b`; `out` has room for `k * ceil(n / 16)` lanes.
#[target_feature(enable = "avx512f")]
pub(super) unsafe fn pack(b: View<f32>, row: usize, k: usize, column: usize, n: usize, out: *mut f32) {
    // SAFETY: all reads are inside the block, all writes inside the lanes of the panel.
    unsafe {
        for first in (0..n).step_by(PANEL) {
            let lanes = panel_lanes(n - first);
            let panel = out.add(first * k);
            for lane in 0..lanes {
                let at = first + 16 * lane;
                let width = (n - at).min(16);
                let src = b.data.as_ptr().add(row * b.row_stride + (column + at) * b.col_stride);
                let dst = panel.add(16 * lane);
                if b.col_stride == 1 {
                    copy(src, b.row_stride, k, width, dst, 16 * lanes);
                } else if b.row_stride == 1 {
                    transpose(src, b.col_stride, k, width, dst, 16 * lanes);
                } else {
                    gather(src, b, k, width, dst, 16 * lanes);
                }
            }
        }
    }
}

/// `dst [k, 16] <- src [k, width]`
///
/// # Safety
/// AVX-512F; `src` has `k` rows of `width` (at most 16) numbers, `dst` room for `k` rows of 16.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn copy(src: *const f32, stride: usize, k: usize, width: usize, dst: *mut f32, dst_stride: usize) {
    let mask = mask(width);
    for i in 0..k {
        // SAFETY: the mask keeps the read inside the row; `dst` has 16 floats per row.
        unsafe {
            let x = _mm512_maskz_loadu_ps(mask, src.add(i * stride));
            _mm512_storeu_ps(dst.add(i * dst_stride), x);
        }
    }
}

/// `dst [k, 16] <- src [width, k]` transposed, in squares of 16.
///
/// # Safety
/// AVX-512F; `src` has `width` (at most 16) rows of `k` numbers, `dst` room for `k` rows of 16.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn transpose(
    src: *const f32,
    stride: usize,
    k: usize,
    width: usize,
    dst: *mut f32,
    dst_stride: usize,
) {
    for i in (0..k).step_by(16) {
        let rows = (k - i).min(16);
        let mask = mask(rows);
        let mut square = [_mm512_setzero_ps(); 16];
        for j in 0..width {
            // SAFETY: row j has k numbers, and the mask stops at k.
            square[j] = unsafe { _mm512_maskz_loadu_ps(mask, src.add(j * stride + i)) };
        }
        let square = transposed(square);
        for r in 0..rows {
            // SAFETY: i + r < k, and `dst` has 16 floats per row.
            unsafe { _mm512_storeu_ps(dst.add((i + r) * dst_stride), square[r]) };
        }
    }
}

/// As [`copy`] for any strides of `b`.
///
/// # Safety
/// `src` is the first of `k` rows of `width` elements inside `b`; `dst` has room for `k` rows of 16.
unsafe fn gather(src: *const f32, b: View<f32>, k: usize, width: usize, dst: *mut f32, dst_stride: usize) {
    for i in 0..k {
        for j in 0..16 {
            // SAFETY: (i, j) is inside the block when j < width; `dst` has 16 floats per row.
            unsafe {
                let x = if j < width { *src.add(i * b.row_stride + j * b.col_stride) } else { 0.0 };
                *dst.add(i * dst_stride + j) = x;
            }
        }
    }
}

/// The transpose of a 16 x 16 square: pairs, then fours, inside each 128-bit lane, then the lanes.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn transposed(rows: [__m512; 16]) -> [__m512; 16] {
    let mut two = [_mm512_setzero_ps(); 16];
    for i in 0..8 {
        two[2 * i] = _mm512_unpacklo_ps(rows[2 * i], rows[2 * i + 1]);
        two[2 * i + 1] = _mm512_unpackhi_ps(rows[2 * i], rows[2 * i + 1]);
    }
    // four[4 i + q], 128-bit lane l: column 4 l + q of rows 4 i .. 4 i + 4.
    let mut four = [_mm512_setzero_ps(); 16];
    for i in 0..4 {
        for half in 0..2 {
            let x = _mm512_castps_pd(two[4 * i + half]);
            let y = _mm512_castps_pd(two[4 * i + 2 + half]);
            four[4 * i + 2 * half] = _mm512_castpd_ps(_mm512_unpacklo_pd(x, y));
            four[4 * i + 2 * half + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(x, y));
        }
    }
    let mut out = [_mm512_setzero_ps(); 16];
    for q in 0..4 {
        let even_a = _mm512_shuffle_f32x4::<0x88>(four[q], four[4 + q]);
        let odd_a = _mm512_shuffle_f32x4::<0xdd>(four[q], four[4 + q]);
        let even_b = _mm512_shuffle_f32x4::<0x88>(four[8 + q], four[12 + q]);
        let odd_b = _mm512_shuffle_f32x4::<0xdd>(four[8 + q], four[12 + q]);
        out[q] = _mm512_shuffle_f32x4::<0x88>(even_a, even_b);
        out[4 + q] = _mm512_shuffle_f32x4::<0x88>(odd_a, odd_b);
        out[8 + q] = _mm512_shuffle_f32x4::<0xdd>(even_a, even_b);
        out[12 + q] = _mm512_shuffle_f32x4::<0xdd>(odd_a, odd_b);
    }
    out
}

/// Writes `rows` rows from `row` and `k` columns from `column` of `a` as strips of 8: strip `s` is
/// `[k, 8]` at `8 s k`.
///
/// # Safety
/// AVX-512F; the block lies inside `a`; `out` has room for `8 k ceil(rows / 8)` floats.
#[target_feature(enable = "avx512f")]
pub(super) unsafe fn strips(a: View<f32>, row: usize, rows: usize, column: usize, k: usize, out: *mut f32) {
    // SAFETY: reads are inside the block; strip s writes 8 k floats.
    unsafe {
        let src = a.data.as_ptr().add(row * a.row_stride + column * a.col_stride);
        if a.row_stride != 1 {
            for i in 0..rows {
                let dst = out.add(i / 8 * 8 * k + i % 8);
                for j in 0..k {
                    *dst.add(8 * j) = *src.add(i * a.row_stride + j * a.col_stride);
                }
            }
            return;
        }
        for j in (0..k).step_by(2) {
            let column = src.add(j * a.col_stride);
            let pair = j + 1 < k;
            let next = if pair { column.add(a.col_stride) } else { column };
            // Columns lie pages apart, where no hardware looks ahead.
            let ahead = column.wrapping_add(AHEAD * a.col_stride);
            for i in (0..rows).step_by(16) {
                _mm_prefetch::<_MM_HINT_T0>(ahead.wrapping_add(i).cast());
                _mm_prefetch::<_MM_HINT_T0>(ahead.wrapping_add(a.col_stride + i).cast());
            }
            for i in (0..rows).step_by(8) {
                let dst = out.add(i * k + 8 * j);
                if rows - i >= 8 {
                    let low = _mm512_castps256_ps512(_mm256_loadu_ps(column.add(i)));
                    let both = _mm512_insertf64x4::<1>(
                        _mm512_castps_pd(low),
                        _mm256_castps_pd(_mm256_loadu_ps(next.add(i))),
                    );
                    _mm512_mask_storeu_pd(dst.cast(), if pair { 0xff } else { 0x0f }, both);
                } else {
                    for r in 0..rows - i {
                        *dst.add(r) = *column.add(i + r);
                        if pair {
                            *dst.add(8 + r) = *next.add(i + r);
                        }
                    }
                }
            }
        }
    }
}
