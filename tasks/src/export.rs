//! An encoder as an ONNX file, for programs that run those.
//!
//! Input:    `input_ids`, `attention_mask` (1 for tokens, 0 for padding) and, with segments,
//!           `token_type_ids`, all int64 `[batch, length]`; output `last_hidden_state`
//!           `[batch, length, D]` in f32
//! Exported: encoders of BERT's type: attention, learned positions, layer norms after each part, dense
//!           feed-forward parts; anything else is refused by name. Operators of set 17
//! Cost:     the whole file in memory, twice; at most 2 GiB, the limit of the format

mod message;

use std::path::Path;

use bert4rs_nn::encoder::{
    Activation, AttentionConfig, EmbeddingConfig, EncoderConfig, FeedForward, Mixer, Norm, Position, bert,
    huggingface,
};
use bert4rs_nn::weights::Checkpoint;
use bert4rs_tensor::DType;
use bert4rs_tensor::io::safetensors::write_atomic;
use bert4rs_tensor::io::{ElementType, Stored};

use self::message::Attribute::{Float, Int, Ints};
use self::message::{Attribute, FLOAT, INT64, Message, node, tensor, value};
use crate::{Error, Result};

const OPERATORS: i64 = 17;
/// What masked scores get: finite, so that a text of padding alone gives no NaN.
const MASKED: f32 = f32::MIN;

/// Writes the encoder of a model folder to `file`; the number of its operations.
pub fn export(folder: &Path, file: &Path) -> Result<usize> {
    let config = huggingface::read_config(folder)?;
    let shape = Shape::of(&config).map_err(|what| {
        let message = format!("cannot be exported: {what}; encoders of BERT's type can");
        Error::model(folder, message)
    })?;
    let checkpoint = Checkpoint::open(folder)?;
    let mut graph = Graph { checkpoint, nodes: Vec::new(), weights: Vec::new() };
    let output = shape.encoder(&mut graph)?;
    let axes = [Err("batch"), Err("length")];
    let mut inputs = vec!["input_ids", "attention_mask"];
    if shape.segments {
        inputs.push("token_type_ids");
    }
    let mut whole = Message::default();
    whole = graph.nodes.iter().fold(whole, |whole, node| whole.message(1, node)).text(2, "encoder");
    whole = graph.weights.iter().fold(whole, |whole, tensor| whole.message(5, tensor));
    whole = inputs.iter().fold(whole, |whole, name| whole.message(11, &value(name, INT64, &axes)));
    whole = whole.message(12, &value(&output, FLOAT, &[axes[0], axes[1], Ok(config.hidden_size as i64)]));
    let operators = Message::default().text(1, "").number(2, OPERATORS);
    let model = Message::default().number(1, 8).text(2, "bert4rs").message(7, &whole).message(8, &operators);
    let bytes = model.into_bytes();
    if i32::try_from(bytes.len()).is_err() {
        return Err(Error::model(folder, "is larger than 2 GiB, the most that an ONNX file can hold"));
    }
    write_atomic(file, &bytes)?;
    Ok(graph.nodes.len())
}

/// What the graph of an encoder depends on.
struct Shape {
    layers: usize,
    heads: usize,
    eps: f32,
    activation: Activation,
    segments: bool,
    projected: bool,
}

impl Shape {
    fn of(config: &EncoderConfig) -> std::result::Result<Self, String> {
        let (Mixer::Attention(attention), Position::Learned { first: 0, .. }) =
            (&config.mixer, &config.position)
        else {
            return Err("it has no attention, or no learned positions from row 0".into());
        };
        let FeedForward::Dense { size, activation } = config.feed_forward else {
            return Err("its feed-forward part is not dense".into());
        };
        let Norm::Layer { eps, gain: true } = config.norm else {
            return Err("its norm is no layer norm with a gain".into());
        };
        // What else a config may say has to be what BERT says: axes of today and of later.
        let known = EncoderConfig {
            vocab_size: config.vocab_size,
            hidden_size: config.hidden_size,
            layers: config.layers,
            dropout: config.dropout,
            dropout_mask: config.dropout_mask,
            norm: config.norm,
            init: config.init,
            embedding: EmbeddingConfig {
                size: config.embedding.size,
                segments: config.embedding.segments,
                dropout: config.embedding.dropout,
                token_dropout: config.embedding.token_dropout,
                unk_id: config.embedding.unk_id,
                ..EmbeddingConfig::default()
            },
            position: config.position.clone(),
            mixer: Mixer::Attention(AttentionConfig::plain(attention.heads, attention.dropout)),
            feed_forward: FeedForward::Dense { size, activation },
            ..bert()
        };
        if known != *config {
            return Err("its config says what no BERT has (bias, wiring, embedding, …)".into());
        }
        let projected = config.embedding_size() != config.hidden_size;
        let (heads, segments) = (attention.heads, config.embedding.segments > 0);
        let layers = config.layers;
        Ok(Self { layers, heads, eps: eps as f32, activation, segments, projected })
    }

