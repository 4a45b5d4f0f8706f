//! CRF and MEMM reproduce the golden vectors: losses, gradients, marginals and best paths.
#![allow(clippy::unwrap_used)]

use bert4rs_nn::head::tags::{Constraints, SpanRule, bio_constraints, tags_to_spans};
use bert4rs_nn::head::{Crf, Memm, MemmDecoding, TagHead, TagHeadConfig, TagHeadKind};
use bert4rs_nn::{Builder, Ctx};
use bert4rs_tensor::{DType, Gradients, Packed, Params, Rng, Tensor, backward};
use bert4rs_testing::{Case, golden, tensor_of};
use serde_json::Value;

fn case(name: &str) -> Case {
    golden("memm-crf").into_iter().find(|c| c.name == name).unwrap_or_else(|| panic!("no case {name}"))
}

/// A head, its emissions as hidden states (the emission layer is the identity) and gold labels.
struct Setting {
    head: TagHead,
    params: Params,
    hidden: Tensor,
    batch: Packed,
    labels: Vec<usize>,
    kept: Vec<usize>,
    padded_rows: usize,
}

fn indices(x: &Tensor) -> Vec<usize> {
    x.to_f64_vec().iter().map(|&v| v as usize).collect()
}

impl Setting {
    fn new(case: &Case, config: TagHeadConfig, constraints: Option<Constraints>, dtype: DType) -> Self {
        let emissions = case.input("emissions");
        let tags = *emissions.shape().last().unwrap();
        let padded_rows = emissions.elements() / tags;
        let length = emissions.shape()[emissions.rank() - 2];
        let mask = match case.has_input("mask") {
            true => case.input("mask").to_f64_vec(),
            false => vec![1.0; padded_rows],
        };
        let kept: Vec<usize> = (0..padded_rows).filter(|&t| mask[t] != 0.0).collect();
        let lengths: Vec<usize> = mask.chunks(length).map(|m| m.iter().sum::<f64>() as usize).collect();
        let hidden = emissions.reshape(&[padded_rows, tags]).unwrap().rows(&kept).unwrap();
        let labels = match case.has_input("tags") {
            true if case.input("tags").elements() == padded_rows => {
                let all = indices(&case.input("tags"));
                kept.iter().map(|&t| all[t]).collect()
            }
            _ => vec![0; kept.len()],
        };
        let (mut params, mut rng) = (Params::new(), Rng::new(0));
        let mut builder = Builder::new(&mut params, &mut rng, dtype);
        let config = TagHeadConfig { tags, ..config };
        let head = TagHead::new(&mut builder, tags, &config, constraints).unwrap();
        let mut identity = vec![0.0; tags * tags];
        (0..tags).for_each(|i| identity[i * tags + i] = 1.0);
        let set = |name: &str, value: &Tensor| {
            params.get(name).unwrap().set(&value.cast(dtype).unwrap()).unwrap();
        };
        set("dense.weight", &Tensor::new(identity, &[tags, tags]).unwrap());
        for (name, key) in [
            ("transitions", "transitions"),
            ("start_transitions", "start"),
            ("end_transitions", "end"),
            ("left_transitions", "l_trans"),
            ("right_transitions", "r_trans"),
        ] {
            if params.get(name).is_some() {
                set(name, &case.input(key).mul_scalar(1.0 / config.lr_multiplier).unwrap());
            }
        }
        let hidden = hidden.cast(dtype).unwrap().tracked();
        Self { head, params, hidden, batch: Packed::from_lengths(&lengths), labels, kept, padded_rows }
    }

    fn loss(&self) -> Tensor {
        let mut ctx = Ctx::training(Rng::new(0));
        self.head.loss(&mut ctx, &self.hidden, &self.batch, &self.labels).unwrap()
    }

    /// The loss of every sequence by itself.
    fn losses(&self) -> Tensor {
        let alone = |b: usize| {
            let (range, n) = (self.batch.range(b), self.batch.length(b));
            let hidden = self.hidden.narrow(0, range.start, n).unwrap();
            let labels = &self.labels[range];
            let batch = Packed::from_lengths(&[n]);
            self.head.loss(&mut Ctx::inference(), &hidden, &batch, labels).unwrap().item().unwrap()
        };
        let count = self.batch.sequences();
        Tensor::new((0..count).map(alone).collect::<Vec<f64>>(), &[count]).unwrap()
    }

    fn decode(&self) -> Vec<Vec<usize>> {
        self.head.decode(&mut Ctx::inference(), &self.hidden, &self.batch).unwrap()
    }

    fn gradient(&self, gradients: &Gradients, name: &str) -> Tensor {
        gradients.of(&self.params.get(name).unwrap().leaf()).unwrap().clone()
    }

