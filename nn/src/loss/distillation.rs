//! A student's vectors learn from a teacher's.
//! Definition:  similarities: weight / N^2 sum over i, j of (cos(t_i, t_j) - cos(s_i, s_j))^2
//!              vectors: mean (t - s)^2 over all numbers
//! Shapes:      teacher [N, E], student [N, D] -> scalar; E = D for vectors only
//! Numerics:    the teacher is a constant; the diagonal counts, as in the article
//! Reference:   RoFormer-Sim, 2021; Reimers and Gurevych, 2020.  Vectors: simbert-roformer-sim.json

use bert4rs_tensor::Tensor;

use crate::block::pooling::normalize;
use crate::{Error, Result};

/// The student's cosines within a batch become the teacher's; the article's weight is 100.
pub fn similarity_distillation(teacher: &Tensor, student: &Tensor, weight: f64) -> Result<Tensor> {
    if teacher.rank() != 2 || student.rank() != 2 || teacher.shape()[0] != student.shape()[0] {
        return shapes(teacher, student, "expected vectors of the same texts");
    }
    let own = |x: &Tensor| -> Result<Tensor> {
        let unit = normalize(x)?;
        Ok(unit.matmul_t(&unit)?) // [N, N]
    };
    let apart = own(&teacher.detach().cast(student.dtype())?)?.sub(&own(student)?)?;
    Ok(apart.square()?.mean_all()?.mul_scalar(weight)?)
}

/// The student's vectors become the teacher's.
pub fn vector_distillation(teacher: &Tensor, student: &Tensor) -> Result<Tensor> {
    if teacher.shape() != student.shape() {
        return shapes(teacher, student, "expected one shape; distil similarities into another width");
    }
    Ok(teacher.detach().cast(student.dtype())?.sub(student)?.square()?.mean_all()?)
}

fn shapes<T>(teacher: &Tensor, student: &Tensor, expected: &str) -> Result<T> {
    let (t, s) = (teacher.shape(), student.shape());
    Err(Error::Input(format!("distillation: teacher {t:?}, student {s:?}: {expected}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_hand_and_its_refusals() {
        let t = Tensor::new(vec![1.0, 0.0, 0.0, 2.0], &[2, 2]).unwrap();
        let s = Tensor::new(vec![1.0, 1.0], &[2, 1]).unwrap();
        // The teacher's cosines are 1, 0, 0, 1, the student's all 1.
        assert!((similarity_distillation(&t, &s, 4.0).unwrap().item().unwrap() - 2.0).abs() < 1e-15);
        let moved = t.add_scalar(0.5).unwrap();
        assert_eq!(vector_distillation(&t, &moved).unwrap().item().unwrap(), 0.25);
        assert!(vector_distillation(&t, &s).unwrap_err().to_string().contains("another width"));
        let one = s.narrow(0, 0, 1).unwrap();
        assert!(similarity_distillation(&t, &one, 1.0).unwrap_err().to_string().contains("same texts"));
    }
}
