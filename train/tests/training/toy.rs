//! The toy task: on which side of a plane does a point lie?

use std::cell::RefCell;
use std::path::Path;

use bert4rs_nn::block::Linear;
use bert4rs_nn::{Builder, Ctx, Init};
use bert4rs_tensor::op::cross_entropy::cross_entropy;
use bert4rs_tensor::{DType, Params, Rng, Tensor, io};
use bert4rs_train::{BoxedError, Objective, Score, TrainConfig};

pub const WIDTH: usize = 4;

#[derive(Clone)]
pub struct Point {
    pub at: Vec<f64>,
    pub side: i64,
    pub tokens: usize,
}

pub struct Toy {
    pub params: Params,
    encoder: Linear,
    head: Linear,
    dropout: f64,
    dtype: DType,
    test: Vec<Point>,
    /// Scores to answer with instead of the real ones.
    pub script: RefCell<Vec<f64>>,
    /// The parameters at each evaluation.
    pub evaluated: RefCell<Vec<Vec<f64>>>,
    /// Called in the middle of a save.
    pub during_save: RefCell<Box<dyn FnMut()>>,
}

pub fn points(n: usize, seed: u64) -> Vec<Point> {
    let mut rng = Rng::new(seed);
    let point = |i: usize| {
        let at: Vec<f64> = (0..WIDTH).map(|_| rng.normal()).collect();
        let side = i64::from(at[0] - 0.5 * at[1] + 0.25 * at[2] > 0.0);
        Point { at, side, tokens: 1 + i % 5 }
    };
    (0..n).map(point).collect()
}

impl Toy {
    pub fn new(dtype: DType, hidden: usize, dropout: f64) -> Self {
        let (mut params, mut rng) = (Params::new(), Rng::new(11));
        let mut root = Builder::new(&mut params, &mut rng, dtype);
        let init = Init::Normal { deviation: 0.3 };
        let encoder = Linear::new(&mut root.at("encoder"), WIDTH, hidden, true, init).unwrap();
        let head = Linear::new(&mut root.at("head"), hidden, 2, true, init).unwrap();
        let test = points(64, 99);
        let (script, evaluated) = (RefCell::default(), RefCell::default());
        let during_save = RefCell::new(Box::new(|| ()) as Box<dyn FnMut()>);
        Toy { params, encoder, head, dropout, dtype, test, script, evaluated, during_save }
    }

    pub fn weights(&self) -> Vec<f64> {
        self.params.iter().flat_map(|p| p.value().to_f64_vec()).collect()
    }

    pub fn value(&self, name: &str) -> Vec<f64> {
        self.params.get(name).unwrap().value().to_f64_vec()
    }

    fn logits(&self, ctx: &mut Ctx, batch: &[&Point]) -> Tensor {
        let at: Vec<f64> = batch.iter().flat_map(|p| p.at.clone()).collect();
        let x = Tensor::new(at, &[batch.len(), WIDTH]).unwrap().cast(self.dtype).unwrap();
        let hidden = self.encoder.forward(ctx, &x).unwrap().tanh().unwrap(); // [N, D]
        let hidden = ctx.dropout(&hidden, self.dropout).unwrap();
        self.head.forward(ctx, &hidden).unwrap() // [N, 2]
    }
}

impl Objective for Toy {
    type Example = Point;
    type Error = BoxedError;

    fn params(&self) -> &Params {
        &self.params
    }

    fn tokens(&self, point: &Point) -> usize {
        point.tokens
    }

    fn loss(&self, ctx: &mut Ctx, batch: &[&Point]) -> Result<Tensor, BoxedError> {
        let sides: Vec<i64> = batch.iter().map(|p| p.side).collect();
        Ok(cross_entropy(&self.logits(ctx, batch), &sides, 0.0)?.mean_all()?)
    }

    fn evaluate(&self) -> Result<Score, BoxedError> {
        self.evaluated.borrow_mut().push(self.weights());
        let test: Vec<&Point> = self.test.iter().collect();
        let logits = self.logits(&mut Ctx::inference(), &test).to_f64_vec();
        let right = test.iter().zip(logits.chunks(2)).filter(|(p, l)| (l[1] > l[0]) == (p.side == 1));
        let accuracy = right.count() as f64 / test.len() as f64;
        let mut script = self.script.borrow_mut();
        let main = if script.is_empty() { accuracy } else { script.remove(0) };
        Ok(Score { main, name: "accuracy".into(), details: serde_json::json!({ "texts": test.len() }) })
    }

    fn save(&self, dir: &Path) -> Result<(), BoxedError> {
        std::fs::write(dir.join("config.json"), "{}")?;
        (self.during_save.borrow_mut())();
        Ok(io::safetensors::save(&dir.join("model.safetensors"), &self.params.values())?)
    }

    fn fingerprint(&self) -> String {
        "two sides".into()
    }
}

/// The weights in a saved model folder, in the order of [`Toy::weights`].
pub fn saved(toy: &Toy, dir: &Path) -> Vec<f64> {
    let file = io::safetensors::WeightFile::open(&dir.join("model.safetensors")).unwrap();
    toy.params.iter().flat_map(|p| file.tensor(p.name(), DType::F64).unwrap().to_f64_vec()).collect()
}

/// Settings under which the toy learns.
pub fn quick() -> TrainConfig {
    TrainConfig { epochs: 2, batch_tokens: 24, lr: 0.02, ..Default::default() }
}

/// The lines of `log.jsonl` of an event.
pub fn log(run_dir: &Path, event: &str) -> Vec<serde_json::Value> {
    let text = std::fs::read_to_string(run_dir.join("log.jsonl")).unwrap();
    let lines = text.lines().map(|l| serde_json::from_str::<serde_json::Value>(l).unwrap());
    lines.filter(|l| l["event"] == event).collect()
}

/// A folder that vanishes after the test; in memory where there is such a place, because every
/// checkpoint waits for the disk.
pub fn run_folder() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}