    fn pad(&self, rows: &Tensor) -> Tensor {
        rows.cast(DType::F64).unwrap().scatter_rows(&self.kept, self.padded_rows).unwrap()
    }
}

fn paths(value: &Value) -> Vec<Vec<usize>> {
    value.as_array().unwrap().iter().map(|row| indices(&tensor_of(row))).collect()
}

/// A case whose expectations are those of one of its parts.
fn part(case: &Case, key: &str) -> Case {
    Case {
        name: format!("{} {key}", case.name),
        inputs: case.inputs.clone(),
        params: case.params.clone(),
        expected: case.expected[key].clone(),
        tol: case.tol,
    }
}

const CRF: TagHeadConfig = TagHeadConfig {
    kind: TagHeadKind::Crf,
    tags: 0,
    start_end: false,
    lr_multiplier: 1.0,
    bidirectional: true,
    scale: 0.5,
    rank: None,
    decode: MemmDecoding::Unnormalised,
};
const MEMM: TagHeadConfig = TagHeadConfig { kind: TagHeadKind::Memm, ..CRF };

#[test]
fn crf_losses_gradients_marginals_and_paths() {
    for (name, start_end) in [("crf_start_end_padded", true), ("crf_no_start_end", false)] {
        let case = case(name);
        for (dtype, value_within, gradient_within) in
            [(DType::F64, case.tol, case.tol), (DType::F32, 2e-4, 1e-3)]
        {
            let s = Setting::new(&case, TagHeadConfig { start_end, ..CRF }, None, dtype);
            let loss = s.loss();
            case.assert_within("loss", &loss, value_within);
            case.assert_within("nll", &s.losses(), value_within);
            let gradients = backward(loss).unwrap();
            let d_hidden = s.pad(gradients.of(&s.hidden).unwrap());
            case.assert_within("grad_emissions", &d_hidden, gradient_within);
            case.assert_within("grad_transitions", &s.gradient(&gradients, "transitions"), gradient_within);
            if start_end {
                let [start, end] =
                    ["start_transitions", "end_transitions"].map(|n| s.gradient(&gradients, n));
                case.assert_within("grad_start", &start, gradient_within);
                case.assert_within("grad_end", &end, gradient_within);
                let marginals = s.head.marginals(&mut Ctx::inference(), &s.hidden, &s.batch).unwrap();
                case.assert_within("marginals", &s.pad(&marginals), value_within);
                assert_eq!(s.decode(), paths(&case.expected["viterbi"]));
            }
        }
    }
}

#[test]
fn the_learning_rate_multiplier_scales_gradients_and_nothing_else() {
    let case = case("crf_start_end_padded");
    let plain = Setting::new(&case, TagHeadConfig { start_end: true, ..CRF }, None, DType::F64);
    let fast = TagHeadConfig { start_end: true, lr_multiplier: 100.0, ..CRF };
    let fast = Setting::new(&case, fast, None, DType::F64);
    let (a, b) = (plain.loss(), fast.loss());
    case.assert("loss", &b);
    let (a, b) = (backward(a).unwrap(), backward(b).unwrap());
    for name in ["transitions", "start_transitions", "end_transitions"] {
        for (x, y) in plain.gradient(&a, name).to_f64_vec().iter().zip(fast.gradient(&b, name).to_f64_vec()) {
            assert!((100.0 * x - y).abs() < 1e-9, "{name}: {x} {y}");
        }
    }
    assert_eq!(plain.decode(), fast.decode());
}

#[test]
fn crf_survives_extremes_ties_single_tokens_and_long_texts() {
    for name in ["crf_extreme_logits", "all_ties", "length_1", "long_sequence"] {
        let case = case(name);
        let s = Setting::new(&case, CRF, None, DType::F64);
        assert_eq!(s.decode(), [indices(&tensor_of(&case.expected["viterbi"]))], "{name}");
        if case.input("tags").rank() == 1 {
            case.assert("nll", &s.losses());
            let single = Setting::new(&case, CRF, None, DType::F32);
            case.assert_within("nll", &single.losses(), 2e-4);
        } else {
            // Several labellings of one sequence.
            let rows = paths(&case.inputs["tags"]);
            let loss = |labels: &Vec<usize>| {
                s.head.loss(&mut Ctx::inference(), &s.hidden, &s.batch, labels).unwrap().item().unwrap()
            };
            let losses = rows.iter().map(loss).collect::<Vec<f64>>();
            case.assert("nll", &Tensor::new(losses, &[rows.len()]).unwrap());
        }
    }
}

