//! GlobalPointer and Efficient GlobalPointer reproduce the golden vectors, values and gradients, in
//! f64 at the files' tolerance and in f32 at the specification's.
#![allow(clippy::unwrap_used)]

use bert4rs_nn::head::{
    EfficientGlobalPointer, EfficientGlobalPointerConfig, GlobalPointer, GlobalPointerConfig, Layout,
    ScoredSpan, Span, SpanHead, flat,
};
use bert4rs_nn::{Builder, Ctx, loss};
use bert4rs_tensor::{DType, Packed, Params, Rng, Tensor, backward, grad};
use bert4rs_testing::{Case, golden, tensor_of};

/// The batch of a padded case without its padding.
struct Unpadded {
    batch: Packed,
    hidden: Tensor,
    kept: Vec<usize>,
    padded: usize,
}

impl Unpadded {
    fn new(case: &Case, dtype: DType) -> Self {
        let hidden = case.input("hidden");
        let (rows, length, width) = (hidden.shape()[0], hidden.shape()[1], hidden.shape()[2]);
        let mask = match case.has_input("mask") {
            true => case.input("mask").to_f64_vec(),
            false => vec![1.0; rows * length],
        };
        let kept: Vec<usize> = (0..rows * length).filter(|&t| mask[t] != 0.0).collect();
        let lengths: Vec<usize> = mask.chunks(length).map(|m| m.iter().sum::<f64>() as usize).collect();
        let hidden = hidden.reshape(&[rows * length, width]).unwrap().rows(&kept).unwrap();
        let hidden = hidden.cast(dtype).unwrap().tracked();
        Self { batch: Packed::from_lengths(&lengths), hidden, kept, padded: length }
    }

    /// Rows of real tokens, with zeros where padding was.
    fn pad(&self, rows: &Tensor) -> Tensor {
        rows.scatter_rows(&self.kept, self.batch.sequences() * self.padded).unwrap()
    }

    /// Scores of every sequence in one padded array `[B, S, n, n]`, `-inf` for padding.
    fn scores(&self, head: &SpanHead, types: usize) -> Tensor {
        let n = self.padded;
        let mut all = Vec::new();
        for b in 0..self.batch.sequences() {
            let scores = head.scores(&mut Ctx::inference(), &self.hidden.detach(), &self.batch, b).unwrap();
            let (scores, length) = (scores.to_f64_vec(), self.batch.length(b));
            for s in 0..types {
                for i in 0..n {
                    all.extend((0..n).map(|j| match i < length && j < length {
                        true => scores[(s * length + i) * length + j],
                        false => f64::NEG_INFINITY,
                    }));
                }
            }
        }
        Tensor::new(all, &[self.batch.sequences(), types, n, n]).unwrap()
    }
}

/// Gold spans of every sequence from a dense array of labels `[B, S, n, n]`.
fn gold(labels: &Tensor) -> Vec<Vec<Span>> {
    let &[rows, types, n, _] = labels.shape() else { panic!("labels {:?}", labels.shape()) };
    let labels = labels.to_f64_vec();
    let spans = |b: usize| {
        let place = |i: usize| Span { kind: i / (n * n), start: i / n % n, end: i % n };
        (0..types * n * n).filter(|i| labels[b * types * n * n + i] == 1.0).map(place).collect()
    };
    (0..rows).map(spans).collect()
}

fn layout(case: &Case) -> Layout {
    match case.text("layout") {
        "halves" => Layout::Halves,
        "interleaved" => Layout::Interleaved,
        other => panic!("layout {other}"),
    }
}

/// Builds a head, sets its parameters from the inputs of a case, and checks scores, loss and gradients.
fn check_head(
    case: &Case,
    dtype: DType,
    names: &[(&str, &str)],
    build: impl Fn(&mut Builder, usize) -> SpanHead,
) {
    let (scores_within, gradients_within) = match dtype {
        DType::F64 => (case.tol, case.tol),
        _ => (2e-4, 1e-3),
    };
    let input = Unpadded::new(case, dtype);
    let (mut params, mut rng) = (Params::new(), Rng::new(0));
    let head = build(&mut Builder::new(&mut params, &mut rng, dtype), input.hidden.shape()[1]);
    let present: Vec<_> = names.iter().filter(|(_, key)| case.has_input(key)).collect();
    assert_eq!(params.len(), present.len(), "{}", case.name);
    for (name, key) in &present {
        params.get(name).unwrap().set(&case.input(key).cast(dtype).unwrap()).unwrap();
    }
    case.assert_within("logits", &input.scores(&head, case.number("heads") as usize), scores_within);
    let mut ctx = Ctx::training(Rng::new(0));
    let loss = head.loss(&mut ctx, &input.hidden, &input.batch, &gold(&case.input("labels"))).unwrap();
    case.assert_within("loss", &loss, scores_within);
    let gradients = backward(loss).unwrap();
    let d_hidden = gradients.of(&input.hidden).unwrap().cast(DType::F64).unwrap();
    case.assert_within("grad_hidden", &input.pad(&d_hidden), gradients_within);
    for (name, key) in present {
        let d = gradients.of(&params.get(name).unwrap().leaf()).unwrap().clone();
        case.assert_within(&format!("grad_{key}"), &d, gradients_within);
    }
}

