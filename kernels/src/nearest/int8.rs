//! Inner products of signed 8-bit numbers, exact.
//!
//! Layout:      a block holds 16 vectors: group `g` has numbers `4 g .. 4 g + 4` of vector 0, then of
//!              vector 1, and so on; missing numbers and vectors are 0

/// Vectors of a block.
pub const BLOCK: usize = 16;
/// The longest vector whose sums stay inside 32 bits.
pub const MOST: usize = 1 << 16;

/// Bytes of one vector: its numbers, filled up to whole groups.
pub fn padded(width: usize) -> usize {
    width.next_multiple_of(4)
}

/// Arranges `rows [N, D]` in blocks.
pub fn pack(rows: &[i8], width: usize) -> Vec<i8> {
    if width == 0 {
        return Vec::new();
    }
    assert!(rows.len().is_multiple_of(width), "nearest: no whole rows");
    let count = rows.len() / width;
    let mut out = vec![0; count.next_multiple_of(BLOCK) * padded(width)];
    for (n, row) in rows.chunks_exact(width).enumerate() {
        for (i, &x) in row.iter().enumerate() {
            out[place(n, i, width)] = x;
        }
    }
    out
}

/// Where number `i` of vector `n` lies.
pub fn place(n: usize, i: usize, width: usize) -> usize {
    n / BLOCK * BLOCK * padded(width) + (i / 4 * BLOCK + n % BLOCK) * 4 + i % 4
}

/// `out [Q, N]` of `queries [Q, padded D]` and blocks of N vectors (N a multiple of 16).
pub fn products(queries: &[i8], blocks: &[i8], width: usize, out: &mut [i32]) {
    let bytes = padded(width);
    assert!(width <= MOST, "nearest: sums would leave 32 bits");
    if bytes == 0 || blocks.is_empty() || queries.is_empty() {
        return out.fill(0);
    }
    assert!(queries.len().is_multiple_of(bytes), "nearest: no whole queries");
    assert!(blocks.len().is_multiple_of(BLOCK * bytes), "nearest: no whole blocks");
    let count = blocks.len() / bytes;
    assert_eq!(out.len(), queries.len() / bytes * count, "nearest: scores have a wrong length");
    #[cfg(target_arch = "x86_64")]
    if crate::cpu::has_int8_products() {
        // SAFETY: the instructions are there, and the sizes were asserted.
        return unsafe { vnni::products(queries, blocks, bytes, count, out) };
    }
    plain(queries, blocks, bytes, count, out);
}

fn plain(queries: &[i8], blocks: &[i8], bytes: usize, count: usize, out: &mut [i32]) {
    crate::cpu::simd(
        #[inline(always)]
        || {
            for (b, block) in blocks.chunks_exact(BLOCK * bytes).enumerate() {
                for (q, query) in queries.chunks_exact(bytes).enumerate() {
                    let mut sums = [0i32; BLOCK];
                    for (x, v) in query.chunks_exact(4).zip(block.chunks_exact(4 * BLOCK)) {
                        for n in 0..BLOCK {
                            for i in 0..4 {
                                sums[n] += i32::from(x[i]) * i32::from(v[4 * n + i]);
                            }
                        }
                    }
                    out[q * count + b * BLOCK..][..BLOCK].copy_from_slice(&sums);
                }
            }
        },
    );
}

#[cfg(target_arch = "x86_64")]
mod vnni {
    use super::BLOCK;
    use std::arch::x86_64::*;

    /// Queries that share the reading of a block.
    const QUERIES: usize = 8;

    /// The instruction multiplies unsigned by signed numbers: 128 is added to the query's, and 128 times
    /// the sum of the vector's numbers taken away.
    ///
    /// # Safety
    /// AVX-512 F, BW and VNNI; `queries` has whole queries of `bytes`, `blocks` has `count` vectors in whole
    /// blocks, and `out` is `[Q, count]`.
    #[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
    pub(super) unsafe fn products(
        queries: &[i8],
        blocks: &[i8],
        bytes: usize,
        count: usize,
        out: &mut [i32],
    ) {
        let shifted: Vec<u8> = queries.iter().map(|&x| (x as u8) ^ 0x80).collect();
        let total = shifted.len() / bytes;
        for (b, block) in blocks.chunks_exact(BLOCK * bytes).enumerate() {
            // SAFETY: as the caller's: `bytes / 4` groups of 64 bytes.
            let offset = unsafe { sums(block.as_ptr(), bytes / 4) };
            let mut first = 0;
            while first < total {
                let left = total - first;
                let at = shifted[first * bytes..].as_ptr();
                let to = out[first * count + b * BLOCK..].as_mut_ptr();
                // SAFETY: as the caller's: `left` queries begin at `at`, their scores at `to`.
                unsafe {
                    first += match left {
                        1 => tile::<1>(at, block.as_ptr(), bytes, offset, to, count),
                        2..=3 => tile::<2>(at, block.as_ptr(), bytes, offset, to, count),
                        4..QUERIES => tile::<4>(at, block.as_ptr(), bytes, offset, to, count),
                        _ => tile::<QUERIES>(at, block.as_ptr(), bytes, offset, to, count),
                    };
                }
            }
        }
    }

