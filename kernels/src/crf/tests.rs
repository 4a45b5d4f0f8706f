use super::*;

const TAGS: usize = 3;

fn noise<T: Real>(seed: u64, count: usize, size: f64) -> Vec<T> {
    let unit = |i| f64::from(crate::random::philox(seed, i as u64)[0]) / 2f64.powi(31) - 1.0;
    (0..count).map(|i| T::from_f64(size * unit(i))).collect()
}

/// Offsets, scores and labels of a small problem.
struct Problem<T> {
    offsets: Vec<usize>,
    tags: usize,
    transitions: Vec<T>,
    edges: Option<(Vec<T>, Vec<T>)>,
    emissions: Vec<T>,
    labels: Vec<usize>,
}

impl<T: Real> Problem<T> {
    fn new(lengths: &[usize], tags: usize, edges: bool) -> Self {
        let offsets: Vec<_> = (0..=lengths.len()).map(|b| lengths[..b].iter().sum()).collect();
        let tokens = offsets[lengths.len()];
        Self {
            tags,
            transitions: noise(1, tags * tags, 1.5),
            edges: edges.then(|| (noise(2, tags, 1.0), noise(3, tags, 1.0))),
            emissions: noise(4, tokens * tags, 2.0),
            labels: (0..tokens).map(|t| (t * 7 + t / 3) % tags).collect(),
            offsets,
        }
    }

    fn crf(&self) -> Crf<'_, T> {
        let (start, end) = (self.edges.as_ref().map(|e| &e.0[..]), self.edges.as_ref().map(|e| &e.1[..]));
        Crf { offsets: &self.offsets, tags: self.tags, transitions: &self.transitions, start, end }
    }

    fn forward(&self) -> Vec<T> {
        let mut loss = vec![T::ONE; self.offsets.len() - 1];
        forward(&self.crf(), &self.emissions, &self.labels, &mut loss);
        loss
    }

    /// emissions, transitions, start, end
    fn backward(&self, d_loss: &[T]) -> [Vec<T>; 4] {
        let sizes = [self.emissions.len(), self.transitions.len(), self.tags, self.tags];
        let mut d = sizes.map(|n| vec![T::ONE; n]);
        let [f, g, s, e] = &mut d;
        let edges = self.edges.is_some().then_some((&mut s[..], &mut e[..]));
        backward(&self.crf(), &self.emissions, &self.labels, d_loss, f, g, edges);
        d
    }

    /// In the order of `backward`.
    fn input(&mut self, number: usize) -> &mut Vec<T> {
        let Some((start, end)) = &mut self.edges else {
            return if number == 0 { &mut self.emissions } else { &mut self.transitions };
        };
        [&mut self.emissions, &mut self.transitions, start, end].into_iter().nth(number).expect("one of four")
    }

    fn marginals(&self) -> Vec<T> {
        let mut out = vec![T::ONE; self.emissions.len()];
        marginals(&self.crf(), &self.emissions, &mut out);
        out
    }
}

/// Every label sequence of a length, in the order of its last tag, then its last but one, ...
fn all_labels(length: usize, tags: usize) -> Vec<Vec<usize>> {
    let digits = |mut n: usize| {
        let mut labels = vec![0; length];
        for y in labels.iter_mut() {
            (*y, n) = (n % tags, n / tags);
        }
        labels
    };
    (0..tags.pow(length as u32)).map(digits).collect()
}

#[test]
fn two_tokens_by_hand() {
    let p = Problem {
        offsets: vec![0, 2],
        tags: 2,
        transitions: vec![0.0, 1.0, 2.0, 3.0],
        edges: None,
        emissions: vec![0.0, 1.0, 2.0, 0.0],
        labels: vec![1, 0],
    };
    // F(00) = 2, F(01) = 1, F(10) = 5, F(11) = 4.
    let z = 2f64.exp() + 1f64.exp() + 5f64.exp() + 4f64.exp();
    assert!((p.forward()[0] - (z.ln() - 5.0)).abs() < 1e-15);
    assert!((p.marginals()[0] - (2f64.exp() + 1f64.exp()) / z).abs() < 1e-15);
    assert_eq!(viterbi(&p.crf(), &p.emissions), [(vec![1, 0], 5.0)]);
}

