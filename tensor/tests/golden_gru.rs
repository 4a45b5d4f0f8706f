//! The GRU against golden vectors.
#![allow(clippy::unwrap_used)]

use bert4rs_tensor::op::gru::gru;
use bert4rs_tensor::op::linear::{After, linear};
use bert4rs_tensor::{DType, Packed};
use bert4rs_testing::{golden, tensor_of};

#[test]
fn hidden_states_are_those_of_the_file() {
    let cases = golden("rnn-gradient-analysis");
    let case = cases.iter().find(|c| c.name == "unroll_gru_reset_after").unwrap();
    for (dtype, within) in [(DType::F64, case.tol), (DType::F32, 1e-6)] {
        let p = |key: &str| tensor_of(&case.inputs["p"][key]).cast(dtype).unwrap();
        let x = case.input("x").cast(dtype).unwrap();
        // The file has row vectors and weights `[in, 3 d]`, gates in our order.
        let after = After { bias: Some(&p("b")), ..After::default() };
        let gates = linear(&x, &p("w").t().unwrap(), after).unwrap();
        let h = gru(&gates, &p("u").t().unwrap(), &p("bu"), &Packed::from_lengths(&[4]), false).unwrap();
        case.assert_within("h", &h, within);
    }
}