#[test]
fn global_pointer_scores_losses_and_gradients() {
    let cases = golden("globalpointer");
    let cases: Vec<_> = cases.iter().filter(|c| c.has_input("hidden")).collect();
    assert_eq!(cases.len(), 7);
    for case in cases {
        let config = GlobalPointerConfig {
            types: case.number("heads") as usize,
            key_size: case.number("head_size") as usize,
            rotary: case.flag("rope"),
            triangular: case.flag("tril_mask"),
            bias: case.has_input("bias"),
            ..GlobalPointerConfig::default()
        };
        for dtype in [DType::F64, DType::F32] {
            check_head(
                case,
                dtype,
                &[("dense.weight", "weight"), ("dense.bias", "bias")],
                |builder, width| {
                    SpanHead::GlobalPointer(GlobalPointer::new(builder, width, &config).unwrap())
                },
            );
        }
    }
}

const EFFICIENT: [(&str, &str); 4] = [
    ("p_dense.weight", "p_weight"),
    ("p_dense.bias", "p_bias"),
    ("q_dense.weight", "q_weight"),
    ("q_dense.bias", "q_bias"),
];

#[test]
fn efficient_global_pointer_scores_losses_and_gradients() {
    let cases = golden("efficient-globalpointer");
    let cases: Vec<_> = cases.iter().filter(|c| c.has_input("labels")).collect();
    assert_eq!(cases.len(), 5);
    for case in cases {
        let config = EfficientGlobalPointerConfig {
            types: case.number("heads") as usize,
            key_size: case.number("head_size") as usize,
            rotary: case.flag("rope"),
            triangular: case.flag("tril_mask"),
            layout: layout(case),
            ..EfficientGlobalPointerConfig::default()
        };
        for dtype in [DType::F64, DType::F32] {
            check_head(case, dtype, &EFFICIENT, |builder, width| {
                let head = EfficientGlobalPointer::new(builder, width, &config).unwrap();
                SpanHead::EfficientGlobalPointer(head)
            });
        }
    }
}

#[test]
fn weights_convert_between_layouts_without_changing_scores() {
    let cases = golden("efficient-globalpointer");
    let case = cases.iter().find(|c| c.name == "convert_interleaved_to_halves").unwrap();
    let from = EfficientGlobalPointerConfig {
        types: case.number("heads") as usize,
        key_size: case.number("head_size") as usize,
        ..EfficientGlobalPointerConfig::default()
    };
    let values: Vec<_> = EFFICIENT.iter().map(|(name, key)| (name.to_string(), case.input(key))).collect();
    let halves = from.convert_layout(&values, Layout::Halves).unwrap();
    for ((_, key), (_, value)) in EFFICIENT.iter().zip(&halves) {
        case.assert(key, value);
    }
    let to = EfficientGlobalPointerConfig { layout: Layout::Halves, ..from.clone() };
    let back = to.convert_layout(&halves, Layout::Interleaved).unwrap();
    for ((name, before), (_, after)) in values.iter().zip(&back) {
        assert_eq!(before.to_f64_vec(), after.to_f64_vec(), "{name}");
    }
    let input = Unpadded::new(case, DType::F64);
    for (config, values) in [(&from, &values), (&to, &halves)] {
        let (mut params, mut rng) = (Params::new(), Rng::new(0));
        let mut builder = Builder::new(&mut params, &mut rng, DType::F64);
        let head = EfficientGlobalPointer::new(&mut builder, input.hidden.shape()[1], config).unwrap();
        values.iter().for_each(|(name, value)| params.get(name).unwrap().set(value).unwrap());
        let scores = input.scores(&SpanHead::EfficientGlobalPointer(head), config.types);
        case.assert("logits", &scores);
    }
}

#[test]
fn parameter_counts_follow_the_formulas() {
    let cases = golden("efficient-globalpointer");
    let case = cases.iter().find(|c| c.name == "parameter_counts").unwrap();
    let (width, key_size) = (case.number("hidden") as usize, case.number("head_size") as usize);
    let heads = tensor_of(&case.params["heads"]).to_f64_vec();
    let count = |build: &dyn Fn(&mut Builder, usize), types: f64| {
        let (mut params, mut rng) = (Params::new(), Rng::new(0));
        build(&mut Builder::new(&mut params, &mut rng, DType::F32), types as usize);
        params.elements() as f64
    };
    let full = |builder: &mut Builder, types| {
        let config = GlobalPointerConfig { types, key_size, ..GlobalPointerConfig::default() };
        GlobalPointer::new(builder, width, &config).unwrap();
    };
    let efficient = |builder: &mut Builder, types| {
        let config = EfficientGlobalPointerConfig { types, key_size, ..Default::default() };
        EfficientGlobalPointer::new(builder, width, &config).unwrap();
    };
    let counts = |build: &dyn Fn(&mut Builder, usize)| {
        // Every type adds the same number, so 100 types need not be built.
        let per_type = count(build, 2.0) - count(build, 1.0);
        let of = |&types: &f64| count(build, types.min(10.0)) + (types - types.min(10.0)) * per_type;
        Tensor::new(heads.iter().map(of).collect::<Vec<f64>>(), &[heads.len()]).unwrap()
    };
    case.assert("globalpointer", &counts(&full));
    case.assert("efficient", &counts(&efficient));
}

