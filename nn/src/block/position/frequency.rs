//! Frequencies of rotary positions, and their extension to longer texts.
//! Definition:  t_i = theta^(-2 i / d) for pair i of d channels; each kind of scaling by a factor k
//!              changes these numbers only (see [`Scaling`])
//! Numerics:    f64 throughout
//! Reference:   RoFormer, 2021; Su, Transformer upgrade parts 10 and 11, 2023; YaRN, 2023.
//!              Vectors: rope-roformer.json

use std::f64::consts::PI;

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// Extension of a trained model to texts `factor` times as long.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Scaling {
    /// As trained.
    #[default]
    None,
    /// Position interpolation: `t_i / k`.
    Linear {
        /// k
        factor: f64,
    },
    /// `t_i k^(-2 i / d)`
    NtkOld {
        /// k
        factor: f64,
    },
    /// `t_i k^(-2 i / (d - 2))`: the lowest frequency becomes exactly `t / k`.
    NtkAware {
        /// k
        factor: f64,
    },
    /// `t_i k^(-2 (i + 1) / d)`
    NtkFixed {
        /// k
        factor: f64,
    },
    /// `t_i exp(-a (i + 1)^b)` with `a = ln k / (d / 2)^b`.
    NtkMixed {
        /// k
        factor: f64,
        /// b: 1 is `NtkFixed`, 0 is `Linear`; 0.625 was best in the article.
        exponent: f64,
    },
    /// `NtkAware` that grows with the text beyond the training length.
    NtkDynamic {
        /// k
        factor: f64,
        /// Training length in tokens.
        trained_length: usize,
    },
    /// Per channel between `t_i` (fast) and `t_i / k` (slow); cosines and sines grow by 0.1 ln k + 1.
    Yarn {
        /// k
        factor: f64,
        /// Training length in tokens.
        trained_length: usize,
    },
    /// ReRoPE: beyond a distance of `window`, distances count as `window` (`slope` none) or grow `slope`
    /// times slower (leaky). Frequencies stay.
    Rerope {
        /// Distances below it count as they are.
        window: usize,
        /// The inverse slope beyond, at least 1.
        #[serde(default)]
        slope: Option<f64>,
    },
    /// By wavelength: long ones `t / k`, short ones as trained, a ramp between.
    Llama3 {
        /// k
        factor: f64,
        /// Training length in tokens.
        trained_length: usize,
        /// Wavelengths above `trained_length / low` are scaled.
        low: f64,
        /// Wavelengths below `trained_length / high` are kept.
        high: f64,
    },
}

impl Scaling {
    /// The training length, where longer texts have frequencies of their own.
    pub fn trained_length(&self) -> Option<usize> {
        match *self {
            Scaling::NtkDynamic { trained_length, .. } => Some(trained_length),
            Scaling::None
            | Scaling::Linear { .. }
            | Scaling::NtkOld { .. }
            | Scaling::NtkAware { .. }
            | Scaling::NtkFixed { .. }
            | Scaling::NtkMixed { .. }
            | Scaling::Yarn { .. }
            | Scaling::Rerope { .. }
            | Scaling::Llama3 { .. } => None,
        }
    }

    fn check(&self, size: usize) -> Result<()> {
        let (factor, trained_length) = match *self {
            Scaling::None => return Ok(()),
            Scaling::Linear { factor } | Scaling::NtkOld { factor } | Scaling::NtkFixed { factor } => {
                (factor, 1)
            }
            Scaling::Rerope { window, slope } => {
                if window == 0 {
                    return wrong("rerope.window is 0; half of the training length is usual");
                }
                (slope.unwrap_or(1.0), 1)
            }
            Scaling::NtkMixed { factor, .. } => (factor, 1),
            Scaling::NtkAware { factor } if size > 2 => (factor, 1),
            Scaling::NtkDynamic { factor, trained_length } if size > 2 => (factor, trained_length),
            Scaling::NtkAware { .. } | Scaling::NtkDynamic { .. } => {
                return wrong("ntk_aware and ntk_dynamic need more than 2 channels; use ntk_fixed");
            }
            Scaling::Yarn { factor, trained_length } => (factor, trained_length),
            Scaling::Llama3 { factor, trained_length, low, high } if 0.0 < low && low < high => {
                (factor, trained_length)
            }
            Scaling::Llama3 { low, high, .. } => {
                return wrong(format!("llama3 needs 0 < low < high, got {low} and {high}"));
            }
        };
        if !(factor >= 1.0 && factor.is_finite()) {
            return wrong(format!("scaling factor {factor}: expected how many times longer, at least 1"));
        }
        if trained_length == 0 {
            return wrong("trained_length is 0; set the length the model was trained on");
        }
        Ok(())
    }
}

