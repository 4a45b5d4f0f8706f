//! From token ids to the vectors of texts: encoder, layers that are read, pooling, dense, length 1.

use bert4rs_nn::block::pooling::{Pooling, normalize, pool};
use bert4rs_nn::encoder::{Encoder, EncoderInput, Precision};
use bert4rs_nn::{Ctx, Error as NnError};
use bert4rs_tensor::op::activation::Activation;
use bert4rs_tensor::op::linear::{After, linear};
use bert4rs_tensor::op::prepared::PreparedMatrix;
use bert4rs_tensor::{Packed, Parameter, ParameterKind, Params, Tensor};
use bert4rs_text::Encoding;

use super::recipe::{Recipe, Step};
use crate::Result;

/// The parts with parameters; shared with what runs again in a backward pass.
pub(super) struct Network {
    encoder: Encoder,
    /// Weights of the embedding and of every layer, whose mean is read; none for the last alone.
    layers: Option<Vec<f64>>,
    modules: Vec<Module>,
    pub(super) width: usize,
}

/// One step from hidden states to the vector of a text; the first is the pooling.
enum Module {
    /// Several poolings stand side by side.
    Pooling(Vec<Pooling>),
    Dense(Dense),
    Normalize,
}

/// `f(x W^T + b)`
struct Dense {
    weight: Weight,
    bias: Option<Parameter>,
    activation: Option<Activation>,
}

enum Weight {
    Trained(Parameter),
    Prepared(PreparedMatrix),
}

/// The names of parameters of dense steps begin so; those of the encoder do not.
pub(super) const DENSE: &str = "dense_step.";

impl Network {
    /// Adds the dense steps' parameters to the encoder's.
    pub(super) fn new(encoder: Encoder, recipe: &Recipe, params: &mut Params) -> Result<Self> {
        let mut width = encoder.output_size();
        let mut modules = Vec::with_capacity(recipe.steps.len());
        for (i, step) in recipe.steps.iter().enumerate() {
            modules.push(match step {
                Step::Pooling(hows) => {
                    width *= hows.len();
                    Module::Pooling(hows.clone())
                }
                Step::Dense(dense) => {
                    width = dense.weight.shape()[0];
                    let mut add =
                        |name: &str, value, kind| params.add(&format!("{DENSE}{i}.{name}"), value, kind);
                    let weight = add("weight", &dense.weight, ParameterKind::Matrix)?;
                    let bias =
                        dense.bias.as_ref().map(|bias| add("bias", bias, ParameterKind::Bias)).transpose()?;
                    Module::Dense(Dense {
                        weight: Weight::Trained(weight),
                        bias,
                        activation: dense.activation,
                    })
                }
                Step::Normalize => Module::Normalize,
            });
        }
        Ok(Self { encoder, layers: recipe.layers.clone(), modules, width })
    }

    pub(super) fn prepare(&mut self, precision: Precision) -> Result<()> {
        self.encoder.prepare(precision)?;
        for module in &mut self.modules {
            match module {
                Module::Dense(dense) => dense.prepare(precision)?,
                Module::Pooling(_) | Module::Normalize => {}
            }
        }
        Ok(())
    }

    /// `[B, width]`
    pub(super) fn forward(&self, ctx: &mut Ctx, texts: &[&Encoding]) -> Result<Tensor> {
        let batch = Packed::from_lengths(&texts.iter().map(|t| t.len()).collect::<Vec<_>>());
        let widen = |ids: fn(&Encoding) -> &[u32]| -> Vec<usize> {
            texts.iter().flat_map(|t| ids(t)).map(|&id| id as usize).collect()
        };
        let (ids, segments) = (widen(|t| &t.ids), widen(|t| &t.type_ids));
        let input = EncoderInput { ids: &ids, segments: Some(&segments), batch: &batch };
        let mut x = self.hidden(ctx, input)?; // [T, D]
        for module in &self.modules {
            x = match module {
                Module::Pooling(hows) => {
                    let parts = hows.iter().map(|&how| pool(&x, &batch, how));
                    let parts = parts.collect::<std::result::Result<Vec<_>, NnError>>()?;
                    Tensor::concat(&parts.iter().collect::<Vec<_>>(), 1)?
                }
                Module::Dense(dense) => dense.forward(ctx, &x)?,
                Module::Normalize => normalize(&x)?,
            };
        }
        Ok(x)
    }

    fn hidden(&self, ctx: &mut Ctx, input: EncoderInput) -> Result<Tensor> {
        let Some(weights) = &self.layers else {
            return Ok(self.encoder.forward(ctx, input, &self.encoder.mask())?);
        };
        let all = self.encoder.forward_all(ctx, input, &self.encoder.mask())?;
        let total: f64 = weights.iter().sum();
        let mut sum: Option<Tensor> = None;
        for (x, weight) in all.iter().zip(weights).filter(|(_, weight)| **weight != 0.0) {
            let part = x.mul_scalar(weight / total)?;
            sum = Some(match sum {
                Some(sum) => sum.add(&part)?,
                None => part,
            });
        }
        sum.ok_or_else(|| NnError::Config("the weights of all layers are 0".into()).into())
    }
}

impl Dense {
    fn prepare(&mut self, precision: Precision) -> Result<()> {
        if let Weight::Trained(weight) = &self.weight {
            self.weight = Weight::Prepared(PreparedMatrix::new(&weight.value(), precision.weights())?);
        }
        Ok(())
    }

    fn forward(&self, ctx: &Ctx, x: &Tensor) -> Result<Tensor> {
        let bias = self.bias.as_ref().map(|bias| ctx.value(bias));
        let after = After { bias: bias.as_ref(), activation: self.activation, residual: None };
        Ok(match &self.weight {
            Weight::Trained(weight) => linear(x, &ctx.value(weight), after)?,
            Weight::Prepared(matrix) => matrix.linear(x, after)?,
        })
    }
}
