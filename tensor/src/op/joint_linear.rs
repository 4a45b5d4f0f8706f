//! Several linear layers of one input as one product: queries, keys and values of attention.
//! Definition:  y = x [W_1; W_2; ..]^T + [b_1, b_2, ..]
//! Shapes:      x [T, K], W_i [N_i, K], b_i [N_i], y [T, sum of N_i].  Cost O(T K sum of N_i)
//! Gradient:    fused; of x in one product too, so no sums of gradients are left to make

use bert4rs_kernels::Real;
use bert4rs_kernels::gemm::{self, Epilogue};

use super::feed_forward::Layer;
use super::linear;
use crate::buffer::{Buffer, Pooled, unset};
use crate::storage::{Storage, float};
use crate::{Element, Error, Result, Tensor, profile};

/// The results side by side, `[T, sum of N_i]`; all layers have a bias or none has.
pub fn joint_linear(x: &Tensor, layers: &[Layer]) -> Result<Tensor> {
    let &[rows, inputs] = x.shape() else {
        return Error::shape("joint_linear", format!("x {:?}: expected [T, K]", x.shape()));
    };
    let has_bias = layers.first().is_some_and(|layer| layer.bias.is_some());
    for Layer { weight, bias } in layers {
        let fits = matches!(weight.shape(), &[outputs, k] if k == inputs
            && bias.map_or(!has_bias, |b| has_bias && b.shape() == [outputs]));
        if !fits {
            let (w, b) = (weight.shape(), bias.map(Tensor::shape));
            let message = format!("x {:?}, weight {w:?}, bias {b:?} do not fit", x.shape());
            return Error::shape("joint_linear", message);
        }
    }
    let outputs: Vec<usize> = layers.iter().map(|layer| layer.weight.shape()[0]).collect();
    let total: usize = outputs.iter().sum();
    let weights: Vec<&Tensor> = layers.iter().map(|layer| layer.weight).collect();
    let biases: Vec<&Tensor> = layers.iter().filter_map(|layer| layer.bias).collect();
    let storage = float!("joint_linear", x, T => {
        let (weight, bias) = (stacked::<T>(&weights)?, stacked::<T>(&biases)?);
        let mut y = unset::<T>(rows * total);
        let epilogue = Epilogue { bias: has_bias.then_some(&*bias), ..Epilogue::default() };
        let _scope = profile::scope("linear y").product(rows, total, inputs);
        gemm::linear(rows, inputs, total, x.values::<T>()?, &weight, epilogue, &mut y);
        Ok::<_, Error>(Storage::from(y))
    })?;
    let operands: Vec<&Tensor> = [x].into_iter().chain(weights).chain(biases).collect();
    Ok(Tensor::made("joint_linear", true, storage, vec![rows, total], &operands, move |step| {
        float!("joint_linear", step.grad, T => {
            let (g, sizes) = (step.grad.values::<T>()?, [rows, inputs, total]);
            let count = outputs.len();
            let mut grads = vec![None];
            if step.needs[0] {
                let weights: Vec<&Tensor> = step.inputs[1..=count].iter().collect();
                let d_x = linear::input_gradient::<T>(sizes, g, &stacked::<T>(&weights)?);
                grads[0] = Some(Tensor::constant(Storage::from(d_x), vec![rows, inputs]));
            }
            let d_weight = linear::weight_gradient::<T>(sizes, g, step.inputs[0].values()?);
            grads.extend(parts::<T>(&d_weight, &outputs, Some(inputs)));
            if has_bias {
                grads.extend(parts::<T>(&linear::bias_gradient::<T>(g, total), &outputs, None));
            }
            Ok(grads)
        })
    }))
}

/// All elements, one tensor after the other.
fn stacked<T: Element + Pooled>(tensors: &[&Tensor]) -> Result<Buffer<T>> {
    let mut all = unset::<T>(tensors.iter().map(|t| t.elements()).sum());
    let mut at = 0;
    for tensor in tensors {
        let values = tensor.values::<T>()?;
        all[at..at + values.len()].copy_from_slice(values);
        at += values.len();
    }
    Ok(all)
}

/// The rows of `all` that belong to each layer: `[N_i, width]`, or `[N_i]`.
fn parts<T: Real + Pooled>(all: &[T], outputs: &[usize], width: Option<usize>) -> Vec<Option<Tensor>>
where
    Storage: From<Buffer<T>>,
{
    let mut rest = all;
    let part = |&n: &usize| {
        let (own, after) = rest.split_at(n * width.unwrap_or(1));
        rest = after;
        let mut buffer = unset::<T>(own.len());
        buffer.copy_from_slice(own);
        let shape = [n].into_iter().chain(width).collect::<Vec<_>>();
        Some(Tensor::constant(Storage::from(buffer), shape))
    };
    outputs.iter().map(part).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::op::linear::{After, linear};
    use crate::{DType, Rng, backward};

    #[test]
    fn it_is_the_single_layers_and_their_gradients() {
        let mut rng = Rng::new(3);
        let mut some = |shape: &[usize]| rng.normal_tensor(shape, 1.0, DType::F64).unwrap().tracked();
        let x = some(&[7, 5]);
        let weights = [some(&[4, 5]), some(&[3, 5]), some(&[6, 5])];
        let biases = [some(&[4]), some(&[3]), some(&[6])];
        let slope = some(&[7, 13]).detach();
        for has_bias in [true, false] {
            let bias = |i: usize| has_bias.then_some(&biases[i]);
            let layers: Vec<Layer> =
                weights.iter().enumerate().map(|(i, weight)| Layer { weight, bias: bias(i) }).collect();
            let joint = joint_linear(&x, &layers).unwrap();
            let single =
                |i: usize| linear(&x, &weights[i], After { bias: bias(i), ..After::default() }).unwrap();
            let (a, b, c) = (single(0), single(1), single(2));
            let apart = Tensor::concat(&[&a, &b, &c], 1).unwrap();
            let near = |a: &Tensor, b: &Tensor| {
                assert_eq!(a.shape(), b.shape());
                let pairs = a.to_f64_vec().into_iter().zip(b.to_f64_vec());
                pairs.for_each(|(a, b)| assert!((a - b).abs() < 1e-12, "{a} {b}"));
            };
            near(&joint, &apart);
            let mut got = backward(joint.mul(&slope).unwrap().sum_all().unwrap()).unwrap();
            let mut want = backward(apart.mul(&slope).unwrap().sum_all().unwrap()).unwrap();
            let leaves =
                [&x].into_iter().chain(&weights).chain(has_bias.then_some(&biases).into_iter().flatten());
            leaves.for_each(|leaf| near(&got.take(leaf).unwrap(), &want.take(leaf).unwrap()));
        }
    }

    #[test]
    fn misfits_are_errors() {
        let zeros = |shape: &[usize]| Tensor::zeros(shape, DType::F32);
        let (x, w, b) = (zeros(&[2, 3]), zeros(&[4, 3]), zeros(&[4]));
        let with = Layer { weight: &w, bias: Some(&b) };
        let error = joint_linear(&x, &[with, Layer { weight: &w, bias: None }]).unwrap_err();
        assert!(error.to_string().contains("bias None"), "{error}");
        assert!(joint_linear(&zeros(&[2, 4]), &[with]).is_err() && joint_linear(&b, &[with]).is_err());
    }
}
