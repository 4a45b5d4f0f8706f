//! Elementary operations against central differences: first order, and the gradient of the gradient.
#![allow(clippy::unwrap_used)]

use bert4rs_tensor::op::Activation;
use bert4rs_tensor::{DType, Result, Rng, Tensor, grad};
use bert4rs_testing::assert_gradients;

fn normal(seed: u64, shape: &[usize]) -> Tensor {
    Rng::new(seed).normal_tensor(shape, 1.0, DType::F64).unwrap()
}

fn positive(seed: u64, shape: &[usize]) -> Tensor {
    normal(seed, shape).abs().unwrap().add_scalar(0.3).unwrap()
}

/// First order by [`assert_gradients`]; second order as the first order of `d sum(f^2) / d inputs`.
fn check(name: &str, inputs: &[Tensor], f: impl Fn(&[Tensor]) -> Result<Tensor>) {
    assert_gradients(name, inputs, &f);
    for i in 0..inputs.len() {
        assert_gradients(&format!("gradient {i} of {name}"), inputs, |xs| {
            let track = |x: &Tensor| if x.is_tracked() { x.clone() } else { x.tracked() };
            let xs: Vec<Tensor> = xs.iter().map(track).collect();
            let loss = f(&xs)?.square()?.sum_all()?;
            Ok(grad(&loss, &[&xs[i]], true)?.remove(0))
        });
    }
}

#[test]
fn arithmetic_with_every_kind_of_broadcast() {
    let shapes: [(&[usize], &[usize]); 6] = [
        (&[2, 3], &[2, 3]),
        (&[2, 3], &[3]),
        (&[2, 1], &[1, 3]),
        (&[], &[2, 3]),
        (&[4, 1, 3], &[2, 1]),
        (&[1], &[1]),
    ];
    for (a, b) in shapes {
        let pair = [normal(1, a), positive(2, b)];
        let name = |op: &str| format!("{op} of {a:?} and {b:?}");
        check(&name("add"), &pair, |x| x[0].add(&x[1]));
        check(&name("sub"), &pair, |x| x[0].sub(&x[1]));
        check(&name("mul"), &pair, |x| x[0].mul(&x[1]));
        check(&name("div"), &pair, |x| x[0].div(&x[1]));
        check(&name("maximum"), &pair, |x| x[0].maximum(&x[1]));
    }
}

#[test]
fn selection_scalars_and_stretching() {
    let mask = Tensor::new(vec![1.0, 0.0, 1.0], &[3]).unwrap();
    check("select", &[normal(1, &[2, 3]), normal(2, &[3])], |x| Tensor::select(&mask, &x[0], &x[1]));
    check("add_scalar", &[normal(1, &[3])], |x| x[0].add_scalar(0.7));
    check("mul_scalar", &[normal(1, &[3])], |x| x[0].mul_scalar(-0.7));
    check("broadcast_to", &[normal(1, &[2, 1])], |x| x[0].broadcast_to(&[4, 2, 3]));
    check("sum_to", &[normal(1, &[4, 2, 3])], |x| x[0].sum_to(&[2, 1]));
}

#[test]
fn functions_of_one_element() {
    type Function = fn(&Tensor) -> Result<Tensor>;
    let anywhere: [(&str, Function); 13] = [
        ("neg", |x| x.neg()),
        ("square", |x| x.square()),
        ("powf(3)", |x| x.powf(3.0)),
        ("powf(2)", |x| x.powf(2.0)),
        ("exp", |x| x.exp()),
        ("sin", |x| x.sin()),
        ("cos", |x| x.cos()),
        ("abs", |x| x.abs()),
        ("erf", |x| x.erf()),
        ("tanh", |x| x.tanh()),
        ("sigmoid", |x| x.sigmoid()),
        ("softplus", |x| x.softplus()),
        ("leaky_relu", |x| x.leaky_relu(0.2)),
    ];
    for (name, f) in anywhere {
        check(name, &[normal(3, &[7])], |x| f(&x[0]));
    }
    assert_gradients("powf(0)", &[normal(4, &[3])], |x| x[0].powf(0.0)); // its gradient is constant
    let above_zero: [(&str, Function); 4] = [
        ("sqrt", |x| x.sqrt()),
        ("ln", |x| x.ln()),
        ("powf(-0.5)", |x| x.powf(-0.5)),
        ("powf(1)", |x| x.powf(1.0)),
    ];
    for (name, f) in above_zero {
        check(name, &[positive(4, &[7])], |x| f(&x[0]));
    }
}

