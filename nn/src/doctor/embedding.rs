//! Rows of embedding tables that are unlike the rest, or were never trained.
//! Definition:  far outside: a length above 3 times, or below a third of, the median of all rows that are not 0;
//!              equal: rows that have another row's numbers to the bit, without rows of zeros
//! Cost:        O(V D), one pass

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hasher};

use bert4rs_tensor::{Parameter, ParameterKind, Params};
use serde::Serialize;

/// How often a row's length may be the median, or the median a row's.
pub const FAR: f64 = 3.0;

/// Tables of fewer rows, such as segments, have no rest to be unlike.
const FEWEST: usize = 16;

/// Rows that are named.
const NAMED: usize = 5;

/// The rows of a table.
#[derive(Clone, Debug, Serialize)]
pub struct Rows {
    /// The parameter.
    pub table: String,
    /// How many there are.
    pub rows: usize,
    /// The median of lengths, without rows of zeros.
    pub median: f64,
    /// Rows far outside the rest.
    pub far: usize,
    /// Their share of all rows.
    pub far_share: f64,
    /// The farthest of them, each with its length over the median.
    pub farthest: Vec<(usize, f64)>,
    /// Rows of zeros.
    pub zero: usize,
    /// Rows that have the numbers of another row.
    pub equal: usize,
    /// The first pair of them.
    pub first_equal: Option<(usize, usize)>,
}

/// The rows of every table of embeddings.
pub fn rows(params: &Params) -> Vec<Rows> {
    let is_table = |p: &&Parameter| {
        p.kind() == ParameterKind::Embedding && p.value().rank() == 2 && p.value().shape()[0] >= FEWEST
    };
    params
        .iter()
        .filter(is_table)
        .map(|p| of_table(p.name(), &p.value().to_f64_vec(), p.value().shape()[1]))
        .collect()
}

fn of_table(table: &str, values: &[f64], width: usize) -> Rows {
    let rows: Vec<&[f64]> = values.chunks_exact(width.max(1)).collect();
    let lengths: Vec<f64> = rows.iter().map(|row| row.iter().map(|x| x * x).sum::<f64>().sqrt()).collect();
    let mut sorted: Vec<f64> = lengths.iter().copied().filter(|length| *length > 0.0).collect();
    sorted.sort_by(f64::total_cmp);
    let median = sorted.get(sorted.len() / 2).copied().unwrap_or(0.0);
    let ratio = |i: usize| lengths[i] / median;
    let is_far = |&i: &usize| lengths[i] > 0.0 && !(1.0 / FAR..=FAR).contains(&ratio(i));
    let mut far: Vec<usize> = (0..rows.len()).filter(is_far).collect();
    let distance = |i: usize| ratio(i).ln().abs();
    far.sort_by(|&a, &b| distance(b).total_cmp(&distance(a)));
    // Rows of one hash are few; those are compared.
    let (mut first, mut equal, mut first_equal) = (HashMap::<u64, Vec<usize>>::new(), 0, None);
    for (i, row) in rows.iter().enumerate().filter(|(i, _)| lengths[*i] != 0.0) {
        let mut hash = DefaultHasher::new();
        row.iter().for_each(|x| hash.write_u64(x.to_bits()));
        let alike = first.entry(hash.finish()).or_default();
        match alike.iter().find(|&&before| rows[before] == *row) {
            Some(&before) => {
                equal += 1;
                first_equal = first_equal.or(Some((before, i)));
            }
            None => alike.push(i),
        }
    }
    Rows {
        table: table.to_string(),
        rows: rows.len(),
        median,
        far: far.len(),
        far_share: far.len() as f64 / rows.len().max(1) as f64,
        farthest: far.iter().take(NAMED).map(|&i| (i, ratio(i))).collect(),
        zero: lengths.iter().filter(|length| **length == 0.0).count(),
        equal,
        first_equal,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn far_zero_and_equal_rows_are_counted_apart() {
        let mut values: Vec<f64> = (0..20).flat_map(|i| [1.0, 0.01 * f64::from(i)]).collect();
        values[2 * 3] = 0.0; // row 3 is [0, 0.03]
        values[2 * 5] = 50.0;
        (values[2 * 7], values[2 * 7 + 1]) = (0.0, 0.0);
        (values[2 * 9], values[2 * 9 + 1]) = (values[2 * 8], values[2 * 8 + 1]);
        let rows = of_table("t", &values, 2);
        assert_eq!((rows.rows, rows.far, rows.zero, rows.equal), (20, 2, 1, 1));
        assert_eq!((rows.first_equal, rows.far_share), (Some((8, 9)), 0.1));
        let places: Vec<usize> = rows.farthest.iter().map(|(row, _)| *row).collect();
        assert!(places == [5, 3] && rows.farthest[0].1 > 40.0, "{rows:?}");
    }
}