#[test]
fn the_score_of_the_best_path() {
    for (name, start_end) in [("crf_start_end_padded", true), ("long_sequence", false)] {
        let case = case(name);
        let s = Setting::new(&case, TagHeadConfig { start_end, ..CRF }, None, DType::F64);
        let TagHead::Crf(crf) = &s.head else { panic!("not a CRF") };
        let scores: Vec<f64> = crf
            .decode_scored(&mut Ctx::inference(), &s.hidden, &s.batch)
            .unwrap()
            .into_iter()
            .map(|(_, score)| score)
            .collect();
        case.assert("viterbi_score", &Tensor::new(scores, &[s.batch.sequences()]).unwrap());
    }
}

/// The path of every sequence, and that its mean loss is its log-probability per token.
fn check_exact(s: &Setting, case: &Case) {
    for (b, path) in s.decode().into_iter().enumerate() {
        let (range, n) = (s.batch.range(b), s.batch.length(b));
        let expected = part(case, "exact_viterbi");
        let expected = Case { expected: expected.expected[b].clone(), ..expected };
        assert_eq!(path, indices(&tensor_of(&expected.expected["path"])), "{}", case.name);
        let hidden = s.hidden.narrow(0, range.start, n).unwrap();
        let batch = Packed::from_lengths(&[n]);
        let loss = s.head.loss(&mut Ctx::inference(), &hidden, &batch, &path).unwrap();
        expected.assert("log_prob", &loss.mul_scalar(-(n as f64)).unwrap());
    }
}

#[test]
fn memm_losses_gradients_and_both_decodings() {
    for name in ["memm_article_scale_1", "memm_bert4keras_scale_half"] {
        let case = case(name);
        for (key, bidirectional) in [("memm", false), ("bi_memm", true)] {
            let expected = part(&case, key);
            let config = TagHeadConfig { bidirectional, scale: case.number("scale"), ..MEMM };
            for (dtype, value_within, gradient_within) in
                [(DType::F64, case.tol, case.tol), (DType::F32, 2e-4, 1e-3)]
            {
                let s = Setting::new(&case, config.clone(), None, dtype);
                let loss = s.loss();
                expected.assert_within("loss", &loss, value_within);
                let gradients = backward(loss).unwrap();
                let d_hidden = s.pad(gradients.of(&s.hidden).unwrap());
                expected.assert_within("grad_emissions", &d_hidden, gradient_within);
                let d_transitions = s.gradient(&gradients, "transitions");
                expected.assert_within("grad_transitions", &d_transitions, gradient_within);
                assert_eq!(s.decode(), paths(&case.expected["crf_style_viterbi"]));
            }
            let exact = TagHeadConfig { decode: MemmDecoding::Exact, bidirectional: false, ..config };
            check_exact(&Setting::new(&case, exact, None, DType::F64), &case);
        }
    }
}

#[test]
fn a_low_rank_is_the_full_matrix_it_stands_for() {
    let mut case = case("memm_low_rank");
    let rank = Some(case.input("l_trans").shape()[1]);
    let s = Setting::new(&case, TagHeadConfig { rank, ..MEMM }, None, DType::F64);
    case.assert("bi_memm_loss", &s.loss());
    let product = case.input("l_trans").matmul_t(&case.input("r_trans")).unwrap();
    case.assert("transitions", &product);
    case.inputs["transitions"] = case.expected["transitions"].clone();
    let full = Setting::new(&case, MEMM, None, DType::F64);
    case.assert("bi_memm_loss", &full.loss());
    assert_eq!(s.decode(), full.decode());
}

#[test]
fn a_memm_of_one_token_is_a_softmax() {
    let case = case("length_1");
    for kind in [TagHeadKind::Memm, TagHeadKind::Softmax] {
        let s = Setting::new(&case, TagHeadConfig { kind, ..CRF }, None, DType::F64);
        case.assert("memm", &s.losses());
    }
}

#[test]
fn constrained_paths() {
    let case = case("viterbi_bio_constrained");
    let bio = bio_constraints(2);
    let allowed = |key| case.input(key).to_f64_vec().iter().map(|&a| a != 0.0).collect::<Vec<bool>>();
    assert_eq!(bio.between, allowed("allowed"));
    assert_eq!(bio.start, allowed("allowed_start"));
    let s = Setting::new(&case, CRF, Some(bio), DType::F64);
    assert_eq!(s.decode(), [indices(&tensor_of(&case.expected["path"]))]);
    let forbidden = s.head.loss(&mut Ctx::inference(), &s.hidden, &s.batch, &[0, 0, 1, 4, 0, 0]);
    let error = forbidden.unwrap_err().to_string();
    assert_eq!(error, "labels of sequence 0, token 3: tag 4 may not follow tag 1");
}

