//! Long short-term memory over a packed batch, in one or both directions.
//! Definition:  i, f, o = sigmoid, g = tanh of x W + h U + b;  c' = f c + i g;  h' = o tanh(c')
//! Shapes:      x [T, K] -> [T, D], D / 2 per direction when bidirectional
//! Numerics:    the forget gate's bias starts at 1, so that memory is kept at first
//! Reference:   Hochreiter, Schmidhuber, 1997; Jozefowicz et al., 2015 for the bias.

use bert4rs_tensor::op::lstm::lstm;
use bert4rs_tensor::op::prepared::WeightPrecision;
use bert4rs_tensor::{Parameter, ParameterKind, Tensor};

use super::{CellKind, Linear, Recurrence, Sight, Surroundings};
use crate::{Builder, Ctx, Init, Result};

/// One layer of one or two directions.
#[derive(Clone)]
pub struct Lstm {
    directions: Vec<Direction>,
}

#[derive(Clone)]
struct Direction {
    input: Linear,
    recurrent: Parameter,
    reverse: bool,
}

impl Lstm {
    /// Parameters of each direction: `input.weight [4H, inputs]`, `input.bias [4H]` and
    /// `recurrent.weight [4H, H]`, gates in the order input, forget, cell, output.
    pub fn new(
        builder: &mut Builder,
        inputs: usize,
        outputs: usize,
        bidirectional: bool,
        bias: bool,
        init: Init,
    ) -> Result<Self> {
        let names: &[&str] = if bidirectional { &["forward", "backward"] } else { &["forward"] };
        let hidden = outputs / names.len();
        let mut directions = Vec::new();
        for (i, name) in names.iter().enumerate() {
            let mut part = builder.at(name);
            let input = Linear::new(&mut part.at("input"), inputs, 4 * hidden, bias, init)?;
            if let Some(bias) = input.bias() {
                let start = (0..4 * hidden).map(|j| f64::from(u8::from(j / hidden.max(1) == 1))).collect();
                bias.set(&Tensor::new::<f64>(start, &[4 * hidden])?.cast(part.dtype())?)?;
            }
            let recurrent = part.at("recurrent").parameter(
                "weight",
                &[4 * hidden, hidden],
                ParameterKind::Matrix,
                Init::Orthogonal,
            )?;
            directions.push(Direction { input, recurrent, reverse: i == 1 });
        }
        Ok(Self { directions })
    }

    /// Arranges the products with the input for inference; the recurrent ones stay as they are.
    pub fn prepare(&mut self, precision: WeightPrecision) -> Result<()> {
        self.directions.iter_mut().try_for_each(|direction| direction.input.prepare(precision))
    }

    /// The hidden states of every token; both directions side by side.
    pub fn forward(&self, ctx: &Ctx, x: &Tensor, around: &Surroundings) -> Result<Tensor> {
        let mut outputs = Vec::with_capacity(self.directions.len());
        for direction in &self.directions {
            let gates = direction.input.forward(ctx, x)?; // [T, 4H]
            let recurrent = ctx.value(&direction.recurrent);
            let hidden = lstm(&gates, &recurrent, around.batch, direction.reverse)?;
            if let Some(watch) = around.watch {
                let (gates, recurrent, hidden) = (&gates, &recurrent, &hidden);
                let (cell, bias, reverse) = (CellKind::Lstm, None, direction.reverse);
                watch(Sight::Recurrence(Recurrence { cell, gates, recurrent, bias, hidden, reverse }))?;
            }
            outputs.push(hidden);
        }
        Ok(Tensor::concat(&outputs.iter().collect::<Vec<_>>(), -1)?) // [T, D]
    }
}
