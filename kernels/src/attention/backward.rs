//! The gradient of attention, with the probabilities computed again.
//!
//! Definition:  dp_ij = f_ij d_out_i . v_j;  ds_ij = scale p_ij (dp_ij - d_out_i . out_i);
//!              dq_i = sum_j ds_ij k_j;  dk_j = sum_i ds_ij q_i;  dv_j = sum_i p_ij f_ij d_out_i
//!              d_bias[h, d] = sum of ds_ij / scale over all pairs with j - i = d
//! Numerics:    sums over queries run block by block in one thread, those over sequences in order, so
//!              they do not depend on threads

use super::{Attention, BLOCK, DistanceBias, Head, Rows, Shared, room, row};
use crate::cpu::simd;
use crate::gemm::{Factor, View};
use crate::{Real, parallel, real};

/// Where the gradients of queries, keys and values go.
pub enum Gradients<'a, T> {
    /// Three slices, `[T, H K]`, `[T, H K]` and `[T, H V]`.
    Apart([&'a mut [T]; 3]),
    /// Side by side in one, `[T, 2 H K + H V]`.
    Joint(&'a mut [T]),
}

/// Sets the gradients, that of a bias `[H, 2 span - 1]` too; `out` and `lse` are results of [`super::forward`] with these inputs.
pub fn backward<T: Real>(
    attention: &Attention,
    inputs: [Rows<T>; 3],
    out: &[T],
    lse: &[T],
    d_out: &[T],
    bias: Option<(DistanceBias<T>, &mut [T])>,
    gradients: Gradients<T>,
) {
    attention.check(&inputs, &[out, d_out], Some(lse));
    let (bias, d_bias) = bias.map_or((None, None), |(bias, d_bias)| (Some(bias), Some(d_bias)));
    bias.iter().for_each(|bias| bias.check(attention));
    let (widths, counts) = (attention.widths(), attention.counts());
    let gradients = match gradients {
        Gradients::Apart(slices) => {
            let mut sizes = widths.into_iter().zip(counts);
            slices.map(|d| {
                let (width, rows) = sizes.next().unwrap_or((0, 0));
                assert_eq!(d.len(), rows * width, "attention: gradients");
                Shared::new(d, width)
            })
        }
        Gradients::Joint(d) => {
            assert!(attention.keys.is_none(), "attention: joint gradients of different tokens");
            assert_eq!(d.len(), counts[0] * widths.iter().sum::<usize>(), "attention: gradients");
            Shared::joint(d, widths)
        }
    };
    let heads: Vec<Head> = attention.all().collect();
    let [queries, keys, _] = counts.map(|rows| rows / heads.len().max(1) * attention.heads);
    // What every head of every sequence adds to the bias' gradient, distance by distance.
    let places: Vec<usize> = heads
        .iter()
        .scan(0, |at, head| {
            let start = *at;
            *at += if bias.is_some() { 2 * head.keys - 1 } else { 0 };
            Some(start)
        })
        .collect();
    let total = places
        .last()
        .map_or(0, |last| if bias.is_some() { last + 2 * heads[heads.len() - 1].keys } else { 0 });
    let mut parts = vec![T::ZERO; total];
    let shared = Shared::new(&mut parts, 1);
    let scratch = || [const { Vec::new() }; 6];
    let cost = queries * keys * attention.key_size.max(attention.value_size);
    parallel::each_with(heads.len(), cost, scratch, |scratch, i| {
        // SAFETY: every head has a place of its own.
        let part = bias.map(|bias| (bias, unsafe { shared.row(places[i], 2 * heads[i].keys - 1) }));
        backward_head(heads[i], inputs, [out, d_out], lse, part, &gradients, scratch);
    });
    let (Some(bias), Some(d_bias)) = (bias, d_bias) else { return };
    assert_eq!(d_bias.len(), bias.values.len(), "attention: gradient of the bias");
    d_bias.fill(T::ZERO);
    for (head, place) in heads.iter().zip(places) {
        let at = head.head * (2 * bias.span - 1) + bias.span - head.keys;
        let part = &parts[place..][..2 * head.keys - 1];
        d_bias[at..].iter_mut().zip(part).for_each(|(d, &x)| *d += x);
    }
}

fn backward_head<T: Real>(
    head: Head,
    [q, k, v]: [Rows<T>; 3],
    [out, d_out]: [&[T]; 2],
    lse: &[T],
    mut bias: Option<(DistanceBias<T>, &mut [T])>,
    gradients: &[Shared<T>; 3],
    scratch: &mut [Vec<T>; 6],
) {
    let Attention { key_size, value_size, .. } = *head.attention;
    let d_outs = Rows { data: d_out, stride: head.attention.widths()[2] };
    let scale = T::from_f64(head.attention.scale);
    let block = BLOCK.min(head.len);
    let [dk, dv, dq, p, ds, factors] = scratch;
    let (dk, dv) = (room(dk, head.keys * key_size), room(dv, head.keys * value_size)); // [M, K], [M, V]
    dk.fill(T::ZERO);
    dv.fill(T::ZERO);
    if head.keys == 0 || head.len == 0 {
        let dq = room(dq, head.len * key_size);
        dq.fill(T::ZERO);
        write(head, head.start, key_size, dq, &gradients[0]);
        write(head, head.first_key, key_size, dk, &gradients[1]);
        write(head, head.first_key, value_size, dv, &gradients[2]);
        return;
    }
    let keys = Factor::new(head.key_columns(k, key_size), key_size, head.keys); // [K, M]
    let values = Factor::new(head.key_columns(v, value_size), value_size, head.keys); // [V, M]
    let key_rows = Factor::new(head.key_rows(k, key_size), head.keys, key_size); // [M, K]
    let dq = room(dq, block * key_size); // [rows, K]
    let (p, ds) = (room(p, block * head.keys), room(ds, block * head.keys)); // [rows, seen]
    for first in (0..head.len).step_by(BLOCK) {
        let rows = BLOCK.min(head.len - first);
        let seen = head.seen(first, first + rows - 1);
        let (p, ds) = (&mut p[..rows * seen.len()], &mut ds[..rows * seen.len()]);
        keys.multiply(rows, seen.clone(), 0..key_size, head.rows(q, key_size, first), p, false);
        let d_out_block = head.rows(d_outs, value_size, first);
        values.multiply(rows, seen.clone(), 0..value_size, d_out_block, ds, false);
        for (i, (p, ds)) in p.chunks_exact_mut(seen.len()).zip(ds.chunks_exact_mut(seen.len())).enumerate() {
            let i = first + i;
            let lse = lse[head.at(head.attention.heads, 1, head.start + i)];
            let visible = head.visible(i);
            let [p, ds] = [p, ds].map(|row| {
                let (row, hidden) = row.split_at_mut(visible.end - seen.start);
                hidden.fill(T::ZERO);
                let (hidden, row) = row.split_at_mut(visible.start - seen.start);
                hidden.fill(T::ZERO);
                row
            });
            head.drop(i, visible.start, ds, factors);
            let at = head.at(d_outs.stride, value_size, head.start + i);
            let (out, d_out) = (&out[at..][..value_size], &d_out[at..][..value_size]);
            let mean = simd(
                #[inline(always)]
                || real::dot(out, d_out),
            );
            match &mut bias {
                None => row::slopes(p, ds, scale, lse, mean),
                Some((bias, d_bias)) => {
                    row::add_bias(p, scale, bias.row(head.head, head.place(i), visible.start));
                    row::slopes(p, ds, T::ONE, lse, mean);
                    let from = head.keys - 1 + visible.start - head.place(i);
                    d_bias[from..].iter_mut().zip(&*ds).for_each(|(d, &s)| *d += s);
                    ds.iter_mut().for_each(|s| *s *= scale);
                }
            }
            // The factors of this row are still there.
            for (p, &factor) in p.iter_mut().zip(&*factors) {
                *p *= factor;
            }
        }
        let dq = &mut dq[..rows * key_size];
        key_rows.multiply(rows, 0..key_size, seen.clone(), View::row_major(ds, seen.len()), dq, false);
        write(head, head.start + first, key_size, dq, &gradients[0]);
        let queries = Factor::new(head.rows(q, key_size, first), rows, key_size);
        let columns = View::transposed(ds, seen.len());
        let part = &mut dk[seen.start * key_size..seen.end * key_size];
        queries.multiply(seen.len(), 0..key_size, 0..rows, columns, part, true);
        let d_out_rows = Factor::new(d_out_block, rows, value_size);
        let columns = View::transposed(p, seen.len());
        let part = &mut dv[seen.start * value_size..seen.end * value_size];
        d_out_rows.multiply(seen.len(), 0..value_size, 0..rows, columns, part, true);
    }
    write(head, head.first_key, key_size, dk, &gradients[1]);
    write(head, head.first_key, value_size, dv, &gradients[2]);
}

/// Copies rows `[.., size]` to where they belong, from row `first`.
fn write<T: Real>(head: Head, first: usize, size: usize, rows: &[T], to: &Shared<T>) {
    for (i, row) in rows.chunks_exact(size.max(1)).enumerate() {
        // SAFETY: one thread has this head of this sequence.
        unsafe { to.row(head.at(to.stride, size, first + i), size) }.copy_from_slice(row);
    }
}
