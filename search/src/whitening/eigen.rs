//! Eigenvalues and eigenvectors of a symmetric matrix.
//!
//! Definition:  A = V^T diag(lambda) V, the rows of V orthonormal
//! Shapes:      A [D, D] -> lambda [D], V [D, D]
//! Numerics:    Householder reflections to three diagonals, then QL steps with implicit shifts, in f64;
//!              errors of a few eps times the largest eigenvalue. All loops run along rows
//! Cost:        about 9 D^3: less than a second at 384
//! Reference:   Golub and Van Loan, Matrix Computations, 8.3; the linear algebra crates that offer it take
//!              minutes to build (CONTRIBUTING.md)                                       Vectors: none

/// Steps for one eigenvalue; three are usual.
const MOST_STEPS: usize = 100;

/// Eigenvalues, the largest first, and eigenvectors as rows; `None` when the steps do not settle (numbers
/// that are not finite).
pub(super) fn symmetric(mut a: Vec<f64>, n: usize) -> Option<(Vec<f64>, Vec<f64>)> {
    let (mut diagonal, mut beside, mut vectors) = tridiagonal(&mut a, n);
    steps(&mut diagonal, &mut beside, &mut vectors, n)?;
    let mut order: Vec<usize> = (0..n).collect();
    order.sort_by(|&i, &j| diagonal[j].total_cmp(&diagonal[i]));
    let sorted = order.iter().flat_map(|&i| vectors[i * n..][..n].iter().copied()).collect();
    Some((order.iter().map(|&i| diagonal[i]).collect(), sorted))
}

/// `A = Q T Q^T`: the diagonal of T, the numbers beside it (the last is 0), and `Q^T`.
fn tridiagonal(a: &mut [f64], n: usize) -> (Vec<f64>, Vec<f64>, Vec<f64>) {
    let mut beside = vec![0.0; n];
    let mut reflections: Vec<(f64, Vec<f64>)> = Vec::new();
    for k in 0..n.saturating_sub(1) {
        // The reflection that turns row k right of the diagonal into one number.
        let mut v = a[k * n + k + 1..(k + 1) * n].to_vec();
        let length = v.iter().map(|x| x * x).sum::<f64>().sqrt();
        let turned = -length.copysign(v[0]);
        beside[k] = turned;
        if length == 0.0 {
            reflections.push((0.0, v));
            continue;
        }
        v[0] -= turned;
        let beta = 2.0 / v.iter().map(|x| x * x).sum::<f64>();
        // B - v w^T - w v^T for the rest B of the matrix.
        let size = v.len();
        let row = |i: usize| (k + 1 + i) * n + k + 1;
        let mut w: Vec<f64> = (0..size).map(|i| beta * dot(&a[row(i)..][..size], &v)).collect();
        let share = 0.5 * beta * dot(&w, &v);
        w.iter_mut().zip(&v).for_each(|(w, v)| *w -= share * v);
        for i in 0..size {
            for ((x, v_j), w_j) in a[row(i)..][..size].iter_mut().zip(&v).zip(&w) {
                *x -= v[i] * w_j + w[i] * v_j;
            }
        }
        reflections.push((beta, v));
    }
    let mut q = vec![0.0; n * n];
    (0..n).for_each(|i| q[i * n + i] = 1.0);
    for (k, (beta, v)) in reflections.iter().enumerate().rev() {
        let mut sums = vec![0.0; v.len()];
        let row = |i: usize| (k + 1 + i) * n + k + 1;
        for (i, v) in v.iter().enumerate() {
            sums.iter_mut().zip(&q[row(i)..]).for_each(|(sum, q)| *sum += v * q);
        }
        for (i, v) in v.iter().enumerate() {
            q[row(i)..].iter_mut().zip(&sums).for_each(|(q, sum)| *q -= beta * v * sum);
        }
    }
    let transposed = (0..n * n).map(|at| q[at % n * n + at / n]).collect();
    ((0..n).map(|i| a[i * n + i]).collect(), beside, transposed)
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    bert4rs_kernels::real::dot(a, b)
}

