//! The LSTM against golden vectors: hidden states and the gradient through time.
#![allow(clippy::unwrap_used)]

use bert4rs_tensor::op::linear::{After, linear};
use bert4rs_tensor::op::lstm::lstm;
use bert4rs_tensor::{DType, Packed, Tensor, grad};
use bert4rs_testing::{Case, golden, tensor_of};

fn case(name: &str) -> Case {
    golden("rnn-gradient-analysis").into_iter().find(|c| c.name == name).unwrap()
}

/// The file has row vectors and weights `[in, 4 d]`; ours are `[4 d, in]`, gates in the same order.
fn hidden(case: &Case, recurrent: &Tensor, dtype: DType) -> Tensor {
    let p = |key: &str| tensor_of(&case.inputs["p"][key]).cast(dtype).unwrap();
    let x = case.input("x").cast(dtype).unwrap();
    let gates = linear(&x, &p("w").t().unwrap(), After { bias: Some(&p("b")), ..After::default() }).unwrap();
    lstm(&gates, recurrent, &Packed::from_lengths(&[x.shape()[0]]), false).unwrap()
}

fn recurrent(case: &Case, dtype: DType) -> Tensor {
    tensor_of(&case.inputs["p"]["u"]).t().unwrap().cast(dtype).unwrap()
}

#[test]
fn hidden_states_are_those_of_the_file() {
    let case = case("unroll_lstm");
    case.assert("h", &hidden(&case, &recurrent(&case, DType::F64), DType::F64));
    case.assert_within("h", &hidden(&case, &recurrent(&case, DType::F32), DType::F32), 1e-6);
}

#[test]
fn the_gradient_of_recurrent_weights_is_that_of_the_file() {
    let case = case("lstm_bptt_grad_u");
    let u = recurrent(&case, DType::F64).tracked();
    let loss = hidden(&case, &u, DType::F64).mul(&case.input("cotangent_h")).unwrap().sum_all().unwrap();
    let d = grad(&loss, &[&u], false).unwrap().remove(0);
    case.assert("grad_u", &d.t().unwrap());
}
