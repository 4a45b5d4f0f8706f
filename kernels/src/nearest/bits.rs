//! Hamming distances of codes of bits.
//!
//! Layout:      a block holds 8 codes: word 0 of each, then word 1 of each, and so on; missing codes are 0

/// Codes of a block.
pub const BLOCK: usize = 8;
/// The most words of a code: distances have 16 bits.
pub const MOST: usize = 1023;

/// Arranges `codes [N, words]` in blocks.
pub fn pack(codes: &[u64], words: usize) -> Vec<u64> {
    if words == 0 {
        return Vec::new();
    }
    assert!(codes.len().is_multiple_of(words), "nearest: no whole codes");
    let count = codes.len() / words;
    let mut out = vec![0; count.next_multiple_of(BLOCK) * words];
    for (n, code) in codes.chunks_exact(words).enumerate() {
        for (w, &word) in code.iter().enumerate() {
            out[place(n, w, words)] = word;
        }
    }
    out
}

/// Where word `w` of code `n` lies.
pub fn place(n: usize, w: usize, words: usize) -> usize {
    (n / BLOCK * words + w) * BLOCK + n % BLOCK
}

/// `out [Q, N]`: how many bits of `queries [Q, words]` and of N codes in blocks (N a multiple of 8) differ.
pub fn distances(queries: &[u64], blocks: &[u64], words: usize, out: &mut [u16]) {
    assert!((1..=MOST).contains(&words), "nearest: 1 to {MOST} words");
    assert!(queries.len().is_multiple_of(words), "nearest: no whole queries");
    assert!(blocks.len().is_multiple_of(BLOCK * words), "nearest: no whole blocks");
    let count = blocks.len() / words;
    assert_eq!(out.len(), queries.len() / words * count, "nearest: distances have a wrong length");
    #[cfg(target_arch = "x86_64")]
    if crate::cpu::Path::detect() == crate::cpu::Path::Avx512
        && std::is_x86_feature_detected!("avx512vpopcntdq")
    {
        // SAFETY: the instructions are there, and the sizes were asserted.
        return unsafe { popcnt::distances(queries, blocks, words, count, out) };
    }
    plain(queries, blocks, words, count, out);
}

fn plain(queries: &[u64], blocks: &[u64], words: usize, count: usize, out: &mut [u16]) {
    crate::cpu::simd(
        #[inline(always)]
        || {
            for (b, block) in blocks.chunks_exact(BLOCK * words).enumerate() {
                for (q, query) in queries.chunks_exact(words).enumerate() {
                    let mut sums = [0u64; BLOCK];
                    for (x, codes) in query.iter().zip(block.chunks_exact(BLOCK)) {
                        for n in 0..BLOCK {
                            sums[n] += u64::from((x ^ codes[n]).count_ones());
                        }
                    }
                    let out = &mut out[q * count + b * BLOCK..][..BLOCK];
                    out.iter_mut().zip(sums).for_each(|(out, sum)| *out = sum as u16);
                }
            }
        },
    );
}

#[cfg(target_arch = "x86_64")]
mod popcnt {
    use super::BLOCK;
    use std::arch::x86_64::*;

    /// # Safety
    /// AVX-512 F and VPOPCNTDQ; whole queries and blocks of `words`, `count` codes, `out [Q, count]`.
    #[target_feature(enable = "avx512f,avx512vpopcntdq")]
    pub(super) unsafe fn distances(
        queries: &[u64],
        blocks: &[u64],
        words: usize,
        count: usize,
        out: &mut [u16],
    ) {
        let total = queries.len() / words;
        for (b, block) in blocks.chunks_exact(BLOCK * words).enumerate() {
            let mut first = 0;
            while first < total {
                let at = queries[first * words..].as_ptr();
                let to = out[first * count + b * BLOCK..].as_mut_ptr();
                // SAFETY: as the caller's: the rest of the queries begins at `at`, of their distances at `to`.
                unsafe {
                    first += match total - first {
                        1..4 => tile::<1>(at, block.as_ptr(), words, to, count),
                        _ => tile::<4>(at, block.as_ptr(), words, to, count),
                    };
                }
            }
        }
    }

    /// # Safety
    /// The instructions; M queries at `queries`, one block, and 8 distances at each of M rows.
    #[inline]
    #[target_feature(enable = "avx512f,avx512vpopcntdq")]
    unsafe fn tile<const M: usize>(
        queries: *const u64,
        block: *const u64,
        words: usize,
        out: *mut u16,
        stride: usize,
    ) -> usize {
        let mut sums = [_mm512_setzero_si512(); M];
        for w in 0..words {
            // SAFETY: word w is inside the block and inside each query.
            unsafe {
                let codes = _mm512_loadu_si512(block.add(BLOCK * w).cast());
                for m in 0..M {
                    let x = _mm512_set1_epi64(*queries.add(m * words + w) as i64);
                    sums[m] = _mm512_add_epi64(sums[m], _mm512_popcnt_epi64(_mm512_xor_si512(codes, x)));
                }
            }
        }
        for m in 0..M {
            // SAFETY: row m of the distances has room for the block.
            unsafe { _mm_storeu_si128(out.add(m * stride).cast(), _mm512_cvtepi64_epi16(sums[m])) };
        }
        M
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_are_counted_bits_on_every_path() {
        for (count, queries, words) in [(1, 1, 1), (8, 2, 6), (21, 9, 6), (5, 4, 17)] {
            let word =
                |i: usize| (i as u64 + 3).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(i as u32 % 64);
            let codes: Vec<u64> = (0..count * words).map(word).collect();
            let q: Vec<u64> = (0..queries * words).map(|i| word(i + 999)).collect();
            let all = count.next_multiple_of(BLOCK);
            let (mut out, mut portable) = (vec![7; queries * all], vec![7; queries * all]);
            distances(&q, &pack(&codes, words), words, &mut out);
            plain(&q, &pack(&codes, words), words, all, &mut portable);
            assert_eq!(out, portable);
            for i in 0..queries {
                for n in 0..count {
                    let differ = |w: usize| (q[i * words + w] ^ codes[n * words + w]).count_ones();
                    assert_eq!(u32::from(out[i * all + n]), (0..words).map(differ).sum::<u32>());
                }
            }
        }
    }

    #[test]
    #[should_panic(expected = "whole blocks")]
    fn a_cut_block_is_refused() {
        distances(&[1], &[1; 7], 1, &mut [0; 7]);
    }
}