/// Makes the numbers beside the diagonal 0, turning the rows of `vectors` along.
fn steps(d: &mut [f64], e: &mut [f64], vectors: &mut [f64], n: usize) -> Option<()> {
    let largest = d.iter().zip(e.iter()).fold(0.0, |most: f64, (d, e)| most.max(d.abs() + e.abs()));
    let small = |e: f64, a: f64, b: f64| {
        e.abs() <= f64::EPSILON * (a.abs() + b.abs()).max(1e-3 * largest * f64::EPSILON)
    };
    for l in 0..n {
        for step in 0.. {
            // The block from l to m hangs together.
            let m = (l..n - 1).find(|&m| small(e[m], d[m], d[m + 1])).unwrap_or(n - 1);
            if m == l {
                break;
            }
            if step == MOST_STEPS {
                return None;
            }
            let half = (d[l + 1] - d[l]) / (2.0 * e[l]);
            let mut g = d[m] - d[l] + e[l] / (half + half.hypot(1.0).copysign(half));
            let (mut sine, mut cosine, mut moved) = (1.0, 1.0, 0.0);
            let mut split = false;
            for i in (l..m).rev() {
                let (f, b) = (sine * e[i], cosine * e[i]);
                let r = f.hypot(g);
                e[i + 1] = r;
                if r == 0.0 {
                    d[i + 1] -= moved;
                    e[m] = 0.0;
                    split = true;
                    break;
                }
                (sine, cosine) = (f / r, g / r);
                let before = d[i + 1] - moved;
                let turned = (d[i] - before) * sine + 2.0 * cosine * b;
                moved = sine * turned;
                d[i + 1] = before + moved;
                g = cosine * turned - b;
                let (upper, lower) = vectors[i * n..(i + 2) * n].split_at_mut(n);
                for (x, y) in upper.iter_mut().zip(lower) {
                    (*x, *y) = (cosine * *x - sine * *y, sine * *x + cosine * *y);
                }
            }
            if !split {
                d[l] -= moved;
                e[l] = g;
                e[m] = 0.0;
            }
        }
    }
    d.iter().all(|d| d.is_finite()).then_some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_by_two_by_hand() {
        let (values, vectors) = symmetric(vec![2.0, 1.0, 1.0, 2.0], 2).unwrap();
        assert!((values[0] - 3.0).abs() < 1e-15 && (values[1] - 1.0).abs() < 1e-15);
        assert!((vectors[0] - vectors[1]).abs() < 1e-15 && (vectors[2] + vectors[3]).abs() < 1e-15);
        assert_eq!(symmetric(vec![5.0], 1).unwrap(), (vec![5.0], vec![1.0]));
        assert_eq!(symmetric(vec![], 0).unwrap(), (vec![], vec![]));
    }

    fn check(a: &[f64], n: usize) {
        let (values, v) = symmetric(a.to_vec(), n).unwrap();
        let scale = values.iter().fold(1e-300, |most: f64, x| most.max(x.abs()));
        assert!(values.windows(2).all(|pair| pair[0] >= pair[1]));
        for i in 0..n {
            for j in 0..n {
                let product = dot(&v[i * n..][..n], &v[j * n..][..n]);
                assert!((product - f64::from(u8::from(i == j))).abs() < 1e-13 * n as f64, "rows {i}, {j}");
                let image = dot(&a[j * n..][..n], &v[i * n..][..n]);
                assert!(
                    (image - values[i] * v[i * n + j]).abs() < 1e-13 * n as f64 * scale,
                    "{n}: value {i}"
                );
            }
        }
    }

    #[test]
    fn values_and_vectors_solve_the_equation() {
        let number = |i: usize, j: usize| ((i * 7 + j * 13) as f64).sin();
        for n in [2, 3, 10, 40] {
            let full: Vec<f64> =
                (0..n * n).map(|at| number(at / n, at % n) + number(at % n, at / n)).collect();
            check(&full, n);
            // Rank 1: n - 1 equal eigenvalues.
            check(&(0..n * n).map(|at| number(1, at / n) * number(1, at % n)).collect::<Vec<_>>(), n);
            check(&vec![0.0; n * n], n);
            let diagonal =
                (0..n * n).map(|at| if at / n == at % n { 10f64.powi(-(at as i32 % 17)) } else { 0.0 });
            check(&diagonal.collect::<Vec<_>>(), n);
            check(&full.iter().map(|x| x * 1e-120).collect::<Vec<_>>(), n);
        }
    }

    #[test]
    fn numbers_that_are_not_finite_have_none() {
        assert!(symmetric(vec![f64::NAN, 1.0, 1.0, 2.0], 2).is_none());
    }
}
