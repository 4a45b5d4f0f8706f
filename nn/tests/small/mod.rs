//! Presets made small, and how tests build and run them.
#![allow(clippy::unwrap_used, dead_code)]

use bert4rs_nn::encoder::{
    Encoder, EncoderConfig, EncoderInput, FeedForward, Mixer, Norm, Position, Wiring, preset, preset_names,
};
use bert4rs_nn::{Builder, Ctx};
use bert4rs_tensor::op::attention::Mask;
use bert4rs_tensor::{DType, Packed, Params, Rng, Tensor};

pub const IDS: [usize; 9] = [3, 7, 1, 4, 4, 2, 9, 5, 3];
pub const SEGMENTS: [usize; 9] = [0, 0, 1, 1, 1, 0, 0, 0, 1];
pub const LENGTHS: [usize; 3] = [5, 1, 3];

/// A preset made so small that finite differences over all of it are quick; nothing is dropped.
pub fn tiny(name: &str) -> EncoderConfig {
    let mut config = preset(name).unwrap();
    (config.vocab_size, config.hidden_size, config.layers, config.dropout) = (12, 8, 2, 0.0);
    config.embedding.dropout = 0.0;
    config.embedding.unk_id = 1;
    match &mut config.mixer {
        Mixer::Attention { heads, dropout, .. } => (*heads, *dropout) = (2, 0.0),
        Mixer::Lstm { .. } => {
            config.embedding.size = Some(6);
            config.embedding.bigram_buckets = Some(5);
        }
        Mixer::DilatedGatedConvolution { .. } => config.embedding.size = Some(6),
    }
    match &mut config.feed_forward {
        FeedForward::None => {}
        FeedForward::Dense { size, .. } | FeedForward::Gated { size, .. } => *size = 12,
    }
    if let Position::Learned { max_positions, first } = &mut config.position {
        *max_positions = 6 + *first;
    }
    config.embedding.size = config.embedding.size.map(|_| 6);
    config
}

/// All presets and what no preset has yet: pre norm, RMS norm, partial rotation, key size.
pub fn configs() -> Vec<(String, EncoderConfig)> {
    let mut all: Vec<_> = preset_names().map(|name| (name.to_string(), tiny(name))).collect();
    let mut pre_norm = EncoderConfig { wiring: Wiring::PreNorm, bias: false, ..tiny("roformer") };
    pre_norm.norm = Norm::Rms { eps: 1e-6, gain: true };
    pre_norm.mixer = Mixer::Attention { heads: 2, key_size: Some(6), dropout: 0.0 };
    if let Position::Rotary { size, log_n, .. } = &mut pre_norm.position {
        (*size, *log_n) = (Some(4), Some(2));
    }
    all.push(("pre_norm".into(), pre_norm));
    all
}

pub fn build(config: &EncoderConfig, dtype: DType) -> (Encoder, Params) {
    let (mut params, mut rng) = (Params::new(), Rng::new(3));
    let encoder = Encoder::new(&mut Builder::new(&mut params, &mut rng, dtype), config).unwrap();
    for p in params.iter() {
        // Larger than the usual start, so that no path through the model is negligible.
        let noise = rng.normal_tensor(p.value().shape(), 0.4, dtype).unwrap();
        p.set(&p.value().add(&noise).unwrap()).unwrap();
    }
    (encoder, params)
}

pub fn run(encoder: &Encoder, ctx: &mut Ctx, ids: &[usize], segments: &[usize], lengths: &[usize]) -> Tensor {
    let batch = Packed::from_lengths(lengths);
    let known = encoder.config().embedding.segments.max(1);
    let segments: Vec<usize> = segments.iter().map(|s| s % known).collect();
    let input = EncoderInput { ids, segments: Some(&segments), batch: &batch };
    encoder.forward(ctx, input, &Mask::Full).unwrap()
}
