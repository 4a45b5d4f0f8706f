//! Softmax cross entropy per row.
//! Definition:  loss_i = logsumexp(x_i) - x_i[t_i]; with smoothing e the target is (1-e) onehot + e/C
//! Shapes:      logits [N, C], targets [N] (negative = ignored: loss and gradient 0) -> [N]
//! Gradient:    fused, softmax minus target; nothing of size [N, C] is kept.  Cost O(N C)

use bert4rs_kernels::softmax as kernel;

use crate::buffer::unset;
use crate::storage::{Storage, float};
use crate::{Error, Result, Tensor};

/// Cross entropy of every row; see the head of this file.
pub fn cross_entropy(logits: &Tensor, targets: &[i64], label_smoothing: f64) -> Result<Tensor> {
    let &[rows, classes] = logits.shape() else {
        return Error::shape("cross_entropy", format!("logits {:?}: expected [N, C]", logits.shape()));
    };
    check_targets("cross_entropy", rows, classes, targets, label_smoothing)?;
    let (loss, lse) = float!("cross_entropy", logits, T => {
        let (mut loss, mut lse) = (unset::<T>(rows), unset::<T>(rows));
        kernel::cross_entropy_forward(logits.values::<T>()?, classes, targets, label_smoothing, &mut loss, &mut lse);
        Ok::<_, Error>((Storage::from(loss), Storage::from(lse)))
    })?;
    let lse = Tensor::constant(lse, vec![rows]);
    let targets = targets.to_vec();
    Ok(Tensor::made("cross_entropy", true, loss, vec![rows], &[logits], move |step| {
        let logits = &step.inputs[0];
        let d = float!("cross_entropy", logits, T => {
            let mut d = unset::<T>(rows * classes);
            kernel::cross_entropy_backward(logits.values::<T>()?, classes, &targets, label_smoothing, lse.values()?, step.grad.values()?, &mut d);
            Ok::<_, Error>(Storage::from(d))
        })?;
        Ok(vec![Some(Tensor::constant(d, vec![rows, classes]))])
    }))
}

/// Refuses targets that are no classes of so many rows.
pub(super) fn check_targets(
    op: &'static str,
    rows: usize,
    classes: usize,
    targets: &[i64],
    label_smoothing: f64,
) -> Result<()> {
    if classes == 0 {
        return Error::shape(op, format!("{rows} rows have no classes"));
    }
    if targets.len() != rows {
        return Error::shape(op, format!("{} targets for {rows} rows", targets.len()));
    }
    if let Some((row, target)) = targets.iter().enumerate().find(|(_, t)| **t >= classes as i64) {
        return Error::value(op, format!("target {target} in row {row} of {classes} classes"));
    }
    if !(0.0..1.0).contains(&label_smoothing) {
        return Error::value(op, format!("label smoothing {label_smoothing} is outside 0..1"));
    }
    Ok(())
}