#[test]
fn everything_agrees_with_all_label_sequences() {
    for edges in [false, true] {
        let p = Problem::<f64>::new(&[5, 0, 1, 3], TAGS, edges);
        let loss = p.forward();
        let (marginals, best) = (p.marginals(), viterbi(&p.crf(), &p.emissions));
        for (b, o) in p.offsets.windows(2).enumerate() {
            let emissions = &p.emissions[o[0] * TAGS..o[1] * TAGS];
            let all = all_labels(o[1] - o[0], TAGS);
            let scores: Vec<_> = all.iter().map(|y| p.crf().score(emissions, y)).collect();
            let z = scores.iter().map(|s| s.exp()).sum::<f64>();
            let want = z.ln() - p.crf().score(emissions, &p.labels[o[0]..o[1]]);
            assert!((loss[b] - want).abs() < 1e-12, "{} {want}", loss[b]);
            let mut of_tag = vec![0.0; emissions.len()];
            for (y, s) in all.iter().zip(&scores) {
                y.iter().enumerate().for_each(|(t, y)| of_tag[t * TAGS + y] += s.exp() / z);
            }
            let got = &marginals[o[0] * TAGS..o[1] * TAGS];
            assert!(got.iter().zip(&of_tag).all(|(x, y)| (x - y).abs() < 1e-13));
            let top = (0..all.len()).max_by(|&x, &y| scores[x].total_cmp(&scores[y])).unwrap_or(0);
            assert_eq!(best[b], (all[top].clone(), scores[top]));
        }
        assert_eq!((loss[1], best[1].1), (0.0, 0.0));
    }
}

#[test]
fn gradient_is_that_of_finite_differences() {
    for edges in [false, true] {
        let mut p = Problem::<f64>::new(&[4, 0, 1, 3], TAGS, edges);
        let d_loss = [0.7, 5.0, -1.3, 0.4];
        let got = p.backward(&d_loss);
        let total = |p: &Problem<f64>| p.forward().iter().zip(d_loss).map(|(x, d)| x * d).sum::<f64>();
        for (input, got) in got.iter().enumerate().take(if edges { 4 } else { 2 }) {
            for i in 0..got.len() {
                let mut at = |step: f64| {
                    p.input(input)[i] += step;
                    let value = total(&p);
                    p.input(input)[i] -= step;
                    value
                };
                let want = (at(1e-5) - at(-1e-5)) / 2e-5;
                assert!((got[i] - want).abs() < 1e-8, "input {input} at {i}: {} {want}", got[i]);
            }
        }
    }
}

#[test]
fn ties_go_to_the_lowest_tag() {
    let mut p = Problem::<f32>::new(&[4], TAGS, true);
    p.transitions.fill(1.0);
    p.emissions.fill(0.5);
    p.edges = Some((vec![2.0; TAGS], vec![3.0; TAGS]));
    assert_eq!(viterbi(&p.crf(), &p.emissions), [(vec![0; 4], 10.0)]);
    // Both 0 1 and 1 0 have score 1.
    let p = Problem { offsets: vec![0, 2], emissions: vec![0.0, 1.0, 0.0, 1.0], ..p };
    let p = Problem { tags: 2, transitions: vec![0.0, 0.0, 0.0, -1.0], edges: None, ..p };
    assert_eq!(viterbi(&p.crf(), &p.emissions), [(vec![1, 0], 1.0)]);
}

#[test]
fn forbidden_transitions_have_probability_zero() {
    let never = f64::NEG_INFINITY;
    let mut p = Problem::<f64>::new(&[4, 1], TAGS, true);
    // Nothing leads to tag 2 and nothing starts with it; 0 and 1 alternate and end with 0.
    p.transitions = vec![never, 0.5, never, 0.1, never, never, 0.3, 0.2, never];
    p.edges = Some((vec![0.0, 0.0, never], vec![0.0, never, 0.0]));
    p.labels = vec![1, 0, 1, 0, 0];
    let loss = p.forward();
    assert!(loss.iter().all(|l| l.abs() < 1e-12), "one sequence is allowed: {loss:?}");
    assert_eq!(p.marginals(), [0., 1., 0., 1., 0., 0., 0., 1., 0., 1., 0., 0., 1., 0., 0.]);
    assert_eq!(viterbi(&p.crf(), &p.emissions)[0].0, [1, 0, 1, 0]);
    assert!(p.backward(&[1.0; 2]).concat().iter().all(|d| d.abs() < 1e-12));
    p.labels[0] = 2;
    assert_eq!(p.forward()[0], f64::INFINITY);
    assert!(p.backward(&[1.0; 2]).concat().iter().all(|d| d.is_finite()));
    p.transitions.fill(never);
    assert_eq!(p.forward()[0], f64::INFINITY);
    assert_eq!(p.marginals()[..4 * TAGS], [0.0; 4 * TAGS]);
    assert_eq!(viterbi(&p.crf(), &p.emissions)[0].1, never);
}

