//! Training with products held by 16 bits: near f32, and every parameter still learns.
#![allow(clippy::unwrap_used)]

mod small;

use bert4rs_nn::encoder::{Encoder, EncoderInput, preset_names};
use bert4rs_nn::{Builder, Ctx};
use bert4rs_tensor::op::attention::Mask;
use bert4rs_tensor::op::rounding::Half;
use bert4rs_tensor::{DType, Packed, Params, Rng, backward};
use small::{IDS, LENGTHS, SEGMENTS, tiny};

#[test]
fn every_preset_trains_near_f32_and_prepares_nothing_for_inference() {
    for name in preset_names() {
        let (mut params, mut rng) = (Params::new(), Rng::new(3));
        let config = tiny(name);
        let encoder = Encoder::new(&mut Builder::new(&mut params, &mut rng, DType::F32), &config).unwrap();
        let batch = Packed::from_lengths(&LENGTHS);
        let segments = (config.embedding.segments > 1).then_some(&SEGMENTS[..]);
        let input = EncoderInput { ids: &IDS, segments, batch: &batch };
        let run = |mut ctx: Ctx| {
            let hidden = encoder.forward(&mut ctx, input, &Mask::Full).unwrap();
            let values = hidden.to_f64_vec();
            if !ctx.is_training() {
                return (values, 0);
            }
            let gradients = backward(hidden.square().unwrap().sum_all().unwrap()).unwrap();
            (values, params.iter().filter(|p| gradients.of(&p.leaf()).is_some()).count())
        };
        let training = || Ctx::training(Rng::new(1));
        let (single, learning) = run(training());
        let (half, still_learning) = run(training().rounding(Half::Bf16));
        let square = |x: &[f64]| x.iter().map(|v| v * v).sum::<f64>();
        let difference: Vec<f64> = single.iter().zip(&half).map(|(a, b)| a - b).collect();
        let error = (square(&difference) / square(&single)).sqrt();
        assert!(error < 0.05, "{name}: {error}");
        // Presets without linear layers between tokens have nothing to round.
        assert!(error > 0.0 || name == "res_mlp", "{name} is not rounded");
        assert_eq!(learning, still_learning, "{name}");
        let inference = run(Ctx::inference()).0;
        assert_eq!(inference, run(Ctx::inference().rounding(Half::Bf16)).0, "{name}");
    }
}
