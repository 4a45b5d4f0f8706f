//! Layers that run again in the backward pass give the same gradients, bit for bit.
#![allow(clippy::unwrap_used)]

mod small;

use bert4rs_nn::encoder::{Encoder, EncoderInput, Mixer, Position, preset_names};
use bert4rs_nn::{Builder, Ctx};
use bert4rs_tensor::op::attention::Mask;
use bert4rs_tensor::{DType, Packed, Params, Rng, backward};
use small::tiny;

#[test]
fn every_preset_has_the_gradients_of_the_kept_graph_with_dropout() {
    for name in preset_names() {
        let mut config = tiny(name);
        (config.layers, config.dropout, config.embedding.dropout) = (3, 0.2, 0.2);
        if let Mixer::Attention(bert4rs_nn::encoder::AttentionConfig { dropout, .. }) = &mut config.mixer {
            *dropout = 0.2;
        }
        let (mut params, mut rng) = (Params::new(), Rng::new(3));
        let encoder = Encoder::new(&mut Builder::new(&mut params, &mut rng, DType::F32), &config).unwrap();
        let batch = Packed::from_lengths(&[5, 1, 3]);
        let input = EncoderInput { ids: &[3, 7, 1, 4, 4, 2, 9, 5, 3], segments: None, batch: &batch };
        let run = |mut ctx: Ctx| {
            let hidden = encoder.forward(&mut ctx, input, &Mask::Full).unwrap();
            let next = ctx.seed(0.5);
            let gradients = backward(hidden.square().unwrap().sum_all().unwrap()).unwrap();
            let of = |p: &bert4rs_tensor::Parameter| gradients.of(&p.leaf()).map(|g| g.to_f64_vec());
            (hidden.to_f64_vec(), next, params.iter().map(of).collect::<Vec<_>>())
        };
        let (kept, again) = (run(Ctx::training(Rng::new(1))), run(Ctx::training(Rng::new(1)).recomputing()));
        assert_eq!((&kept.0, kept.1), (&again.0, again.1), "{name}");
        assert!(kept.2.iter().any(Option::is_some));
        match config.position {
            // Layers that share learned positions add their gradients in another order.
            Position::Buckets { .. } | Position::Disentangled { .. } => {
                for (a, b) in kept.2.iter().flatten().flatten().zip(again.2.iter().flatten().flatten()) {
                    assert!((a - b).abs() <= 1e-5 * (1.0 + b.abs()), "{name}: {a} is not {b}");
                }
            }
            Position::None
            | Position::Learned { .. }
            | Position::Rotary { .. }
            | Position::Sinusoidal
            | Position::RelativeKeys { .. }
            | Position::Alibi => assert_eq!(kept.2, again.2, "{name}"),
        }
    }
}
