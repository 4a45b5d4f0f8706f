//! Presets made small, and how tests build and run them.
#![allow(clippy::unwrap_used, dead_code)]

use bert4rs_nn::block::attention::AttentionScale;
use bert4rs_nn::block::position::Scaling;
use bert4rs_nn::encoder::{
    Activation, AttentionConfig, Encoder, EncoderConfig, EncoderInput, FeedForward, GatedWeights,
    LocalAttention, Mixer, Norm, Position, ResidualScale, ResidualScores, Sharing, TalkingHeads, WeightInit,
    Wiring, preset, preset_names,
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
    shrink(&mut config.mixer);
    if let Mixer::Lstm { .. } | Mixer::Gru { .. } = config.mixer {
        config.embedding.size = Some(6);
        config.embedding.bigram_buckets = Some(5);
    }
    if let Mixer::DilatedGatedConvolution { .. } = config.mixer {
        config.embedding.size = Some(6);
    }
    match &mut config.feed_forward {
        FeedForward::None => {}
        FeedForward::Dense { size, .. } | FeedForward::Gated { size, .. } => *size = 12,
    }
    match &mut config.position {
        Position::Learned { max_positions, first } => *max_positions = 6 + *first,
        Position::RelativeKeys { max_distance } => *max_distance = 2,
        Position::Buckets { buckets, max_distance, .. } => (*buckets, *max_distance) = (8, 5),
        Position::Disentangled { buckets, max_positions } => (*buckets, *max_positions) = (3, 6),
        Position::None | Position::Sinusoidal | Position::Rotary { .. } | Position::Alibi => {}
    }
    config.embedding.size = config.embedding.size.map(|_| 6);
    config
}

fn shrink(mixer: &mut Mixer) {
    match mixer {
        Mixer::Attention(attention) => (attention.heads, attention.dropout) = (2, 0.0),
        Mixer::GatedAttention { size, key_size, dropout, .. } => (*size, *key_size, *dropout) = (10, 4, 0.0),
        Mixer::SpatialGate { size, max_length, .. } => (*size, *max_length) = (12, LONGEST),
        Mixer::MlpMixer { size, max_length } | Mixer::FeedForwardOnly { size, max_length } => {
            (*size, *max_length) = (7, LONGEST);
        }
        Mixer::ResMlp { max_length } => *max_length = LONGEST,
        Mixer::ExternalAttention { slots, .. } => *slots = 3,
        Mixer::Synthesizer { heads, max_length } => (*heads, *max_length) = (2, LONGEST),
        Mixer::LightConvolution { heads, .. } => *heads = 2,
        Mixer::Lstm { .. } | Mixer::Gru { .. } | Mixer::DilatedGatedConvolution { .. } | Mixer::Fourier => {}
    }
}

/// The longest text of mixers with weights per position.
const LONGEST: usize = 6;