    fn encoder(&self, graph: &mut Graph) -> Result<String> {
        let mut x = self.embeddings(graph)?;
        graph.node("Cast", &["attention_mask"], "mask.float", &[Int("to", FLOAT)]);
        graph.numbers("one", &[], &[1.0])?;
        graph.numbers("masked", &[], &[MASKED])?;
        graph.node("Sub", &["one", "mask.float"], "mask.padding", &[]);
        graph.node("Mul", &["mask.padding", "masked"], "mask.scores", &[]);
        graph.integers("mask.axes", &[1, 2]);
        graph.node("Unsqueeze", &["mask.scores", "mask.axes"], "mask", &[]);
        for layer in 0..self.layers {
            x = self.layer(graph, &x, &format!("encoder.layer.{layer}"))?;
        }
        graph.node("Identity", &[&x], "last_hidden_state", &[]);
        Ok("last_hidden_state".into())
    }

    fn embeddings(&self, graph: &mut Graph) -> Result<String> {
        let table = |graph: &mut Graph, name: &str| graph.weight(&format!("embeddings.{name}.weight"), false);
        let words = table(graph, "word_embeddings")?;
        graph.node("Gather", &[&words, "input_ids"], "words", &[]);
        let positions = table(graph, "position_embeddings")?;
        graph.integers("zero", &[0]);
        graph.integers("axis.length", &[1]);
        graph.node("Shape", &["input_ids"], "shape", &[]);
        graph.node("Gather", &["shape", "axis.length"], "length", &[]);
        graph.node("Slice", &[&positions, "zero", "length", "zero"], "positions", &[]);
        graph.node("Add", &["words", "positions"], "embeddings.sum", &[]);
        let mut sum = "embeddings.sum";
        if self.segments {
            let segments = table(graph, "token_type_embeddings")?;
            graph.node("Gather", &[&segments, "token_type_ids"], "segments", &[]);
            graph.node("Add", &[sum, "segments"], "embeddings.all", &[]);
            sum = "embeddings.all";
        }
        let normed = self.norm(graph, sum, "embeddings.LayerNorm")?;
        if self.projected { graph.linear(&normed, "embeddings_project") } else { Ok(normed) }
    }

    fn layer(&self, graph: &mut Graph, x: &str, at: &str) -> Result<String> {
        let part = |name: &str| format!("{at}.{name}");
        let mixed = self.attention(graph, x, at)?;
        let sum = part("attention.sum");
        graph.node("Add", &[x, &mixed], &sum, &[]);
        let x = self.norm(graph, &sum, &part("attention.output.LayerNorm"))?;
        let wide = graph.linear(&x, &part("intermediate.dense"))?;
        let wide = self.activate(graph, &wide)?;
        let out = graph.linear(&wide, &part("output.dense"))?;
        let sum = part("output.sum");
        graph.node("Add", &[&x, &out], &sum, &[]);
        self.norm(graph, &sum, &part("output.LayerNorm"))
    }

    fn attention(&self, graph: &mut Graph, x: &str, at: &str) -> Result<String> {
        let part = |name: &str| format!("{at}.attention.{name}");
        let mut split = |name: &str, order: &[i64]| -> Result<String> {
            let rows = graph.linear(x, &part(&format!("self.{name}")))?;
            let inner = graph.outputs(&part(&format!("self.{name}")))?;
            let (heads, split) = (part(&format!("{name}.heads")), part(&format!("{name}.split")));
            graph.integers(
                &part(&format!("{name}.shape")),
                &[0, 0, self.heads as i64, (inner / self.heads) as i64],
            );
            graph.node("Reshape", &[&rows, &part(&format!("{name}.shape"))], &split, &[]);
            graph.node("Transpose", &[&split], &heads, &[Ints("perm", order)]);
            Ok(heads)
        };
        let (q, k, v) =
            (split("query", &[0, 2, 1, 3])?, split("key", &[0, 2, 3, 1])?, split("value", &[0, 2, 1, 3])?);
        let inner = graph.outputs(&part("self.query"))?;
        let name = ["product", "scaled", "scores", "probabilities", "gathered", "turned", "joined"].map(part);
        let [product, scaled, scores, probabilities, gathered, turned, joined] = &name;
        graph.node("MatMul", &[&q, &k], product, &[]);
        graph.numbers(&part("scale"), &[], &[1.0 / ((inner / self.heads) as f32).sqrt()])?;
        graph.node("Mul", &[product, &part("scale")], scaled, &[]);
        graph.node("Add", &[scaled, "mask"], scores, &[]);
        graph.node("Softmax", &[scores], probabilities, &[Int("axis", -1)]);
        graph.node("MatMul", &[probabilities, &v], gathered, &[]);
        graph.node("Transpose", &[gathered], turned, &[Ints("perm", &[0, 2, 1, 3])]);
        graph.integers(&part("joined.shape"), &[0, 0, inner as i64]);
        graph.node("Reshape", &[turned, &part("joined.shape")], joined, &[]);
        graph.linear(joined, &part("output.dense"))
    }

