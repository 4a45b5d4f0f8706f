//! Gated recurrent unit over a packed batch, in one or both directions.
//! Definition:  z, r = sigmoid of x W + h U + b; g = tanh(x W_g + b_g + r (h U_g + c));
//!              h' = (1 - z) h + z g
//! Shapes:      x [T, K] -> [T, D], D / 2 per direction when bidirectional
//! Reference:   Cho et al., 2014, the reset after the product as in cuDNN and PyTorch (which call z
//!              what is 1 - z here).                     Vectors: rnn-gradient-analysis.json

use bert4rs_tensor::op::gru::gru;
use bert4rs_tensor::op::prepared::WeightPrecision;
use bert4rs_tensor::{Parameter, ParameterKind, Tensor};

use super::{CellKind, Linear, Recurrence, Sight, Surroundings};
use crate::{Builder, Ctx, Init, Result};

/// One layer of one or two directions.
#[derive(Clone)]
pub struct Gru {
    directions: Vec<Direction>,
}

#[derive(Clone)]
struct Direction {
    input: Linear,
    recurrent: Parameter,
    bias: Parameter,
    reverse: bool,
}

impl Gru {
    /// Parameters of each direction: `input.weight [3H, inputs]`, `input.bias [3H]`, `recurrent.weight`
    /// `[3H, H]` and `recurrent.bias [H]`, gates in the order update, reset, candidate.
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
        let direction = |(i, name): (usize, &&str)| {
            let mut part = builder.at(name);
            let input = Linear::new(&mut part.at("input"), inputs, 3 * hidden, bias, init)?;
            let mut at = part.at("recurrent");
            let shape = [3 * hidden, hidden];
            let recurrent = at.parameter("weight", &shape, ParameterKind::Matrix, Init::Orthogonal)?;
            let bias = at.parameter("bias", &[hidden], ParameterKind::Bias, Init::Zeros)?;
            Ok(Direction { input, recurrent, bias, reverse: i == 1 })
        };
        Ok(Self { directions: names.iter().enumerate().map(direction).collect::<Result<_>>()? })
    }

    /// Arranges the products with the input for inference; the recurrent ones stay as they are.
    pub fn prepare(&mut self, precision: WeightPrecision) -> Result<()> {
        self.directions.iter_mut().try_for_each(|direction| direction.input.prepare(precision))
    }

    /// The hidden states of every token; both directions side by side.
    pub fn forward(&self, ctx: &Ctx, x: &Tensor, around: &Surroundings) -> Result<Tensor> {
        let mut outputs = Vec::with_capacity(self.directions.len());
        for Direction { input, recurrent, bias, reverse } in &self.directions {
            let gates = input.forward(ctx, x)?; // [T, 3H]
            let (recurrent, bias) = (ctx.value(recurrent), ctx.value(bias));
            let hidden = gru(&gates, &recurrent, &bias, around.batch, *reverse)?;
            if let Some(watch) = around.watch {
                let (gates, recurrent, bias, hidden) = (&gates, &recurrent, Some(&bias), &hidden);
                let (cell, reverse) = (CellKind::Gru, *reverse);
                watch(Sight::Recurrence(Recurrence { cell, gates, recurrent, bias, hidden, reverse }))?;
            }
            outputs.push(hidden);
        }
        Ok(Tensor::concat(&outputs.iter().collect::<Vec<_>>(), -1)?) // [T, D]
    }
}