#[test]
fn emissions_of_ten_thousand_keep_their_digits() {
    // The sum over 300 tokens, 3e6, leaves f32 no digits after the point.
    let exact = Problem::<f64>::new(&[300], TAGS, true);
    let shift = |p: f64| p + 1e4;
    let p = Problem::<f32> {
        emissions: exact.emissions.iter().map(|&x| (shift((x * 64.0).round() / 64.0)) as f32).collect(),
        ..Problem::new(&[300], TAGS, true)
    };
    let rounded = exact.emissions.iter().map(|x| (x * 64.0).round() / 64.0).collect();
    let exact = Problem { emissions: rounded, ..exact };
    let (got, want) = (f64::from(p.forward()[0]), exact.forward()[0]);
    assert!((got / want - 1.0).abs() < 1e-4, "{got} {want}");
    let close =
        |x: &[f32], y: &[f64], bound: f64| x.iter().zip(y).all(|(x, y)| (f64::from(*x) - y).abs() < bound);
    // Emissions are exact multiples of 1/64, sums with the transitions are rounded to 1e-3.
    assert!(close(&p.marginals(), &exact.marginals(), 5e-3));
    let mut p = Problem::<f32>::new(&[20], TAGS, false);
    p.emissions.iter_mut().for_each(|x| *x = x.signum() * 1e4);
    assert!(p.forward()[0].is_finite() && p.backward(&[1.0]).concat().iter().all(|d| d.is_finite()));
}

#[test]
fn f32_is_close_to_f64() {
    let (exact, p) = (Problem::<f64>::new(&[200, 9], 21, true), Problem::<f32>::new(&[200, 9], 21, true));
    let close = |x: &[f32], y: &[f64], bound: f64| {
        x.iter().zip(y).all(|(x, y)| (f64::from(*x) - y).abs() < bound * (1.0 + y.abs()))
    };
    assert!(close(&p.forward(), &exact.forward(), 1e-6));
    assert!(close(&p.marginals(), &exact.marginals(), 1e-5));
    assert!(close(&p.backward(&[1.0; 2]).concat(), &exact.backward(&[1.0; 2]).concat(), 1e-5));
    let labels = |best: Vec<(Vec<usize>, f64)>| best.into_iter().map(|b| b.0).collect::<Vec<_>>();
    let best: Vec<_> = viterbi(&p.crf(), &p.emissions).into_iter().map(|b| b.0).collect();
    assert_eq!(best, labels(viterbi(&exact.crf(), &exact.emissions)));
}

#[test]
fn no_bit_depends_on_threads_or_on_the_batch() {
    let lengths: Vec<usize> = (0..40).map(|b| b * 11 % 37).collect();
    let p = Problem::<f32>::new(&lengths, 9, true);
    let d_loss = noise(5, 40, 1.0);
    let run = |p: &Problem<f32>, d_loss: &[f32], threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a pool");
        pool.install(|| (p.forward(), p.backward(d_loss), p.marginals(), viterbi(&p.crf(), &p.emissions)))
    };
    let all = run(&p, &d_loss, 1);
    assert_eq!(all, run(&p, &d_loss, 3));
    for (b, o) in p.offsets.windows(2).enumerate() {
        let alone = Problem {
            offsets: vec![0, o[1] - o[0]],
            emissions: p.emissions[o[0] * 9..o[1] * 9].to_vec(),
            labels: p.labels[o[0]..o[1]].to_vec(),
            ..Problem::new(&[], 9, true)
        };
        let alone = run(&alone, &d_loss[b..b + 1], 1);
        assert_eq!((alone.0[0], &alone.3[0]), (all.0[b], &all.3[b]));
        assert_eq!(alone.1[0], all.1[0][o[0] * 9..o[1] * 9]);
        assert_eq!(alone.2, all.2[o[0] * 9..o[1] * 9]);
    }
}

