//! The gradient of attention, with the probabilities computed again.
//!
//! Definition:  dp_ij = f_ij d_out_i . v_j;  ds_ij = scale p_ij (dp_ij - d_out_i . out_i);
//!              dq_i = sum_j ds_ij k_j;  dk_j = sum_i ds_ij q_i;  dv_j = sum_i p_ij f_ij d_out_i
//! Numerics:    sums over queries run block by block in one thread, so they do not depend on threads

use super::{Attention, BLOCK, Head, Rows, Shared, room, row};
use crate::cpu::simd;
use crate::gemm::{Factor, View};
use crate::{Real, parallel, real};

/// Where the gradients of queries, keys and values go.
pub enum Gradients<'a, T> {
    /// Three slices `[T, H K]`.
    Apart([&'a mut [T]; 3]),
    /// Side by side in one, `[T, 3 H K]`.
    Joint(&'a mut [T]),
}

/// Sets the gradients; `out` and `lse` are results of [`super::forward`] with these inputs.
pub fn backward<T: Real>(
    attention: &Attention,
    inputs: [Rows<T>; 3],
    out: &[T],
    lse: &[T],
    d_out: &[T],
    gradients: Gradients<T>,
) {
    attention.check(&inputs, &[out, d_out], Some(lse));
    let (width, tokens) = (attention.width(), attention.tokens());
    let gradients = match gradients {
        Gradients::Apart(slices) => {
            slices.iter().for_each(|d| assert_eq!(d.len(), tokens * width, "attention: gradients"));
            slices.map(|d| Shared::new(d, width))
        }
        Gradients::Joint(d) => {
            assert_eq!(d.len(), 3 * tokens * width, "attention: gradients");
            Shared::joint(d, width)
        }
    };
    let heads: Vec<Head> = attention.all().collect();
    let len = tokens / heads.len().max(1) * attention.heads;
    let scratch = || [const { Vec::new() }; 6];
    parallel::each_with(heads.len(), len * len * attention.key_size, scratch, |scratch, i| {
        backward_head(heads[i], inputs, [out, d_out], lse, &gradients, scratch);
    });
}

fn backward_head<T: Real>(
    head: Head,
    [q, k, v]: [Rows<T>; 3],
    [out, d_out]: [&[T]; 2],
    lse: &[T],
    gradients: &[Shared<T>; 3],
    scratch: &mut [Vec<T>; 6],
) {
    let size = head.attention.key_size;
    let d_outs = Rows { data: d_out, stride: head.attention.width() };
    let scale = T::from_f64(head.attention.scale);
    let keys = Factor::new(head.columns(k, 0), size, head.len); // [K, L]
    let values = Factor::new(head.columns(v, 0), size, head.len); // [K, L]
    let key_rows = Factor::new(head.rows(k, 0), head.len, size); // [L, K]
    let block = BLOCK.min(head.len);
    let [dk, dv, dq, p, ds, factors] = scratch;
    let (dk, dv) = (room(dk, head.len * size), room(dv, head.len * size)); // [L, K]
    dk.fill(T::ZERO);
    dv.fill(T::ZERO);
    let dq = room(dq, block * size); // [rows, K]
    let (p, ds) = (room(p, block * head.len), room(ds, block * head.len)); // [rows, seen]
    for first in (0..head.len).step_by(BLOCK) {
        let rows = BLOCK.min(head.len - first);
        let seen = head.seen(first + rows - 1);
        let (p, ds) = (&mut p[..rows * seen], &mut ds[..rows * seen]);
        keys.multiply(rows, seen, size, head.rows(q, first), p, false);
        values.multiply(rows, seen, size, head.rows(d_outs, first), ds, false);
        for (i, (p, ds)) in p.chunks_exact_mut(seen).zip(ds.chunks_exact_mut(seen)).enumerate() {
            let i = first + i;
            let lse = lse[(head.start + i) * head.attention.heads + head.head];
            let (p, p_hidden) = p.split_at_mut(head.visible(i));
            let (ds, ds_hidden) = ds.split_at_mut(p.len());
            p_hidden.fill(T::ZERO);
            ds_hidden.fill(T::ZERO);
            head.drop(i, ds, factors);
            let at = head.at(d_outs.stride, i);
            let (out, d_out) = (&out[at..][..size], &d_out[at..][..size]);
            let mean = simd(
                #[inline(always)]
                || real::dot(out, d_out),
            );
            row::slopes(p, ds, scale, lse, mean);
            // The factors of this row are still there.
            for (p, &factor) in p.iter_mut().zip(&*factors) {
                *p *= factor;
            }
        }
        let dq = &mut dq[..rows * size];
        key_rows.multiply(rows, size, seen, View::row_major(ds, seen), dq, false);
        write(head, first, dq, &gradients[0]);
        let queries = Factor::new(head.rows(q, first), rows, size);
        queries.multiply(seen, size, rows, View::transposed(ds, seen), &mut dk[..seen * size], true);
        let d_out_rows = Factor::new(head.rows(d_outs, first), rows, size);
        d_out_rows.multiply(seen, size, rows, View::transposed(p, seen), &mut dv[..seen * size], true);
    }
    write(head, 0, dk, &gradients[1]);
    write(head, 0, dv, &gradients[2]);
}

/// Copies rows `[.., K]` to where they belong, from row `first` of the head.
fn write<T: Real>(head: Head, first: usize, rows: &[T], to: &Shared<T>) {
    let size = head.attention.key_size;
    for (i, row) in rows.chunks_exact(size.max(1)).enumerate() {
        // SAFETY: one thread has this head of this sequence.
        unsafe { to.row(head.at(to.stride, first + i), size) }.copy_from_slice(row);
    }
}