    fn norm(&self, graph: &mut Graph, x: &str, at: &str) -> Result<String> {
        let gain = graph.weight(&format!("{at}.weight"), false)?;
        let shift = graph.weight(&format!("{at}.bias"), false)?;
        let how = [Int("axis", -1), Float("epsilon", self.eps)];
        graph.node("LayerNormalization", &[x, &gain, &shift], at, &how);
        Ok(at.to_string())
    }

    fn activate(&self, graph: &mut Graph, x: &str) -> Result<String> {
        let out = format!("{x}.activated");
        let name = |part: &str| format!("{x}.{part}");
        match self.activation {
            Activation::Relu => graph.node("Relu", &[x], &out, &[]),
            Activation::ReluSquared => {
                graph.node("Relu", &[x], &name("relu"), &[]);
                graph.node("Mul", &[&name("relu"), &name("relu")], &out, &[]);
            }
            Activation::Tanh => graph.node("Tanh", &[x], &out, &[]),
            Activation::Sigmoid => graph.node("Sigmoid", &[x], &out, &[]),
            Activation::Silu => {
                graph.node("Sigmoid", &[x], &name("gate"), &[]);
                graph.node("Mul", &[x, &name("gate")], &out, &[]);
            }
            // x (1 + erf(x / sqrt 2)) / 2
            Activation::Gelu => {
                graph.numbers(&name("factor"), &[], &[std::f32::consts::FRAC_1_SQRT_2])?;
                graph.node("Mul", &[x, &name("factor")], &name("scaled"), &[]);
                graph.node("Erf", &[&name("scaled")], &name("erf"), &[]);
                graph.half_of_one_plus(x, &name("erf"), &out)?;
            }
            // x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) / 2
            Activation::GeluTanh => {
                graph.numbers(&name("cubic"), &[], &[0.044_715])?;
                graph.numbers(&name("factor"), &[], &[(2.0 / std::f32::consts::PI).sqrt()])?;
                graph.node("Mul", &[x, x], &name("square"), &[]);
                graph.node("Mul", &[&name("square"), &name("cubic")], &name("small"), &[]);
                graph.node("Add", &[&name("small"), "one"], &name("sum"), &[]);
                graph.node("Mul", &[x, &name("sum")], &name("inside"), &[]);
                graph.node("Mul", &[&name("inside"), &name("factor")], &name("scaled"), &[]);
                graph.node("Tanh", &[&name("scaled")], &name("tanh"), &[]);
                graph.half_of_one_plus(x, &name("tanh"), &out)?;
            }
        }
        Ok(out)
    }
}

struct Graph {
    checkpoint: Checkpoint,
    nodes: Vec<Message>,
    weights: Vec<Message>,
}

impl Graph {
    fn node(&mut self, op: &str, inputs: &[&str], output: &str, attributes: &[Attribute]) {
        self.nodes.push(node(op, inputs, output, attributes));
    }

    /// A parameter of the checkpoint, its axes exchanged if asked to.
    fn weight(&mut self, name: &str, turned: bool) -> Result<String> {
        let value = self.checkpoint.tensor(name, DType::F32)?;
        let stored = Stored::of(&value);
        let stored = if turned { stored.transposed()? } else { stored };
        self.weights.push(tensor(name, FLOAT, stored.shape(), stored.bytes()));
        Ok(name.to_string())
    }

    fn numbers(&mut self, name: &str, shape: &[usize], values: &[f32]) -> Result<()> {
        let values: Vec<f64> = values.iter().map(|v| f64::from(*v)).collect();
        let stored = Stored::from_f64(ElementType::F32, shape.to_vec(), &values)?;
        self.weights.push(tensor(name, FLOAT, shape, stored.bytes()));
        Ok(())
    }

    fn integers(&mut self, name: &str, values: &[i64]) {
        let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.weights.push(tensor(name, INT64, &[values.len()], &bytes));
    }

    /// `x W^T + b`
    fn linear(&mut self, x: &str, at: &str) -> Result<String> {
        let (product, weight) = (format!("{at}.product"), self.weight(&format!("{at}.weight"), true)?);
        self.node("MatMul", &[x, &weight], &product, &[]);
        let bias = self.weight(&format!("{at}.bias"), false)?;
        self.node("Add", &[&product, &bias], at, &[]);
        Ok(at.to_string())
    }

    /// How many numbers a linear layer puts out.
    fn outputs(&self, at: &str) -> Result<usize> {
        let shape = self.checkpoint.shape(&format!("{at}.weight")).unwrap_or_default();
        shape.first().copied().ok_or_else(|| Error::Config(format!("{at}.weight is missing")))
    }

    /// `x (1 + y) / 2`
    fn half_of_one_plus(&mut self, x: &str, y: &str, out: &str) -> Result<()> {
        let (sum, twice, half) = (format!("{out}.sum"), format!("{out}.twice"), format!("{out}.half"));
        self.numbers(&half, &[], &[0.5])?;
        self.node("Add", &[y, "one"], &sum, &[]);
        self.node("Mul", &[x, &sum], &twice, &[]);
        self.node("Mul", &[&twice, &half], out, &[]);
        Ok(())
    }
}