/// All presets and what no preset has yet: the other values of every axis.
pub fn configs() -> Vec<(String, EncoderConfig)> {
    let mut all: Vec<_> = preset_names().map(|name| (name.to_string(), tiny(name))).collect();
    let mut pre_norm = EncoderConfig { wiring: Wiring::PreNorm, bias: false, ..tiny("roformer") };
    pre_norm.norm = Norm::Rms { eps: 1e-6, gain: true };
    pre_norm.mixer =
        Mixer::Attention(AttentionConfig { key_size: Some(6), ..AttentionConfig::plain(2, 0.0) });
    if let Position::Rotary { size, log_n, .. } = &mut pre_norm.position {
        (*size, *log_n) = (Some(4), Some(2));
    }
    all.push(("pre_norm".into(), pre_norm));
    let mut add = |name: &str, config: EncoderConfig| all.push((name.into(), config));
    for (name, mixer) in [
        ("amlp", Mixer::SpatialGate { size: 12, max_length: LONGEST, attention: Some(3) }),
        ("res_mlp", Mixer::ResMlp { max_length: LONGEST }),
        ("feed_forward_only", Mixer::FeedForwardOnly { size: 7, max_length: LONGEST }),
        ("external_attention", Mixer::ExternalAttention { slots: 3, row_softmax: false }),
        ("external_rows", Mixer::ExternalAttention { slots: 3, row_softmax: true }),
        ("synthesizer", Mixer::Synthesizer { heads: 2, max_length: LONGEST }),
        ("light_convolution", Mixer::LightConvolution { window: 3, heads: 2, dynamic: false }),
        ("dynamic_convolution", Mixer::LightConvolution { window: 3, heads: 2, dynamic: true }),
    ] {
        let norm = Norm::Layer { eps: 1e-5, gain: true };
        add(name, EncoderConfig { wiring: Wiring::PreNorm, mixer, norm, ..tiny("bert") });
    }
    for (name, weights, chunk) in [
        ("gau_squared", GatedWeights::SquaredRelu, None),
        ("gau_fixed", GatedWeights::SquaredReluFixed { length: 8 }, None),
        ("gau_sum", GatedWeights::SquaredReluSum, None),
        ("gau_softmax", GatedWeights::Softmax, None),
        ("flash", GatedWeights::SquaredRelu, Some(2)),
    ] {
        let mixer = Mixer::GatedAttention { size: 10, key_size: 4, weights, chunk, dropout: 0.0 };
        add(name, EncoderConfig { mixer, bias: true, ..tiny("gau_alpha") });
    }
    for (name, wiring) in [
        ("deep_norm", Wiring::DeepNorm { alpha: None }),
        ("admin", Wiring::Admin),
        ("t5_wiring", Wiring::T5),
        ("sandwich", Wiring::Sandwich),
    ] {
        add(name, EncoderConfig { wiring, ..tiny("bert") });
    }
    for (name, norm, residual_scale) in [
        ("plain_norm", Norm::Layer { eps: 1e-5, gain: false }, ResidualScale::Fixed { factor: 0.7 }),
        ("scale_norm", Norm::Scale { eps: 1e-5 }, ResidualScale::Scalar { start: 0.3 }),
        ("affine", Norm::Affine, ResidualScale::Channels { start: 0.1 }),
    ] {
        let wiring = Wiring::PreNorm;
        add(name, EncoderConfig { norm, residual_scale, wiring, ..tiny("bert") });
    }
    let attention = |change: fn(&mut AttentionConfig)| {
        let mut attention = AttentionConfig::plain(2, 0.0);
        change(&mut attention);
        EncoderConfig { mixer: Mixer::Attention(attention), ..tiny("roformer") }
    };
    add("running_mean", attention(|a| a.residual_scores = ResidualScores::RunningMean));
    add("talking_heads", attention(|a| a.talking_heads = TalkingHeads::Both));
    add("larger_keys", attention(|a| a.key_size = Some(6)));
    add("log_base", attention(|a| a.scale = AttentionScale::LogBase { train_length: 8, floor: 2 }));
    add("kappa", attention(|a| a.scale = AttentionScale::Kappa { kappa: 1.3 }));
    add("gradient_scale", attention(|a| a.scale = AttentionScale::GradientMaximising { keys: 64 }));
    add("window", attention(|a| a.local = Some(LocalAttention { radius: 1, global_every: 2, theta: None })));
    for (name, changed) in [
        ("rerope", Scaling::Rerope { window: 2, slope: None }),
        ("leaky_rerope", Scaling::Rerope { window: 2, slope: Some(4.0) }),
        ("ntk_dynamic", Scaling::NtkDynamic { factor: 2.0, trained_length: 3 }),
    ] {
        let mut config = tiny("roformer");
        if let Position::Rotary { scaling, .. } = &mut config.position {
            *scaling = changed;
        }
        add(name, config);
    }
    for (name, position) in [("sinusoidal", Position::Sinusoidal), ("alibi", Position::Alibi)] {
        add(name, EncoderConfig { position, ..tiny("bert") });
    }
    let gated = FeedForward::Gated { size: 12, activation: Activation::GeluTanh };
    add("gated", EncoderConfig { feed_forward: gated, init: WeightInit::Ntk, ..tiny("bert") });
    add("groups", EncoderConfig { layers: 3, sharing: Sharing::Groups { groups: 2 }, ..tiny("albert") });
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
