//! A function of every text by itself, such as one that mixes its tokens.
//! Definition:  y_b = f(b, x_b .., w ..) for every sequence b of a packed batch
//! Shapes:      xs [T, ..], ws any -> [T, width]
//! Gradient:    fused; `f` runs again in the backward pass, so that what is inside, such as weights
//!              `[L, L]`, is there for a few texts at a time only
//! Numerics:    a text's result depends on itself alone; gradients of `ws` are summed in the order of
//!              texts, whatever the threads

use bert4rs_kernels::parallel;

use crate::gradient::pull_back;
use crate::{Error, Packed, Result, Tensor};

/// Texts whose gradients of `ws` wait in memory to be summed.
const TOGETHER: usize = 8;

/// `f` of the rows of every text; `f` gets the number of the text, its rows of `xs` and all of `ws`,
/// and gives as many rows of `width` numbers. Texts without tokens are left out.
pub fn per_text(
    xs: &[&Tensor],
    ws: &[&Tensor],
    batch: &Packed,
    width: usize,
    f: impl Fn(usize, &[Tensor], &[Tensor]) -> Result<Tensor> + Send + Sync + 'static,
) -> Result<Tensor> {
    for x in xs {
        if x.shape().first() != Some(&batch.tokens()) {
            let message = format!("x {:?} for {} packed tokens", x.shape(), batch.tokens());
            return Error::shape("per_text", message);
        }
    }
    let Some(dtype) = xs.first().map(|x| x.dtype()) else {
        return Error::shape("per_text", "no rows");
    };
    let texts: Vec<usize> = (0..batch.sequences()).filter(|&b| batch.length(b) > 0).collect();
    let inputs: Vec<&Tensor> = xs.iter().chain(ws).copied().collect();
    let (rows, shared): (Vec<Tensor>, Vec<Tensor>) =
        (xs.iter().map(|x| x.detach()).collect(), ws.iter().map(|w| w.detach()).collect());
    let parts = parallel::map(texts.len(), cost(batch), |i| {
        let b = texts[i];
        let y = f(b, &cut(&rows, batch, b)?, &shared)?;
        match y.shape() == [batch.length(b), width] {
            true => Ok(y),
            false => {
                Error::shape("per_text", format!("text {b} gave {:?}, expected width {width}", y.shape()))
            }
        }
    });
    let y = joined(parts, width, dtype)?;
    let (batch, count) = (batch.clone(), xs.len());
    Ok(Tensor::made("per_text", true, y.storage().clone(), y.shape().to_vec(), &inputs, move |step| {
        let mut of_rows: Vec<Vec<Tensor>> = vec![Vec::new(); count];
        let mut of_shared: Vec<Option<Tensor>> = vec![None; step.inputs.len() - count];
        for block in texts.chunks(TOGETHER) {
            let all = parallel::map(block.len(), cost(&batch), |i| {
                let b = block[i];
                let leaf = |x: &Tensor, wanted: bool| if wanted { x.tracked() } else { x.detach() };
                let rows = cut(&step.inputs[..count], &batch, b)?;
                let rows: Vec<Tensor> = rows.iter().zip(&step.needs).map(|(x, &w)| leaf(x, w)).collect();
                let shared = step.inputs[count..].iter().zip(&step.needs[count..]);
                let shared: Vec<Tensor> = shared.map(|(x, &w)| leaf(x, w)).collect();
                let y = f(b, &rows, &shared)?;
                let grad = step.grad.narrow(0, batch.offsets()[b], batch.length(b))?;
                let mut gradients = if y.is_tracked() { Some(pull_back(y, grad)?) } else { None };
                let mut take = |x: &Tensor| gradients.as_mut().and_then(|g| g.take(x));
                let of_rows: Vec<Tensor> =
                    rows.iter().map(|x| take(x).unwrap_or_else(|| x.zeros_like())).collect();
                Ok::<_, Error>((of_rows, shared.iter().map(take).collect::<Vec<_>>()))
            });
            for result in all {
                let (rows, shared) = result?;
                of_rows.iter_mut().zip(rows).for_each(|(all, x)| all.push(x));
                for (sum, g) in of_shared.iter_mut().zip(shared) {
                    *sum = match (sum.take(), g) {
                        (Some(sum), Some(g)) => Some(sum.add_reusing(g)?),
                        (sum, g) => sum.or(g),
                    };
                }
            }
        }
        let mut grads = Vec::with_capacity(step.inputs.len());
        for (i, parts) in of_rows.into_iter().enumerate() {
            let joined = if parts.is_empty() {
                step.inputs[i].zeros_like()
            } else {
                Tensor::concat(&parts.iter().collect::<Vec<_>>(), 0)?
            };
            grads.push(Some(joined));
        }
        grads.extend(of_shared);
        Ok(grads)
    }))
}

/// Elementary steps of a text, as far as the choice of one thread or several needs them.
fn cost(batch: &Packed) -> usize {
    64 * batch.longest() * batch.longest()
}

fn cut(xs: &[Tensor], batch: &Packed, b: usize) -> Result<Vec<Tensor>> {
    xs.iter().map(|x| x.detach().narrow(0, batch.offsets()[b], batch.length(b))).collect()
}

fn joined(parts: Vec<Result<Tensor>>, width: usize, dtype: crate::DType) -> Result<Tensor> {
    let parts = parts.into_iter().collect::<Result<Vec<_>>>()?;
    match parts.is_empty() {
        true => Ok(Tensor::zeros(&[0, width], dtype)),
        false => Tensor::concat(&parts.iter().collect::<Vec<_>>(), 0),
    }
}
