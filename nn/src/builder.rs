//! Making parameters: names by path, values by initialisation.

use bert4rs_tensor::{DType, Parameter, ParameterKind, Params, Rng, Tensor};

use crate::Result;

/// How a new parameter starts. For matrices `[out, in]` the fans are those extents.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Init {
    /// 0 everywhere.
    Zeros,
    /// 1 everywhere.
    Ones,
    /// Normal with this deviation (BERT: 0.02).
    Normal {
        /// Standard deviation.
        deviation: f64,
    },
    /// Uniform in `-limit..limit`.
    Uniform {
        /// Largest absolute value.
        limit: f64,
    },
    /// Uniform with variance `2 / (in + out)`.
    Xavier,
    /// Normal with deviation `gain sqrt(2 / (in + out))`.
    XavierNormal {
        /// Factor of the deviation.
        gain: f64,
    },
    /// Normal with variance `1 / in`.
    LeCun,
    /// Normal with deviation `gain / sqrt(in)`.
    FanIn {
        /// Factor of the deviation.
        gain: f64,
    },
    /// Normal, cut at two `sigma`.
    TruncatedNormal {
        /// The deviation before the cut.
        sigma: f64,
    },
    /// Normal, cut at two deviations of before the cut, with deviation `gain / sqrt(in)` after it.
    TruncatedFanIn {
        /// Factor of the deviation.
        gain: f64,
    },
    /// Normal with deviation 1, for products that divide by the root of their inputs.
    Ntk,
    /// The same number everywhere.
    Constant {
        /// The number.
        value: f64,
    },
    /// Orthonormal rows or columns, whichever are fewer; for recurrent weights `[k d, d]` each
    /// square block of `d` rows by itself.
    Orthogonal,
}

/// How a parameter of a new model starts.
#[derive(Clone, Debug, PartialEq)]
pub struct Start {
    /// Of the parameter.
    pub name: String,
    /// What it is for.
    pub kind: ParameterKind,
    /// Of the parameter.
    pub shape: Vec<usize>,
    /// How it starts; some recurrent biases are changed after that.
    pub init: Init,
}

impl Start {
    /// The root of the mean square that its numbers have.
    pub fn scale(&self) -> f64 {
        let (out, inputs) = fans(&self.shape);
        let (sum, inputs) = ((inputs + out).max(1) as f64, inputs.max(1) as f64);
        match self.init {
            Init::Zeros => 0.0,
            Init::Ones | Init::Ntk => 1.0,
            Init::Normal { deviation } => deviation,
            Init::Uniform { limit } => limit / 3f64.sqrt(),
            Init::Xavier => (2.0 / sum).sqrt(),
            Init::XavierNormal { gain } => gain * (2.0 / sum).sqrt(),
            Init::LeCun | Init::Orthogonal => inputs.sqrt().recip(),
            Init::FanIn { gain } | Init::TruncatedFanIn { gain } => gain / inputs.sqrt(),
            Init::TruncatedNormal { sigma } => sigma * Init::TRUNCATED_RATIO,
            Init::Constant { value } => value.abs(),
        }
    }
}

/// Outputs and inputs of a matrix.
fn fans(shape: &[usize]) -> (usize, usize) {
    match shape {
        [out, rest @ ..] if !rest.is_empty() => (*out, rest.iter().product::<usize>()),
        _ => (1, shape.iter().product()),
    }
}

impl Init {
    /// Deviation of a normal number that is cut at two deviations, relative to before.
    pub const TRUNCATED_RATIO: f64 = 0.879_625_661_034; // sqrt(1 - 4 phi(2) / (2 Phi(2) - 1))
}

/// Adds parameters under a path of names, so that `builder.at("layer.0")` makes `layer.0.weight`.
pub struct Builder<'a> {
    params: &'a mut Params,
    rng: &'a mut Rng,
    prefix: String,
    dtype: DType,
    blank: bool,
    starts: Option<&'a mut Vec<Start>>,
}

