use super::*;
use crate::bits::Bits;

fn numbers(count: usize, seed: u64) -> Vec<f32> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..count).map(|_| next()).collect()
}

struct Kept {
    float: Vec<f32>,
    int8: (Vec<i8>, Vec<f32>),
    bits: Vec<u64>,
    rows: usize,
}

fn keep(x: &[f32], width: usize) -> Kept {
    let rows = x.len() / width;
    let mut numbers = vec![0; x.len()];
    let scales = x.chunks(width).zip(numbers.chunks_mut(width)).map(|(x, q)| codes::to_int8(x, q)).collect();
    let words = codes::words(width);
    let mut signs = vec![0; rows * words];
    x.chunks(width).zip(signs.chunks_mut(words)).for_each(|(x, q)| codes::to_bits(x, q));
    Kept {
        float: x.to_vec(),
        int8: (int8::pack(&numbers, width), scales),
        bits: bits::pack(&signs, words),
        rows,
    }
}

impl Kept {
    fn all(&self) -> [Vectors<'_>; 3] {
        [Vectors::Float(&self.float), Vectors::Int8(&self.int8.0, &self.int8.1), Vectors::Bits(&self.bits)]
    }
}

/// The definition, one score at a time.
fn score(kind: usize, x: &[f32], query: &[f32]) -> f32 {
    match kind {
        0 => {
            let mut out = [0.0];
            float::products(x, &Packed::new(query, 1, query.len()), &mut out);
            out[0]
        }
        1 => {
            let (mut a, mut b) = (vec![0; x.len()], vec![0; x.len()]);
            let (s, t) = (codes::to_int8(x, &mut a), codes::to_int8(query, &mut b));
            let sum: i32 = a.iter().zip(&b).map(|(a, b)| i32::from(*a) * i32::from(*b)).sum();
            sum as f32 * (s * t)
        }
        _ => {
            let differ = x.iter().zip(query).filter(|(x, q)| (**x > 0.0) != (**q > 0.0)).count();
            1.0 - 2.0 * differ as f32 / x.len() as f32
        }
    }
}

#[test]
fn every_kind_equals_brute_force() {
    for (sizes, width, count) in [(vec![1], 3, 1), (vec![300, 1, 40], 20, 7), (vec![700], 65, 230)] {
        let parts: Vec<Kept> =
            sizes.iter().enumerate().map(|(i, n)| keep(&numbers(n * width, i as u64 + 1), width)).collect();
        let queries = numbers(count * width, 99);
        let only = Bits::of((0..1000).filter(|row| row % 3 != 1));
        let gone = Bits::of([0, 2, 300]);
        for kind in 0..3 {
            let mut first = 0;
            let given: Vec<Part> = parts
                .iter()
                .map(|kept| {
                    let part = Part { first, rows: kept.rows, vectors: kept.all()[kind] };
                    first += kept.rows as u32;
                    part
                })
                .collect();
            for allowed in [Allowed::default(), Allowed { only: Some(&only), without: Some(&gone) }] {
                for k in [1, 10, 2000] {
                    let found = search(&given, width, &queries, k, allowed);
                    assert_eq!(found.len(), count);
                    for (query, found) in queries.chunks(width).zip(&found).step_by(5) {
                        let rows = parts.iter().flat_map(|kept| kept.float.chunks(width)).enumerate();
                        let mut want: Vec<Hit> = rows
                            .map(|(row, x)| Hit { row: row as u32, score: score(kind, x, query) + 0.0 })
                            .filter(|hit| allowed.contains(hit.row))
                            .collect();
                        want.sort_by(Hit::order);
                        want.truncate(k);
                        assert_eq!(found, &want, "kind {kind}, k {k}");
                    }
                }
            }
        }
    }
}

#[test]
fn other_queries_and_threads_change_nothing() {
    let (width, rows) = (48, 3000);
    let kept = keep(&numbers(rows * width, 5), width);
    let queries = numbers(40 * width, 6);
    for vectors in kept.all() {
        let part = [Part { first: 0, rows, vectors }];
        let all = search(&part, width, &queries, 9, Allowed::default());
        let pool = rayon::ThreadPoolBuilder::new().num_threads(3).build().unwrap();
        assert_eq!(pool.install(|| search(&part, width, &queries, 9, Allowed::default())), all);
        for (query, want) in queries.chunks(width).zip(&all) {
            assert_eq!(&search(&part, width, query, 9, Allowed::default())[0], want);
        }
    }
}

#[test]
fn nothing_to_find_is_an_empty_answer() {
    assert_eq!(search(&[], 2, &[1.0, 0.0, 0.0, 1.0], 3, Allowed::default()), [vec![], vec![]]);
    let part = [Part { first: 0, rows: 1, vectors: Vectors::Float(&[1.0, 2.0]) }];
    assert_eq!(search(&part, 2, &[1.0, 0.0], 0, Allowed::default()), [vec![]]);
    assert!(search(&part, 2, &[], 3, Allowed::default()).is_empty());
}