#[test]
fn zlpr_rows_of_explicit_scores() {
    let cases = golden("globalpointer");
    let cases: Vec<_> = cases.iter().filter(|c| c.name.starts_with("loss_")).collect();
    assert_eq!(cases.len(), 5);
    for case in cases {
        let scores = case.input("logits").tracked();
        let losses = loss::zlpr(&scores, &case.input("labels"), Some(&case.input("valid"))).unwrap();
        case.assert("loss", &losses);
        case.assert("grad_logits", &grad(&losses.sum_all().unwrap(), &[&scores], false).unwrap()[0]);
    }
}

#[test]
fn the_reading_comprehension_loss() {
    let cases = golden("globalpointer");
    let case = cases.iter().find(|c| c.name == "reading_comprehension_expected_f1").unwrap();
    let scores = case.input("logits").tracked();
    let value =
        loss::expected_overlap(&scores, &case.input("f1"), &case.input("valid"), case.number("lambda"))
            .unwrap();
    case.assert("loss", &value);
    case.assert("grad_logits", &grad(&value, &[&scores], false).unwrap()[0]);
}

/// A head whose scores are an arbitrary `[S, n, n]` array: `hidden` is the identity, and the
/// projection of token i is the row i of the scores as its query and the unit vector i as its key.
fn head_of_scores(scores: &Tensor) -> (SpanHead, Tensor, Packed) {
    let (types, n) = (scores.shape()[0], scores.shape()[1]);
    let (mut params, mut rng) = (Params::new(), Rng::new(0));
    let config = GlobalPointerConfig { types, key_size: n, rotary: false, bias: false, ..Default::default() };
    let mut builder = Builder::new(&mut params, &mut rng, DType::F64);
    let head = GlobalPointer::new(&mut builder, n, &config).unwrap();
    let values = scores.to_f64_vec();
    let mut weight = vec![0.0; types * 2 * n * n]; // [(type, q or k, channel), token]
    for s in 0..types {
        for (i, j) in (0..n * n).map(|x| (x / n, x % n)) {
            weight[(s * 2 * n + j) * n + i] = values[(s * n + i) * n + j] * (n as f64).sqrt();
            weight[((s * 2 + 1) * n + j) * n + i] = f64::from(u8::from(i == j));
        }
    }
    let weight = Tensor::new(weight, &[types * 2 * n, n]).unwrap();
    params.get("dense.weight").unwrap().set(&weight).unwrap();
    let mut identity = vec![0.0; n * n];
    (0..n).for_each(|i| identity[i * n + i] = 1.0);
    let hidden = Tensor::new(identity, &[n, n]).unwrap();
    (SpanHead::GlobalPointer(head), hidden, Packed::from_lengths(&[n]))
}

#[test]
fn decoding_drops_special_tokens_and_resolves_ties() {
    let cases = golden("globalpointer");
    let case = cases.iter().find(|c| c.name == "decode_nested_flat_ties").unwrap();
    let (head, hidden, batch) = head_of_scores(&case.input("logits"));
    let special: Vec<bool> =
        case.input("special_tokens_mask").to_f64_vec().iter().map(|&m| m != 0.0).collect();
    let threshold = case.number("threshold");
    let found = head.decode(&mut Ctx::inference(), &hidden, &batch, &special, threshold).unwrap().remove(0);
    let rows = |spans: &[ScoredSpan]| {
        let row = |s: &ScoredSpan| [s.span.kind as f64, s.span.start as f64, s.span.end as f64];
        Tensor::new(spans.iter().flat_map(row).collect::<Vec<f64>>(), &[spans.len(), 3]).unwrap()
    };
    case.assert("spans", &rows(&found));
    case.assert("spans_flat", &rows(&flat(&found)));
}

#[test]
fn a_span_that_is_no_candidate_is_an_error() {
    let (head, hidden, batch) = head_of_scores(&Tensor::zeros(&[1, 4, 4], DType::F64));
    let wrong = vec![vec![Span { kind: 0, start: 2, end: 1 }]];
    let error = head.loss(&mut Ctx::inference(), &hidden, &batch, &wrong).unwrap_err().to_string();
    assert!(error.contains("not among the candidates"), "{error}");
    assert!(!head.is_candidate(&wrong[0][0], 4) && head.is_candidate(&Span { kind: 0, start: 1, end: 3 }, 4));
    assert!(head.decode(&mut Ctx::inference(), &hidden, &batch, &[false; 3], 0.0).is_err());
}