impl<'a> Builder<'a> {
    /// A builder at the root.
    pub fn new(params: &'a mut Params, rng: &'a mut Rng, dtype: DType) -> Self {
        Self { params, rng, prefix: String::new(), dtype, blank: false, starts: None }
    }

    /// The builder of a part; an empty name is the same place.
    pub fn at(&mut self, name: impl std::fmt::Display) -> Builder<'_> {
        let prefix = path(&self.prefix, &name.to_string());
        let starts = self.starts.as_deref_mut();
        Builder { params: self.params, rng: self.rng, prefix, dtype: self.dtype, blank: self.blank, starts }
    }

    /// The same place, with parameters that start at 0: for values that are read next, which saves the
    /// time of random ones.
    pub fn blank(&mut self) -> Builder<'_> {
        Builder { blank: true, ..self.at("") }
    }

    /// The same place, as [`Builder::blank`], with a list of how parameters would start otherwise.
    pub fn listing<'b>(&'b mut self, starts: &'b mut Vec<Start>) -> Builder<'b> {
        Builder { starts: Some(starts), ..self.blank() }
    }

    /// The type of new parameters.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// Adds a parameter.
    pub fn parameter(
        &mut self,
        name: &str,
        shape: &[usize],
        kind: ParameterKind,
        init: Init,
    ) -> Result<Parameter> {
        if let Some(starts) = &mut self.starts {
            let name = path(&self.prefix, name);
            starts.push(Start { name, kind, shape: shape.to_vec(), init });
        }
        let value = self.initial(shape, if self.blank { Init::Zeros } else { init })?;
        Ok(self.params.add(&path(&self.prefix, name), &value, kind)?)
    }

    fn initial(&mut self, shape: &[usize], init: Init) -> Result<Tensor> {
        let (out, fan_in) = fans(shape);
        let dtype = self.dtype;
        Ok(match init {
            // Memory that the system zeroes when it is touched: values from a file may take its place.
            Init::Zeros if dtype == DType::F32 => Tensor::new(vec![0f32; shape.iter().product()], shape)?,
            Init::Zeros => Tensor::zeros(shape, dtype),
            Init::Ones => Tensor::full(1.0, shape, dtype),
            Init::Normal { deviation } => self.rng.normal_tensor(shape, deviation, dtype)?,
            Init::Uniform { limit } => self.rng.uniform_tensor(shape, limit, dtype)?,
            Init::Xavier => {
                self.rng.uniform_tensor(shape, (6.0 / (fan_in + out).max(1) as f64).sqrt(), dtype)?
            }
            Init::XavierNormal { gain } => {
                let deviation = gain * (2.0 / (fan_in + out).max(1) as f64).sqrt();
                self.rng.normal_tensor(shape, deviation, dtype)?
            }
            Init::LeCun => self.rng.normal_tensor(shape, (1.0 / fan_in.max(1) as f64).sqrt(), dtype)?,
            Init::FanIn { gain } => {
                self.rng.normal_tensor(shape, gain / (fan_in.max(1) as f64).sqrt(), dtype)?
            }
            Init::TruncatedNormal { sigma } => self.rng.truncated_tensor(shape, sigma, dtype)?,
            Init::TruncatedFanIn { gain } => {
                let deviation = gain / (fan_in.max(1) as f64).sqrt();
                self.rng.truncated_tensor(shape, deviation / Init::TRUNCATED_RATIO, dtype)?
            }
            Init::Ntk => self.rng.normal_tensor(shape, 1.0, dtype)?,
            Init::Constant { value } => Tensor::full(value, shape, dtype),
            Init::Orthogonal => orthogonal(self.rng, shape, out, fan_in, dtype)?,
        })
    }
}

fn path(prefix: &str, name: &str) -> String {
    match (prefix.is_empty(), name.is_empty()) {
        (true, _) => name.to_string(),
        (false, true) => prefix.to_string(),
        (false, false) => format!("{prefix}.{name}"),
    }
}

