//! How gradients go through recurrent cells, against the values of an independent program.
#![allow(clippy::unwrap_used)]

use bert4rs_nn::doctor::recurrent::{gru_terms, identity, lstm_terms, product_norms, sech_squared};
use bert4rs_tensor::Tensor;
use bert4rs_testing::{Case, golden, tensor_of};

fn cases(prefix: &str) -> Vec<Case> {
    let all: Vec<Case> =
        golden("rnn-gradient-analysis").into_iter().filter(|c| c.name.starts_with(prefix)).collect();
    assert!(!all.is_empty(), "no case {prefix}");
    all
}

fn number(case: &Case, key: &str) -> f64 {
    case.inputs[key].as_f64().unwrap()
}

fn three(case: &Case, key: &str) -> [f64; 3] {
    case.input(key).to_f64_vec().try_into().unwrap()
}

fn expect(case: &Case, key: &str, got: f64) {
    case.assert(key, &Tensor::new(vec![got], &[]).unwrap());
}

#[test]
fn terms_of_one_number_are_those_of_the_file() {
    for case in cases("lstm_scalar_terms").iter().chain(&cases("extreme_state")) {
        let (x, u) = (three(case, "x_terms_i_f_g"), three(case, "u_i_f_g"));
        let terms = lstm_terms(number(case, "c_prev"), number(case, "o_prev"), x, u);
        expect(case, "forget", terms.forget);
        expect(case, "from_f", terms.from_forget);
        expect(case, "from_i", terms.from_input);
        expect(case, "from_candidate", terms.from_candidate);
        if case.expected.get("total").is_some() {
            expect(case, "total", terms.total());
        }
    }
    for case in &cases("gru_scalar_terms") {
        let terms = gru_terms(number(case, "h_prev"), three(case, "x_terms_z_r_h"), three(case, "u_z_r_h"));
        expect(case, "keep", terms.keep);
        expect(case, "from_z_h", terms.from_update_state);
        expect(case, "from_z_candidate", terms.from_update_candidate);
        expect(case, "from_candidate", terms.from_candidate);
        expect(case, "total", terms.total());
    }
}

#[test]
fn the_bounds_are_those_of_the_file() {
    let case = &cases("bound_constants")[0];
    let steps = (0..2_000_000).map(|i| f64::from(i) * 1e-6);
    let value = |c: f64| c * sech_squared(c);
    let best = steps.max_by(|a, b| value(*a).total_cmp(&value(*b))).unwrap();
    expect(case, "argmax", best);
    expect(case, "max_of_c_sech2_c", value(best));
    // (1 - h'^2) U with h' = tanh(U h): |U h| sech^2(U h) over |h|.
    expect(case, "simple_rnn_sup_over_u_at_h_prev_0.5_no_input", value(best) / 0.5);
}

/// The cell without gates is in no encoder; its Jacobian is one line: `diag(1 - h'^2) U^T`.
#[test]
fn products_of_jacobians_have_the_norms_of_the_file() {
    let case = &cases("simple_rnn_jacobian_product_norms")[0];
    let p = |key: &str| tensor_of(&case.inputs["p"][key]);
    let (x, u) = (case.input("x").matmul(&p("w")).unwrap().add(&p("b")).unwrap(), p("u"));
    let (mut h, mut slopes) = (Tensor::new(vec![0.0; 2], &[1, 2]).unwrap(), Vec::new());
    for t in 0..4 {
        h = x.narrow(0, t, 1).unwrap().add(&h.matmul(&u).unwrap()).unwrap().tanh().unwrap();
        slopes.push(h.square().unwrap().neg().unwrap().add_scalar(1.0).unwrap());
    }
    let pull = |t: usize, rows: &Tensor| Ok(rows.mul(&slopes[t])?.matmul_t(&u)?);
    let norms = product_norms(identity(2).unwrap(), 4, &[1, 2, 3, 4], pull).unwrap();
    let got = norms.iter().map(|n| n.norm).collect::<Vec<f64>>();
    case.assert("norm_by_distance", &Tensor::new(got, &[4]).unwrap());
}
