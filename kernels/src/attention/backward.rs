//! The gradient of attention, with the probabilities computed again.
//!
//! Definition:  dp_ij = f_ij d_out_i . v_j;  ds_ij = scale p_ij (dp_ij - d_out_i . out_i);
//!              dq_i = sum_j ds_ij k_j;  dk_j = sum_i ds_ij q_i;  dv_j = sum_i p_ij f_ij d_out_i
//! Numerics:    sums over queries run block by block in one thread, so they do not depend on threads

use super::{Attention, BLOCK, Head, Shared};
use crate::cpu::simd;
use crate::gemm::{View, matmul};
use crate::{Real, parallel, real};

/// Sets `dq`, `dk`, `dv` `[T, H K]`; `out` and `lse` are results of [`super::forward`].
pub fn backward<T: Real>(
    attention: &Attention,
    q: &[T],
    k: &[T],
    v: &[T],
    out: &[T],
    lse: &[T],
    d_out: &[T],
    dq: &mut [T],
    dk: &mut [T],
    dv: &mut [T],
) {
    attention.check(&[q, k, v, out, d_out, dq, dk, dv], lse);
    let heads: Vec<Head> = attention.all().collect();
    let len = attention.tokens() / heads.len().max(1) * attention.heads;
    let gradients = [Shared::new(dq), Shared::new(dk), Shared::new(dv)];
    parallel::map(heads.len(), len * len * attention.key_size, |i| {
        backward_head(heads[i], [q, k, v, out, d_out], lse, &gradients);
    });
}

fn backward_head<T: Real>(head: Head, inputs: [&[T]; 5], lse: &[T], gradients: &[Shared<T>; 3]) {
    let [q, k, v, out, d_out] = inputs;
    let size = head.attention.key_size;
    let scale = T::from_f64(head.attention.scale);
    let mut dk = vec![T::ZERO; head.len * size]; // [L, K]
    let mut dv = dk.clone(); // [L, K]
    let mut dq = vec![T::ZERO; BLOCK.min(head.len) * size]; // [rows, K]
    let (mut p, mut ds) = (Vec::new(), Vec::new()); // [rows, keys]
    let mut factors = Vec::new();
    for first in (0..head.len).step_by(BLOCK) {
        let rows = BLOCK.min(head.len - first);
        let keys = head.visible(first + rows - 1);
        p.resize(rows * keys, T::ZERO);
        ds.resize(rows * keys, T::ZERO);
        matmul(rows, keys, size, head.rows(q, first), head.columns(k, 0), &mut p, false);
        matmul(rows, keys, size, head.rows(d_out, first), head.columns(v, 0), &mut ds, false);
        for (i, (p, ds)) in p.chunks_exact_mut(keys).zip(ds.chunks_exact_mut(keys)).enumerate() {
            let i = first + i;
            let lse = lse[(head.start + i) * head.attention.heads + head.head];
            let (p, p_hidden) = p.split_at_mut(head.visible(i));
            let (ds, ds_hidden) = ds.split_at_mut(p.len());
            p_hidden.fill(T::ZERO);
            ds_hidden.fill(T::ZERO);
            head.drop(i, ds, &mut factors);
            let (out, d_out) = (&out[head.at(i)..][..size], &d_out[head.at(i)..][..size]);
            simd(
                #[inline(always)]
                || {
                    let mean = real::dot(out, d_out);
                    for (p, ds) in p.iter_mut().zip(&mut *ds) {
                        *p = (scale * *p - lse).exp();
                        *ds = scale * *p * (*ds - mean);
                    }
                },
            );
            // The factors of this row are still there.
            for (p, &factor) in p.iter_mut().zip(&factors) {
                *p *= factor;
            }
        }
        let dq = &mut dq[..rows * size];
        matmul(rows, size, keys, View::row_major(&ds, keys), head.rows(k, 0), dq, false);
        let queries = head.rows(q, first);
        matmul(keys, size, rows, View::transposed(&ds, keys), queries, &mut dk[..keys * size], true);
        let d_outs = head.rows(d_out, first);
        matmul(keys, size, rows, View::transposed(&p, keys), d_outs, &mut dv[..keys * size], true);
        write(head, first, dq, &gradients[0]);
    }
    write(head, 0, &dk, &gradients[1]);
    write(head, 0, &dv, &gradients[2]);
}

/// Copies rows `[.., K]` to where they belong, from row `first` of the head.
fn write<T: Real>(head: Head, first: usize, rows: &[T], to: &Shared<T>) {
    let size = head.attention.key_size;
    for (i, row) in rows.chunks_exact(size.max(1)).enumerate() {
        // SAFETY: one thread has this head of this sequence.
        unsafe { to.row(head.at(first + i), size) }.copy_from_slice(row);
    }
}