/// Gram-Schmidt on normal rows, block by block.
fn orthogonal(rng: &mut Rng, shape: &[usize], out: usize, width: usize, dtype: DType) -> Result<Tensor> {
    let mut values = Vec::with_capacity(out * width);
    while values.len() < out * width {
        let block = width.min(out - values.len() / width.max(1));
        let mut rows: Vec<Vec<f64>> = Vec::with_capacity(block);
        while rows.len() < block {
            let mut row: Vec<f64> = (0..width).map(|_| rng.normal()).collect();
            for done in &rows {
                let inner: f64 = row.iter().zip(done).map(|(a, b)| a * b).sum();
                row.iter_mut().zip(done).for_each(|(a, b)| *a -= inner * b);
            }
            let norm = row.iter().map(|a| a * a).sum::<f64>().sqrt();
            if norm > 1e-6 {
                rows.push(row.iter().map(|a| a / norm).collect());
            }
        }
        values.extend(rows.into_iter().flatten());
    }
    Ok(Tensor::new(values, shape)?.cast(dtype)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn build(shape: &[usize], init: Init) -> Vec<f64> {
        let (mut params, mut rng) = (Params::new(), Rng::new(5));
        let mut builder = Builder::new(&mut params, &mut rng, DType::F64);
        builder.at("a").at("").at(3).parameter("w", shape, ParameterKind::Matrix, init).unwrap();
        params.get("a.3.w").unwrap().value().to_f64_vec()
    }

    #[test]
    fn deviations_follow_the_fans() {
        let deviation = |xs: &[f64]| (xs.iter().map(|x| x * x).sum::<f64>() / xs.len() as f64).sqrt();
        assert!((deviation(&build(&[50, 100], Init::LeCun)) - 0.1).abs() < 0.005);
        assert!((deviation(&build(&[100, 100], Init::Xavier)) - 0.1).abs() < 0.005);
        assert!((deviation(&build(&[100, 100], Init::Normal { deviation: 0.02 })) - 0.02).abs() < 0.001);
    }

    #[test]
    fn a_start_says_the_scale_that_its_numbers_have() {
        let inits = [
            Init::Zeros,
            Init::Ones,
            Init::Normal { deviation: 0.3 },
            Init::Uniform { limit: 0.3 },
            Init::Xavier,
            Init::XavierNormal { gain: 2.0 },
            Init::LeCun,
            Init::FanIn { gain: 2.0 },
            Init::TruncatedNormal { sigma: 0.3 },
            Init::TruncatedFanIn { gain: 2.0 },
            Init::Ntk,
            Init::Constant { value: -0.5 },
            Init::Orthogonal,
        ];
        for init in inits {
            let shape = [200, 100];
            let values = build(&shape, init);
            let scale = (values.iter().map(|x| x * x).sum::<f64>() / values.len() as f64).sqrt();
            let (mut params, mut rng, mut starts) = (Params::new(), Rng::new(5), Vec::new());
            let mut builder = Builder::new(&mut params, &mut rng, DType::F64);
            let kind = ParameterKind::Matrix;
            builder.listing(&mut starts).at("a").parameter("w", &shape, kind, init).unwrap();
            assert_eq!((starts.len(), starts[0].name.as_str()), (1, "a.w"));
            assert!((starts[0].scale() - scale).abs() <= 0.02 * scale, "{init:?}: {scale}");
            assert_eq!(params.get("a.w").unwrap().value().to_f64_vec(), vec![0.0; 20_000], "{init:?}");
        }
    }

    #[test]
    fn orthogonal_blocks_have_orthonormal_rows() {
        let w = build(&[8, 4], Init::Orthogonal);
        for (i, j) in [(0, 0), (0, 1), (2, 3), (4, 4), (5, 7)] {
            let inner: f64 = (0..4).map(|k| w[i * 4 + k] * w[j * 4 + k]).sum();
            assert!((inner - f64::from(u8::from(i == j))).abs() < 1e-12, "rows {i} and {j}: {inner}");
        }
    }
}
