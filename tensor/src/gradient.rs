//! Reverse-mode differentiation.
//!
//! Definition:  gradient of a scalar `y` with respect to tracked tensors, by one walk over the
//!              operations that made `y`, newest first
//! Second order: with `create_graph` the walk itself is tracked, so elementary operations give
//!              gradients of gradients; fused operations refuse
//! Memory:      [`backward`] frees each intermediate as soon as its gradient has been passed on

use std::collections::HashMap;
use std::sync::Arc;

use crate::tensor::{Inner, Origin};
use crate::{Error, Result, Tensor};

type Rule = Box<dyn Fn(&Step) -> Result<Vec<Option<Tensor>>> + Send + Sync>;

/// How a tensor was made.
pub(crate) struct Node {
    pub(crate) op: &'static str,
    pub(crate) fused: bool,
    pub(crate) inputs: Vec<Tensor>,
    pub(crate) backward: Rule,
}

/// What a backward rule sees. Without `create_graph` the tensors are detached, so the same rule
/// written with tensor operations records nothing.
pub(crate) struct Step {
    pub(crate) inputs: Vec<Tensor>,
    pub(crate) output: Tensor,
    pub(crate) grad: Tensor,
    pub(crate) needs: Vec<bool>,
    pub(crate) create_graph: bool,
}

/// Gradients of one scalar, by the tensor they belong to.
pub struct Gradients(HashMap<usize, (Tensor, Tensor)>);

/// A tensor's address names it; the map keeps the tensor, so the address is not used again.
fn key(x: &Tensor) -> usize {
    Arc::as_ptr(&x.0) as usize
}

impl Gradients {
    /// The gradient for `x`, none when `x` did not take part.
    pub fn of(&self, x: &Tensor) -> Option<&Tensor> {
        self.0.get(&key(x)).map(|(_, grad)| grad)
    }

    /// Takes the gradient for `x` out.
    pub fn take(&mut self, x: &Tensor) -> Option<Tensor> {
        self.0.remove(&key(x)).map(|(_, grad)| grad)
    }

    fn add(&mut self, x: &Tensor, grad: Tensor) -> Result<()> {
        match self.0.remove(&key(x)) {
            None => self.0.insert(key(x), (x.clone(), grad)),
            Some((x, sum)) => self.0.insert(key(&x), (x, sum.add_reusing(grad)?)),
        };
        Ok(())
    }
}

/// Gradients of the scalar `loss` for every leaf it depends on.
///
/// Consumes the loss, so that intermediates are freed during the walk (those the caller still holds
/// stay). Errors when `loss` is not a scalar or not tracked.
pub fn backward(loss: Tensor) -> Result<Gradients> {
    let gradients = start(&loss)?;
    walk(loss, gradients)
}

/// Gradients of `<y, grad>` for every leaf that `y` depends on; none when it depends on no leaf.
pub(crate) fn pull_back(y: Tensor, grad: Tensor) -> Result<Gradients> {
    let mut gradients = Gradients(HashMap::new());
    gradients.add(&y, grad)?;
    walk(y, gradients)
}

/// The leaves that `y` depends on.
pub(crate) fn leaves(y: &Tensor) -> Vec<Tensor> {
    let mut all = topological_order(y);
    all.retain(|x| matches!(x.0.origin, Origin::Leaf));
    all
}

/// Passes the gradient of `y` on to the leaves, and lets go of what is between.
fn walk(y: Tensor, mut gradients: Gradients) -> Result<Gradients> {
    let mut order = topological_order(&y);
    drop(y);
    while let Some(y) = order.pop() {
        let Origin::Made(node) = &y.0.origin else { continue };
        let Some(grad) = gradients.take(&y) else { continue };
        pass_on(&mut gradients, &y, node, grad, false)?;
    }
    Ok(gradients)
}

/// Gradients of the scalar `y` for the tensors `xs` (leaves or intermediates), in their order; zeros
/// where `y` does not depend on one. With `create_graph` they are tracked themselves.
pub fn grad(y: &Tensor, xs: &[&Tensor], create_graph: bool) -> Result<Vec<Tensor>> {
    if let Some(x) = xs.iter().find(|x| !x.is_tracked()) {
        let message = format!("asked for the gradient of an untracked tensor of shape {:?}", x.shape());
        return Err(Error::Gradient { op: "grad", message });
    }
    let mut gradients = start(y)?;
    let mut found: HashMap<usize, Tensor> = HashMap::new();
    for y in topological_order(y).iter().rev() {
        let wanted = xs.iter().any(|x| key(x) == key(y));
        match (&y.0.origin, gradients.take(y)) {
            (_, None) => {}
            (Origin::Made(node), Some(grad)) => {
                if wanted {
                    found.insert(key(y), grad.clone());
                }
                pass_on(&mut gradients, y, node, grad, create_graph)?;
            }
            (_, Some(grad)) => {
                if wanted {
                    found.insert(key(y), grad);
                }
            }
        }
    }
    Ok(xs.iter().map(|x| found.get(&key(x)).cloned().unwrap_or_else(|| x.zeros_like())).collect())
}