/// Inverse frequencies `[size / 2]` and the factor of cosines and sines.
#[derive(Clone, Debug, PartialEq)]
pub struct Frequencies {
    /// Radians per position of each pair.
    pub inverse: Vec<f64>,
    /// 1, except for YaRN.
    pub factor: f64,
}

/// The frequencies of `size` channels; `length` is the text's, for the kind that depends on it.
pub fn inverse_frequencies(size: usize, theta: f64, scaling: &Scaling, length: usize) -> Result<Frequencies> {
    if size == 0 || size % 2 == 1 {
        return wrong(format!("{size} rotary channels cannot be paired; expected an even number"));
    }
    if !(theta > 0.0 && theta.is_finite()) {
        return wrong(format!("theta {theta}: expected a positive number, usually 10000"));
    }
    scaling.check(size)?;
    let d = size as f64;
    let power = |base: f64, i: usize| base.powf(-2.0 * i as f64 / d);
    let each =
        |f: &dyn Fn(usize, f64) -> f64| (0..size / 2).map(|i| f(i, power(theta, i))).collect::<Vec<f64>>();
    let mut factor_of_waves = 1.0;
    let inverse = match *scaling {
        Scaling::None | Scaling::Rerope { .. } => each(&|_, t| t),
        Scaling::Linear { factor: k } => each(&|_, t| t / k),
        Scaling::NtkOld { factor: k } => each(&|i, t| t * power(k, i)),
        Scaling::NtkAware { factor: k } => each(&|i, t| t * k.powf(-2.0 * i as f64 / (d - 2.0))),
        Scaling::NtkFixed { factor: k } => each(&|i, t| t * power(k, i + 1)),
        Scaling::NtkMixed { factor: k, exponent: b } => {
            let a = k.ln() / (d / 2.0).powf(b);
            each(&|i, t| t * (-a * (i as f64 + 1.0).powf(b)).exp())
        }
        Scaling::NtkDynamic { factor: k, trained_length } => {
            let n = length.max(trained_length) as f64;
            let base = theta * (k * n / trained_length as f64 - (k - 1.0)).powf(d / (d - 2.0));
            each(&|i, _| power(base, i))
        }
        Scaling::Yarn { factor: k, trained_length } => {
            factor_of_waves = 0.1 * k.ln() + 1.0;
            // The channel that makes `turns` rotations within the training length.
            let channel =
                |turns: f64| d * (trained_length as f64 / (2.0 * PI * turns)).ln() / (2.0 * theta.ln());
            let low = channel(32.0).floor().max(0.0);
            let high = channel(1.0).ceil().min(d - 1.0);
            let high = if low == high { high + 0.001 } else { high };
            each(&|i, t| {
                let ramp = ((i as f64 - low) / (high - low)).clamp(0.0, 1.0);
                t * (1.0 - ramp) + t / k * ramp
            })
        }
        Scaling::Llama3 { factor: k, trained_length, low, high } => each(&|_, t| {
            let turns = trained_length as f64 * t / (2.0 * PI);
            let kept = ((turns - low) / (high - low)).clamp(0.0, 1.0);
            (1.0 - kept) * t / k + kept * t
        }),
    };
    Ok(Frequencies { inverse, factor: factor_of_waves })
}

/// How the upper bound of a score decays with the distance of two tokens:
/// `(2 / d) sum over j of |sum over i < j of exp(i m t_i)|`.
pub fn decay_curve(size: usize, theta: f64, distances: &[f64]) -> Result<Vec<f64>> {
    let inverse = inverse_frequencies(size, theta, &Scaling::None, 0)?.inverse;
    let at = |m: &f64| {
        let (mut real, mut imaginary, mut total) = (0.0f64, 0.0f64, 0.0);
        for t in &inverse {
            real += (m * t).cos();
            imaginary += (m * t).sin();
            total += real.hypot(imaginary);
        }
        total * 2.0 / size as f64
    };
    Ok(distances.iter().map(at).collect())
}

/// Factors of queries for models trained at `trained_length`: `max(1, ln(m + 1) / ln(trained_length))`
/// at position m.
pub fn log_n_factors(positions: &[usize], trained_length: usize) -> Result<Vec<f64>> {
    if trained_length < 2 {
        return wrong(format!("log n needs a training length of at least 2, got {trained_length}"));
    }
    let base = (trained_length as f64).ln();
    Ok(positions.iter().map(|&m| ((m as f64 + 1.0).ln() / base).max(1.0)).collect())
}

fn wrong<T>(message: impl Into<String>) -> Result<T> {
    Err(Error::Config(message.into()))
}