#[test]
fn sequences_that_start_and_end_outside() {
    let case = case("viterbi_starts_ends_O_only");
    let only_o = vec![true, false, false, false, false];
    let constraints = Constraints { between: vec![true; 25], start: only_o.clone(), end: only_o };
    for kind in [TagHeadKind::Crf, TagHeadKind::Memm] {
        let config = TagHeadConfig { kind, ..CRF };
        let s = Setting::new(&case, config, Some(constraints.clone()), DType::F64);
        assert_eq!(s.decode(), [indices(&tensor_of(&case.expected["path"]))], "{kind:?}");
    }
}

#[test]
fn legal_sequences_from_every_head() {
    let case = case("viterbi_bio_constrained");
    for kind in [TagHeadKind::Crf, TagHeadKind::Memm, TagHeadKind::Softmax] {
        for decode in [MemmDecoding::Unnormalised, MemmDecoding::Exact] {
            let config = TagHeadConfig { kind, decode, ..CRF };
            let s = Setting::new(&case, config, Some(bio_constraints(2)), DType::F64);
            for path in s.decode() {
                assert_eq!(bio_constraints(2).violation(&path), None, "{kind:?} {decode:?}");
            }
            let marginals = s.head.marginals(&mut Ctx::inference(), &s.hidden, &s.batch).unwrap();
            for p in marginals.sum(1, false).unwrap().to_f64_vec() {
                assert!((p - 1.0).abs() < 1e-9, "{kind:?}: {p}");
            }
        }
    }
}

#[test]
fn empty_sequences_do_not_count() {
    let case = case("crf_no_start_end");
    for kind in [TagHeadKind::Crf, TagHeadKind::Memm, TagHeadKind::Softmax] {
        let s = Setting::new(&case, TagHeadConfig { kind, ..CRF }, None, DType::F64);
        let expected = s.loss().item().unwrap();
        let lengths: Vec<usize> = (0..3).flat_map(|b| [0, s.batch.length(b)]).collect();
        let batch = Packed::from_lengths(&lengths);
        let mut ctx = Ctx::inference();
        let loss = s.head.loss(&mut ctx, &s.hidden, &batch, &s.labels).unwrap().item().unwrap();
        assert!((loss - expected).abs() < 1e-12, "{kind:?}");
        let found = s.head.decode(&mut ctx, &s.hidden, &batch).unwrap();
        assert_eq!(found.iter().map(Vec::len).collect::<Vec<_>>(), lengths, "{kind:?}");
        let nothing = Tensor::zeros(&[0, 4], DType::F64);
        let none = Packed::from_lengths(&[0]);
        assert_eq!(s.head.loss(&mut ctx, &nothing, &none, &[]).unwrap().item().unwrap(), 0.0, "{kind:?}");
    }
}

#[test]
fn wrong_labels_and_settings_are_errors() {
    let case = case("crf_no_start_end");
    let s = Setting::new(&case, CRF, None, DType::F64);
    let loss = |labels: &[usize]| s.head.loss(&mut Ctx::inference(), &s.hidden, &s.batch, labels);
    assert!(loss(&[0; 7]).unwrap_err().to_string().contains("7 labels for 8 tokens"));
    assert!(loss(&[0, 0, 4, 0, 0, 0, 0, 0]).unwrap_err().to_string().contains("label 4 at token 2"));
    let (mut params, mut rng) = (Params::new(), Rng::new(0));
    let mut builder = Builder::new(&mut params, &mut rng, DType::F64);
    assert!(Crf::new(&mut builder, 4, &CRF, None).is_err());
    assert!(Crf::new(&mut builder, 4, &TagHeadConfig { tags: 3, ..CRF }, Some(bio_constraints(2))).is_err());
    let never = TagHeadConfig { tags: 3, lr_multiplier: 0.0, ..MEMM };
    assert!(Memm::new(&mut builder, 4, &never, None).is_err());
}

#[test]
fn tags_become_spans_by_either_rule() {
    let case = case("bio_to_spans");
    for (i, path) in paths(&case.inputs["paths"]).iter().enumerate() {
        for (key, rule) in [("loose", SpanRule::Loose), ("strict", SpanRule::Strict)] {
            let expected = &case.expected[key][i];
            let rows: Vec<Vec<usize>> =
                expected.as_array().unwrap().iter().map(|r| indices(&tensor_of(r))).collect();
            let found: Vec<_> =
                tags_to_spans(path, rule).iter().map(|s| vec![s.start, s.end, s.kind]).collect();
            assert_eq!(found, rows, "{key} {path:?}");
        }
    }
}