fn start(y: &Tensor) -> Result<Gradients> {
    if y.elements() != 1 {
        let message = format!("gradients start at one number, got shape {:?}; sum or average it", y.shape());
        return Err(Error::Gradient { op: "backward", message });
    }
    if !y.is_tracked() {
        let message = "the loss does not depend on a tracked tensor (all parameters frozen?)".to_string();
        return Err(Error::Gradient { op: "backward", message });
    }
    let mut gradients = Gradients(HashMap::new());
    gradients.add(y, Tensor::full(1.0, y.shape(), y.dtype()))?;
    Ok(gradients)
}

fn pass_on(all: &mut Gradients, y: &Tensor, node: &Node, grad: Tensor, create_graph: bool) -> Result<()> {
    if create_graph && node.fused {
        let message = "is fused and has no second-order gradient; build the loss from elementary \
                       operations, or use the central difference of two backward passes"
            .to_string();
        return Err(Error::Gradient { op: node.op, message });
    }
    let view = |x: &Tensor| if create_graph { x.clone() } else { x.detach() };
    let step = Step {
        inputs: node.inputs.iter().map(view).collect(),
        output: view(y),
        grad,
        needs: node.inputs.iter().map(Tensor::is_tracked).collect(),
        create_graph,
    };
    let scope = crate::profile::backward(node.op);
    let grads = (node.backward)(&step)?;
    drop(scope);
    debug_assert_eq!(grads.len(), node.inputs.len(), "{}", node.op);
    for ((x, needed), g) in node.inputs.iter().zip(&step.needs).zip(grads) {
        if let (true, Some(g)) = (*needed, g) {
            debug_assert_eq!(g.shape(), x.shape(), "gradient of {}", node.op);
            all.add(x, g)?;
        }
    }
    Ok(())
}

/// Every tracked tensor `y` depends on, inputs before results.
fn topological_order(y: &Tensor) -> Vec<Tensor> {
    let mut order = Vec::new();
    let mut seen = std::collections::HashSet::new();
    let mut stack = vec![(y.clone(), false)];
    while let Some((x, expanded)) = stack.pop() {
        if expanded {
            order.push(x);
            continue;
        }
        if !x.is_tracked() || !seen.insert(key(&x)) {
            continue;
        }
        stack.push((x.clone(), true));
        if let Origin::Made(node) = &x.0.origin {
            stack.extend(node.inputs.iter().map(|i| (i.clone(), false)));
        }
    }
    order
}

impl Drop for Inner {
    /// Long chains (recurrences, many accumulated losses) must not be freed by deep recursion.
    fn drop(&mut self) {
        let Origin::Made(node) = &mut self.origin else { return };
        let mut queue = std::mem::take(&mut node.inputs);
        while let Some(Tensor(inner)) = queue.pop() {
            if let Some(mut inner) = Arc::into_inner(inner)
                && let Origin::Made(node) = &mut inner.origin
            {
                queue.append(&mut node.inputs);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vector(xs: &[f64]) -> Tensor {
        Tensor::new(xs.to_vec(), &[xs.len()]).unwrap()
    }

    #[test]
    fn a_tensor_used_twice_gets_both_gradients() {
        let x = vector(&[2.0, 3.0]).tracked();
        let loss = x.mul(&x).unwrap().add(&x).unwrap().sum_all().unwrap();
        assert_eq!(backward(loss).unwrap().of(&x).unwrap().to_f64_vec(), [5.0, 7.0]);
    }

    #[test]
    fn gradients_of_gradients() {
        let x = vector(&[2.0]).tracked();
        let y = x.mul(&x).unwrap().mul(&x).unwrap().sum_all().unwrap(); // x^3
        let first = grad(&y, &[&x], true).unwrap().remove(0);
        assert_eq!(first.to_f64_vec(), [12.0]);
        let second = grad(&first.sum_all().unwrap(), &[&x], true).unwrap().remove(0);
        assert_eq!(second.to_f64_vec(), [12.0]);
        let third = grad(&second.sum_all().unwrap(), &[&x], false).unwrap().remove(0);
        assert_eq!(third.to_f64_vec(), [6.0]);
        assert!(!third.is_tracked());
    }

    #[test]
    fn only_scalars_have_gradients() {
        let x = vector(&[2.0, 1.0]).tracked();
        assert!(backward(x.clone()).err().unwrap().to_string().contains("sum or average"));
        let untracked = vector(&[1.0]);
        assert!(backward(untracked).err().unwrap().to_string().contains("frozen"));
    }

    #[test]
    fn a_chain_of_a_million_operations_is_dropped_without_recursion() {
        let x = vector(&[1.0]).tracked();
        let mut y = x.clone();
        for _ in 0..200_000 {
            y = y.add(&x).unwrap();
        }
        assert_eq!(backward(y.sum_all().unwrap()).unwrap().of(&x).unwrap().to_f64_vec(), [200_001.0]);
        drop(y);
    }
}
