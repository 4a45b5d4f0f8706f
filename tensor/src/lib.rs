//! Tensors with tape autograd, packed batches, counter-based random numbers and weight files.
//!
//! One concrete [`Tensor`]: dtype, device and shape are run-time values, data is row-major and
//! contiguous. A tensor that depends on a tracked one carries the operation that made it; there is
//! no global tape. [`backward`] gives gradients for training, [`grad`] with `create_graph` gives
//! gradients of gradients through elementary operations. Every operation checks its shapes and
//! returns an [`Error`] that says what it got.
//!
//! ```
//! use bert4rs_tensor::{backward, Tensor};
//! # fn main() -> bert4rs_tensor::Result<()> {
//! let x = Tensor::new(vec![1.0f32, 2.0, 3.0], &[3])?.tracked();
//! let loss = x.square()?.sum_all()?;
//! let gradients = backward(loss)?;
//! assert_eq!(gradients.of(&x).unwrap().to_f64_vec(), [2.0, 4.0, 6.0]);
//! # Ok(()) }
//! ```

mod buffer;
mod device;
mod dtype;
mod error;
mod gradient;
pub mod io;
pub mod log_sum_exp;
pub mod normal;
pub mod op;
mod packed;
mod params;
pub mod profile;
mod rng;
mod shape;
mod storage;
mod tensor;

pub use bert4rs_kernels::cpu::has_int8_products;
pub use bert4rs_kernels::peak;
pub use device::Device;
pub use dtype::DType;
pub use error::{Error, Result};
pub use gradient::{Gradients, backward, grad};
pub use packed::Packed;
pub use params::{Parameter, ParameterKind, Params};
pub use rng::Rng;
pub use shape::Shape;
pub use tensor::{Element, Tensor};
