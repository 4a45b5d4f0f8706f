//! What happens to a row of a product before it leaves the cache.

use crate::Real;
use crate::activation::Activation;
use crate::cpu::simd;

/// The rest of `y = activation(x W^T + bias) + residual`.
pub struct Epilogue<'a, T> {
    /// `[outputs]`
    pub bias: Option<&'a [T]>,
    /// Applied after the bias.
    pub activation: Option<Activation>,
    /// `[rows, outputs]`, added last.
    pub residual: Option<&'a [T]>,
    /// `[rows, outputs]`, set to `x W^T + bias`: what the backward pass of the activation needs.
    pub pre_activation: Option<&'a mut [T]>,
}

impl<T> Default for Epilogue<'_, T> {
    fn default() -> Self {
        Self { bias: None, activation: None, residual: None, pre_activation: None }
    }
}

impl<T: Real> Epilogue<'_, T> {
    /// The same, when `T` is `f32`.
    #[cfg(target_arch = "x86_64")]
    pub(super) fn as_f32(&mut self) -> Option<Epilogue<'_, f32>> {
        T::as_f32(&[])?;
        Some(Epilogue {
            bias: self.bias.and_then(T::as_f32),
            activation: self.activation,
            residual: self.residual.and_then(T::as_f32),
            pre_activation: self.pre_activation.as_deref_mut().and_then(T::as_f32_mut),
        })
    }
}

/// An epilogue that many threads may apply to different rows and columns.
pub(super) struct Finish<'a, T> {
    outputs: usize,
    bias: Option<&'a [T]>,
    activation: Option<Activation>,
    residual: Option<&'a [T]>,
    kept: Option<Kept<T>>,
}

struct Kept<T>(*mut T, std::marker::PhantomData<T>);
// SAFETY: every thread writes the pieces of rows it owns in the product.
unsafe impl<T: Send> Send for Kept<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for Kept<T> {}

impl<'a, T: Real> Finish<'a, T> {
    pub(super) fn new(epilogue: Epilogue<'a, T>, rows: usize, outputs: usize) -> Self {
        let Epilogue { bias, activation, residual, pre_activation } = epilogue;
        if let Some(bias) = bias {
            assert_eq!(bias.len(), outputs, "linear: bias has a wrong length");
        }
        if let Some(residual) = residual {
            assert_eq!(residual.len(), rows * outputs, "linear: residual has a wrong length");
        }
        let kept = pre_activation.map(|kept| {
            assert_eq!(kept.len(), rows * outputs, "linear: pre-activation has a wrong length");
            Kept(kept.as_mut_ptr(), std::marker::PhantomData)
        });
        Self { outputs, bias, activation, residual, kept }
    }

    /// Finishes `y`, the piece of row `row` from `column`.
    ///
    /// # Safety
    /// `row` and the columns are inside the matrix, and no other thread has this piece.
    pub(super) unsafe fn apply(&self, row: usize, column: usize, y: &mut [T]) {
        let at = row * self.outputs + column;
        // SAFETY: the piece is inside `kept`, borrowed mutably for 'a, and nobody else has it.
        let kept =
            self.kept.as_ref().map(|kept| unsafe { std::slice::from_raw_parts_mut(kept.0.add(at), y.len()) });
        let bias = self.bias.map(|bias| &bias[column..][..y.len()]);
        let residual = self.residual.map(|residual| &residual[at..][..y.len()]);
        simd(
            #[inline(always)]
            || {
                if let Some(bias) = bias {
                    for (y, &b) in y.iter_mut().zip(bias) {
                        *y += b;
                    }
                }
            },
        );
        if let Some(kept) = kept {
            kept.copy_from_slice(y);
        }
        if let Some(activation) = self.activation {
            activation.apply_all(y);
        }
        if let Some(residual) = residual {
            simd(
                #[inline(always)]
                || {
                    for (y, &r) in y.iter_mut().zip(residual) {
                        *y += r;
                    }
                },
            );
        }
    }
}