/// BIO tags of two types: O, B, I, B, I; an I follows only its own type.
fn bio() -> Problem<f64> {
    let mut p = Problem::<f64>::new(&[40, 1, 0, 7], 5, true);
    for (i, j) in [(0, 2), (0, 4), (1, 4), (2, 4), (3, 2), (4, 2)] {
        p.transitions[i * 5 + j] = f64::NEG_INFINITY;
    }
    p.edges = Some((vec![0.0, 0.5, f64::NEG_INFINITY, 0.1, f64::NEG_INFINITY], vec![0.0; 5]));
    for o in p.offsets.windows(2) {
        p.labels[o[0]..o[1]].iter_mut().enumerate().for_each(|(t, y)| *y = [1, 2, 0][t % 3]);
    }
    p
}

/// Loss, marginals and sums over pairs of one sequence by logarithms.
fn by_logarithms(p: &Problem<f64>, b: usize) -> (f64, Vec<f64>, Vec<f64>) {
    let emissions = &p.emissions[p.offsets[b] * p.tags..p.offsets[b + 1] * p.tags];
    let (mut out, mut pairs) = (vec![0.0; emissions.len()], vec![0.0; p.tags * p.tags]);
    log_space::marginals(&p.crf(), emissions, 0.7, &mut out, Some(&mut pairs));
    (log_space::forward(&p.crf(), emissions, &mut vec![0.0; emissions.len()]), out, pairs)
}

#[test]
fn scaled_probabilities_agree_with_logarithms() {
    for p in [bio(), Problem::new(&[60, 3, 0, 1], 21, true), Problem::new(&[300], 1, false)] {
        let matrix = Matrix::new(&p.crf());
        for (b, o) in p.offsets.windows(2).enumerate() {
            let emissions = &p.emissions[o[0] * p.tags..o[1] * p.tags];
            let chain = Chain::new(&p.crf(), &matrix, emissions).expect("nothing is lost here");
            let (mut out, mut pairs) = (vec![0.0; emissions.len()], matrix.pairs());
            chain.marginals(0.7, &mut out, Some(&mut pairs));
            let mut sums = vec![0.0; p.tags * p.tags];
            matrix.add_pairs(&pairs, &mut sums);
            let (log_z, marginals, pairs) = by_logarithms(&p, b);
            let close = |x: &[f64], y: &[f64]| x.iter().zip(y).all(|(x, y)| (x - y).abs() < 1e-11);
            assert!(close(&[chain.log_z], &[log_z]), "{} {log_z}", chain.log_z);
            assert!(close(&out, &marginals) && close(&sums, &pairs));
        }
    }
}

#[test]
fn a_tag_that_vanished_and_turns_out_to_be_needed_is_not_lost() {
    // At the second token B is e^-900 of O, and the rest of the text insists on its I: the path O, O, O
    // would cost 950 and is not to be found instead.
    for slope in [50.0, 475.0, 950.0] {
        let mut p = bio();
        let steps = (950.0 / slope) as usize;
        p.offsets = vec![0, 2 + steps];
        p.edges = None;
        p.emissions = vec![0.0, -900.0, -2000.0, -2000.0, -2000.0];
        p.emissions.extend([0.0, -900.0, -2000.0, -2000.0, -2000.0]);
        for _ in 0..steps {
            p.emissions.extend([-slope, -2000.0, 0.0, -2000.0, -2000.0]);
        }
        p.labels = vec![0, 1];
        p.labels.resize(2 + steps, 2);
        let (log_z, ..) = by_logarithms(&p, 0);
        let gold = p.crf().score(&p.emissions, &p.labels);
        assert!((p.forward()[0] - (log_z - gold)).abs() < 1e-9, "slope {slope}");
        assert!(p.marginals()[5 + 1] > 0.9, "slope {slope}: {:?}", &p.marginals()[5..10]);
    }
}

#[test]
fn long_sequences_stay_with_scaled_probabilities() {
    for p in [Problem::<f64>::new(&[5000], 5, true), {
        let mut long = bio();
        long.offsets = vec![0, 5000];
        long.emissions = noise(4, 25_000, 4.0);
        long
    }] {
        assert!(Chain::new(&p.crf(), &Matrix::new(&p.crf()), &p.emissions).is_some());
    }
}
