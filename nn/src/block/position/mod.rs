//! How a model knows the order of tokens.

mod frequency;
mod linear_attention;
mod rerope;
mod rotary;
mod sinusoid;

pub use frequency::{Frequencies, Scaling, decay_curve, inverse_frequencies, log_n_factors};
pub use linear_attention::{linear_attention, one_plus_cosine_attention};
pub use rerope::{Rerope, rerope_scores};
pub use rotary::{Rotary, Rotation, layout_permutation};
pub use sinusoid::sinusoids;
