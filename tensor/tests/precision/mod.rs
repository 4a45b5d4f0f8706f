//! f32 kernels against their f64 twins.

use bert4rs_tensor::{DType, Result, Tensor, backward};

/// Asserts that value and gradients of `f` in f32 are those in f64, within what f32 can hold.
pub fn assert_single_agrees(name: &str, inputs: &[Tensor], f: impl Fn(&[Tensor]) -> Result<Tensor>) {
    let run = |dtype: DType| {
        let xs: Vec<Tensor> = inputs.iter().map(|x| x.cast(dtype).unwrap().tracked()).collect();
        let y = f(&xs).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!(y.dtype(), dtype, "{name}");
        let weights: Vec<f64> =
            (0..y.elements()).map(|i| ((i * 7919 % 23) as f64 - 11.0) / 11.0 + 0.1).collect();
        let weights = Tensor::new(weights, y.shape()).unwrap().cast(dtype).unwrap();
        let gradients = backward(y.mul(&weights).unwrap().sum_all().unwrap()).unwrap();
        let of = |x: &Tensor| gradients.of(x).map_or(x.zeros_like(), Tensor::clone).to_f64_vec();
        let mut all = vec![y.to_f64_vec()];
        all.extend(xs.iter().map(of));
        all
    };
    for (part, (exact, got)) in run(DType::F64).iter().zip(run(DType::F32)).enumerate() {
        // Sums cancel, so an element's error is measured against the typical element.
        let typical = (exact.iter().map(|v| v * v).sum::<f64>() / exact.len().max(1) as f64).sqrt();
        for (i, (e, g)) in exact.iter().zip(got).enumerate() {
            let error = (e - g).abs() / (1e-3 + typical + e.abs());
            let what = if part == 0 { "value".into() } else { format!("gradient {}", part - 1) };
            assert!(error < 2e-5, "{name}: {what}[{i}] is {g} in f32 and {e} in f64");
        }
    }
}