#[test]
fn activations_by_name() {
    use Activation::{Gelu, GeluTanh, Relu, Sigmoid, Silu, Tanh};
    for f in [Relu, Tanh, Sigmoid, Silu, Gelu, GeluTanh] {
        check(&format!("{f:?}"), &[normal(5, &[3, 5])], |x| x[0].activate(f));
    }
    check("relu", &[normal(6, &[5])], |x| x[0].relu());
    check("gelu", &[normal(6, &[5])], |x| x[0].gelu());
    check("silu", &[normal(6, &[5])], |x| x[0].silu());
}

#[test]
fn reductions_along_every_axis() {
    let x = [normal(7, &[2, 3, 4])];
    check("sum_all", &x, |x| x[0].sum_all());
    check("mean_all", &x, |x| x[0].mean_all());
    for axis in [0, 1, 2, -1, -3] {
        for keep in [false, true] {
            let name = |op: &str| format!("{op} along {axis}, keep {keep}");
            check(&name("sum"), &x, |x| x[0].sum(axis, keep));
            check(&name("mean"), &x, |x| x[0].mean(axis, keep));
            check(&name("max"), &x, |x| x[0].max(axis, keep));
            check(&name("log_sum_exp"), &x, |x| x[0].log_sum_exp(axis, keep));
        }
    }
}

#[test]
fn softmax_and_its_logarithm() {
    check("softmax", &[normal(8, &[3, 4])], |x| x[0].softmax());
    check("softmax of a vector", &[normal(8, &[5])], |x| x[0].softmax());
    check("log_softmax", &[normal(8, &[3, 4])], |x| x[0].log_softmax());
}

#[test]
fn moving_elements() {
    let x = [normal(9, &[2, 3, 4])];
    check("reshape", &x, |x| x[0].reshape(&[6, 4]));
    check("permute", &x, |x| x[0].permute(&[2, 0, 1]));
    check("transpose", &x, |x| x[0].transpose(0, -1));
    check("t", &x, |x| x[0].t());
    check("narrow", &x, |x| x[0].narrow(1, 1, 2));
    check("narrow to nothing and back", &x, |x| Tensor::concat(&[&x[0].narrow(2, 0, 0)?, &x[0]], 2));
    for axis in 0..3 {
        let mut shape = [2, 3, 4];
        shape[axis] = 2;
        let two = [x[0].clone(), normal(10, &shape)];
        check(&format!("concat along {axis}"), &two, |x| {
            Tensor::concat(&[&x[0], &x[1], &x[0]], axis as isize)
        });
    }
}

#[test]
fn rows_by_number() {
    let table = [normal(11, &[4, 3])];
    check("rows", &table, |x| x[0].rows(&[3, 0, 3, 3]));
    check("scatter_rows", &table, |x| x[0].scatter_rows(&[1, 0, 1, 4], 6));
    check("pick", &table, |x| x[0].pick(&[2, 0, 1, 1]));
    check("rows of vectors", &[normal(12, &[5])], |x| x[0].rows(&[1, 1, 4]));
}

#[test]
fn products_in_every_form() {
    let forms: [(&[usize], &[usize]); 5] = [
        (&[3, 4], &[4, 2]),
        (&[1, 1], &[1, 1]),
        (&[2, 3, 4], &[2, 4, 2]),
        (&[2, 2, 3, 2], &[2, 2, 2, 3]),
        (&[2, 3, 4], &[4, 2]),
    ];
    for (a, b) in forms {
        let pair = [normal(13, a), normal(14, b)];
        check(&format!("{a:?} @ {b:?}"), &pair, |x| x[0].matmul(&x[1]));
        let transposed = [pair[0].clone(), pair[1].t().unwrap()];
        check(&format!("{a:?} @ {b:?}^T"), &transposed, |x| x[0].matmul_t(&x[1]));
    }
    let square = [normal(15, &[3, 3])];
    check("x @ x", &square, |x| x[0].matmul(&x[0]));
    check("x @ x^T", &square, |x| x[0].matmul_t(&x[0]));
}

#[test]
fn a_cast_carries_the_gradient_back_in_its_own_type() {
    let x = normal(16, &[3]).tracked();
    let y = x.cast(DType::F32).unwrap().mul_scalar(3.0).unwrap().cast(DType::F64).unwrap();
    let gradient = &grad(&y.sum_all().unwrap(), &[&x], false).unwrap()[0];
    assert_eq!((gradient.dtype(), gradient.to_f64_vec()), (DType::F64, vec![3.0; 3]));
}