    /// 128 times the sums of the 16 vectors of a block.
    ///
    /// # Safety
    /// The instructions; `groups` times 64 bytes at `block`.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
    unsafe fn sums(block: *const i8, groups: usize) -> __m512i {
        let mut sum = _mm512_setzero_si512();
        for g in 0..groups {
            // SAFETY: inside the block.
            let v = unsafe { _mm512_loadu_si512(block.add(64 * g).cast()) };
            sum = _mm512_dpbusd_epi32(sum, _mm512_set1_epi8(1), v);
        }
        _mm512_slli_epi32::<7>(sum)
    }

    /// # Safety
    /// The instructions; M queries of `bytes` at `queries`, one block, and 16 scores at each of M rows.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
    unsafe fn tile<const M: usize>(
        queries: *const u8,
        block: *const i8,
        bytes: usize,
        offset: __m512i,
        out: *mut i32,
        stride: usize,
    ) -> usize {
        let mut sums = [_mm512_setzero_si512(); M];
        for g in 0..bytes / 4 {
            // SAFETY: group g is inside the block and inside each query.
            unsafe {
                let v = _mm512_loadu_si512(block.add(64 * g).cast());
                for m in 0..M {
                    let x = queries.add(m * bytes + 4 * g).cast::<i32>().read_unaligned();
                    sums[m] = _mm512_dpbusd_epi32(sums[m], _mm512_set1_epi32(x), v);
                }
            }
        }
        for m in 0..M {
            // SAFETY: row m of the scores has room for the block.
            unsafe { _mm512_storeu_si512(out.add(m * stride).cast(), _mm512_sub_epi32(sums[m], offset)) };
        }
        M
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_are_exact_on_every_path() {
        for (count, queries, width) in [(1, 1, 1), (16, 2, 4), (40, 13, 7), (17, 8, 64), (33, 3, 385)] {
            let number = |i: usize| ((i * 91 + 7) % 255) as i32 as u8 as i8;
            let x: Vec<i8> = (0..count * width).map(number).collect();
            let q: Vec<i8> = (0..queries * width).map(|i| number(i + 1000)).collect();
            let blocks = pack(&x, width);
            let mut padded_queries = vec![0; queries * padded(width)];
            for (to, from) in padded_queries.chunks_exact_mut(padded(width)).zip(q.chunks_exact(width)) {
                to[..width].copy_from_slice(from);
            }
            let all = count.next_multiple_of(BLOCK);
            let mut out = vec![1; queries * all];
            products(&padded_queries, &blocks, width, &mut out);
            let mut portable = vec![1; queries * all];
            plain(&padded_queries, &blocks, padded(width), all, &mut portable);
            assert_eq!(out, portable);
            for i in 0..queries {
                for n in 0..all {
                    let of = |j: usize| if n < count { i32::from(x[n * width + j]) } else { 0 };
                    let want: i32 = (0..width).map(|j| of(j) * i32::from(q[i * width + j])).sum();
                    assert_eq!(out[i * all + n], want, "{count} {queries} {width}");
                }
            }
        }
    }

    #[test]
    fn the_longest_vectors_of_the_largest_numbers_fit() {
        let x = vec![-128i8; MOST];
        let mut out = vec![0; BLOCK];
        products(&x, &pack(&x, MOST), MOST, &mut out);
        assert_eq!((out[0], out[1]), (128 * 128 * MOST as i32, 0));
    }

    #[test]
    #[should_panic(expected = "whole blocks")]
    fn a_cut_block_is_refused() {
        products(&[1; 4], &[1; 63], 4, &mut [0; 16]);
    }
}
