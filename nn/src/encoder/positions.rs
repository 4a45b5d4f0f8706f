//! What an encoder knows of positions besides its embedding: made once, given to every layer.

use std::cell::RefCell;

use bert4rs_tensor::op::attention::Mask;
use bert4rs_tensor::{DType, Packed, Parameter, ParameterKind, Tensor};

use super::config::EncoderConfig;
use super::parts::Position;
use super::weight_init::Role;
use crate::block::attention::{DistanceBuckets, Relative, RelativeKeys, alibi_bias};
use crate::block::position::{Rerope, Rotary, Scaling, inverse_frequencies};
use crate::block::{Norm, Surroundings};
use crate::{Builder, Ctx, Result};

pub(crate) struct Positions {
    kind: Kind,
    dtype: DType,
}

enum Kind {
    /// None, or in the embedding.
    Outside,
    Rotary {
        everywhere: Box<Rotary>,
        local: Option<Box<Rotary>>,
    },
    Rerope(Rerope),
    Keys(RelativeKeys),
    Buckets(DistanceBuckets),
    Alibi {
        heads: usize,
    },
    Disentangled {
        table: Parameter,
        norm: Norm,
        buckets: usize,
        longest: usize,
    },
}

impl Positions {
    /// `relative_attention_bias` of T5, `rel_embeddings` and `LayerNorm` of DeBERTa; the others have no
    /// parameters.
    pub(super) fn new(builder: &mut Builder, config: &EncoderConfig) -> Result<Self> {
        let dtype = builder.dtype();
        let attention = config.attention();
        let heads = attention.map_or(1, |attention| attention.heads);
        let kind = match &config.position {
            Position::None | Position::Learned { .. } | Position::Sinusoidal => Kind::Outside,
            Position::Rotary { theta, layout, scaling, log_n, .. } => {
                let size = config.rotary_size().unwrap_or(0);
                let rotary = |theta| Rotary::scaled(size, theta, scaling, (*layout).into(), *log_n);
                let local = attention.and_then(|attention| attention.local?.theta);
                if let &Scaling::Rerope { window, slope } = scaling {
                    let frequencies = inverse_frequencies(size, *theta, scaling, 0)?;
                    Kind::Rerope(Rerope { frequencies, layout: (*layout).into(), window, slope })
                } else {
                    Kind::Rotary {
                        everywhere: rotary(*theta)?.into(),
                        local: local.map(rotary).transpose()?.map(Box::new),
                    }
                }
            }
            Position::RelativeKeys { max_distance } => {
                Kind::Keys(RelativeKeys::new(*max_distance, config.key_size().unwrap_or(0), dtype)?)
            }
            &Position::Buckets { buckets, max_distance, both_ways } => Kind::Buckets(DistanceBuckets::new(
                builder,
                (buckets, max_distance),
                heads,
                both_ways,
                config.init_of(Role::Other),
            )?),
            &Position::Disentangled { buckets, max_positions } => {
                let (rows, width) = (2 * buckets, config.hidden_size);
                let init = config.init.table(config.layers);
                let mut place = builder.at("rel_embeddings");
                let table = place.parameter("weight", &[rows, width], ParameterKind::Embedding, init)?;
                let norm = Norm::new(&mut builder.at("LayerNorm"), width, config.norm, config.bias)?;
                Kind::Disentangled { table, norm, buckets, longest: max_positions }
            }
            Position::Alibi => Kind::Alibi { heads },
        };
        Ok(Self { kind, dtype })
    }

    /// What the layers of one pass share.
    pub(crate) fn around<'a>(
        &self,
        ctx: &Ctx,
        batch: &'a Packed,
        mask: &'a Mask,
    ) -> Result<Surroundings<'a>> {
        self.around_up_to(ctx, batch, mask, batch.longest())
    }

    /// The same for distances below `longest`, where texts are continued; only positions that depend on
    /// nothing but distances can be.
    pub(crate) fn around_up_to<'a>(
        &self,
        ctx: &Ctx,
        batch: &'a Packed,
        mask: &'a Mask,
        longest: usize,
    ) -> Result<Surroundings<'a>> {
        let plain = Surroundings::plain(batch, mask);
        Ok(match &self.kind {
            Kind::Outside => plain,
            Kind::Rotary { everywhere, local } => Surroundings {
                rotation: Some(everywhere.of(batch, self.dtype)?),
                local_rotation: local.as_ref().map(|local| local.of(batch, self.dtype)).transpose()?,
                ..plain
            },
            Kind::Rerope(rerope) => {
                Surroundings { relative: Some(Relative::Rerope(rerope.clone())), ..plain }
            }
            Kind::Keys(keys) => Surroundings { relative: Some(Relative::Keys(keys.clone())), ..plain },
            Kind::Buckets(buckets) => Surroundings { bias: Some(buckets.bias(ctx, longest)?), ..plain },
            Kind::Alibi { heads } => {
                Surroundings { bias: Some(alibi_bias(*heads, longest, self.dtype)?), ..plain }
            }
            &Kind::Disentangled { ref table, ref norm, buckets, longest: made_for } => {
                let table: Tensor = norm.forward(ctx, &ctx.value(table))?;
                let relative = Some(Relative::Disentangled { table, buckets, longest: made_for });
                Surroundings { relative, carried: RefCell::default(), ..plain }
            }
        })
    }
}
