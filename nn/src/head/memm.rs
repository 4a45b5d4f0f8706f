//! Maximum-entropy Markov model: each tag given the text and the tag before it.
//! Definition:  p(y_t | y_{t-1}) = softmax(z_t)[y_t];  z_1 = f_1, z_t = scale (f_t + g[y_{t-1}, :])
//!              bidirectional: mean with the same model read from right to left with g^T
//! Shapes:      hidden [T, D] -> emissions f [T, C]; g [C, C] (from, to), or L R^T with L, R [C, r]
//! Loss:        mean over tokens.  Cost O(T C) beyond the emissions, parallel over tokens
//! Decoding:    Viterbi on f and g (default), or exact on log p(y_t | y_{t-1}), which has label bias
//! Reference:   McCallum et al., 2000; bert4keras.     Vectors: memm-crf.json

use bert4rs_tensor::op::crf::{Transitions, crf_best_path};
use bert4rs_tensor::op::prepared::WeightPrecision;
use bert4rs_tensor::{Packed, Parameter, ParameterKind, Tensor};

use super::tag::{MemmDecoding, TagHeadConfig, check_labels, emission_layer, restrict};
use super::tags::Constraints;
use crate::block::Linear;
use crate::loss::cross_entropy;
use crate::{Builder, Ctx, Init, Result};

/// The head.
pub struct Memm {
    dense: Linear,
    transitions: Stored,
    lr_multiplier: f64,
    bidirectional: bool,
    scale: f64,
    decoding: MemmDecoding,
    constraints: Option<Constraints>,
    tags: usize,
}

/// How transitions are kept.
enum Stored {
    Full(Parameter),
    LowRank(Parameter, Parameter),
}

/// Transitions as they are used: `from to^T`, or `from` itself.
struct Scores {
    from: Tensor,
    to: Option<Tensor>,
}

impl Scores {
    /// `g [C, C]`
    fn matrix(&self) -> Result<Tensor> {
        match &self.to {
            Some(to) => Ok(self.from.matmul_t(to)?),
            None => Ok(self.from.clone()),
        }
    }

    /// Rows of `g`, or of `g^T`, for known neighbours; 0 for id `C`. A low rank never makes `g`.
    fn rows(&self, neighbours: &[usize], transposed: bool) -> Result<Tensor> {
        let (table, other) = match (&self.to, transposed) {
            (None, false) => (self.from.clone(), None),
            (None, true) => (self.from.t()?, None),
            (Some(to), false) => (self.from.clone(), Some(to)),
            (Some(to), true) => (to.clone(), Some(&self.from)),
        };
        let nobody = Tensor::zeros(&[1, table.shape()[1]], table.dtype());
        let rows = Tensor::concat(&[&table, &nobody], 0)?.rows(neighbours)?;
        match other {
            Some(other) => Ok(rows.matmul_t(other)?),
            None => Ok(rows),
        }
    }
}

impl Memm {
    /// Parameters `dense.weight [C, D]`, `dense.bias` and `transitions [C, C]` at 0, or for a low
    /// rank `left_transitions` and `right_transitions`, `[C, r]` each.
    pub fn new(
        builder: &mut Builder,
        hidden_size: usize,
        config: &TagHeadConfig,
        constraints: Option<Constraints>,
    ) -> Result<Self> {
        config.check(constraints.as_ref())?;
        let tags = config.tags;
        let dense = emission_layer(builder, hidden_size, tags)?;
        let kind = ParameterKind::Bias; // no weight decay
        let transitions = match config.rank {
            None => Stored::Full(builder.parameter("transitions", &[tags, tags], kind, Init::Zeros)?),
            Some(rank) => {
                // A product of zeros has no gradient, so the factors start small instead.
                let init = Init::Normal { deviation: 0.1 / config.lr_multiplier };
                Stored::LowRank(
                    builder.parameter("left_transitions", &[tags, rank], kind, init)?,
                    builder.parameter("right_transitions", &[tags, rank], kind, init)?,
                )
            }
        };
        Ok(Self {
            dense,
            transitions,
            lr_multiplier: config.lr_multiplier,
            bidirectional: config.bidirectional,
            scale: config.scale,
            decoding: config.decode,
            constraints,
            tags,
        })
    }

    fn scores(&self, ctx: &Ctx) -> Result<Scores> {
        let used = |p: &Parameter| ctx.value(p).mul_scalar(self.lr_multiplier);
        Ok(match &self.transitions {
            Stored::Full(g) => Scores { from: used(g)?, to: None },
            Stored::LowRank(left, right) => Scores { from: used(left)?, to: Some(used(right)?) },
        })
    }

    /// Arranges the weights for inference; see [`Linear::prepare`].
    pub fn prepare(&mut self, precision: WeightPrecision) -> Result<()> {
        self.dense.prepare(precision)
    }

    /// Mean over tokens of `-log p(y_t | neighbour)`, `labels [T]`.
    pub fn loss(&self, ctx: &mut Ctx, hidden: &Tensor, batch: &Packed, labels: &[usize]) -> Result<Tensor> {
        check_labels(labels, self.tags, batch)?;
        let emissions = self.dense.forward(ctx, hidden)?; // [T, C]
        let scores = self.scores(ctx)?;
        let forward = self.one_way(&emissions, &scores, batch, labels, false)?;
        if !self.bidirectional {
            return Ok(forward);
        }
        let backward = self.one_way(&emissions, &scores, batch, labels, true)?;
        Ok(forward.add(&backward)?.mul_scalar(0.5)?)
    }

    fn one_way(
        &self,
        emissions: &Tensor,
        scores: &Scores,
        batch: &Packed,
        labels: &[usize],
        reverse: bool,
    ) -> Result<Tensor> {
        let mut neighbours = vec![self.tags; labels.len()]; // the id `C` stands for nobody
        for b in 0..batch.sequences() {
            let range = batch.range(b);
            for t in range.start + 1..range.end {
                if reverse {
                    neighbours[t - 1] = labels[t];
                } else {
                    neighbours[t] = labels[t - 1];
                }
            }
        }
        let factors = neighbours.iter().map(|&n| if n == self.tags { 1.0 } else { self.scale }).collect();
        let factors = Tensor::new(factors, &[labels.len(), 1])?.cast(emissions.dtype())?;
        let z = emissions.add(&scores.rows(&neighbours, reverse)?)?.mul(&factors)?; // [T, C]
        let targets: Vec<i64> = labels.iter().map(|&l| l as i64).collect();
        cross_entropy(&z, &targets, 0.0)
    }

    /// The best tags of every sequence (Viterbi; ties go to the lowest tag).
    pub fn decode(&self, ctx: &mut Ctx, hidden: &Tensor, batch: &Packed) -> Result<Vec<Vec<usize>>> {
        let emissions = self.dense.forward(ctx, hidden)?.detach();
        let g = self.scores(ctx)?.matrix()?.detach();
        match self.decoding {
            MemmDecoding::Unnormalised => self.unnormalised(&emissions, &g, batch),
            MemmDecoding::Exact => {
                let chain = Chain::new(&emissions, &g, self.scale);
                let path = |b| chain.best_path(batch.range(b), self.constraints.as_ref());
                Ok((0..batch.sequences()).map(path).collect())
            }
        }
    }

    fn unnormalised(&self, emissions: &Tensor, g: &Tensor, batch: &Packed) -> Result<Vec<Vec<usize>>> {
        let ends = match &self.constraints {
            Some(allowed) => {
                let zeros = Tensor::zeros(&[self.tags], g.dtype());
                Some((restrict(&zeros, &allowed.start)?, restrict(&zeros, &allowed.end)?))
            }
            None => None,
        };
        let between = match &self.constraints {
            Some(allowed) => restrict(g, &allowed.between)?,
            None => g.clone(),
        };
        let transitions = Transitions { between: &between, ends: ends.as_ref().map(|(s, e)| (s, e)) };
        Ok(crf_best_path(emissions, transitions, batch)?.into_iter().map(|(path, _)| path).collect())
    }

    /// `P(y_t = c)` of every token along the chain from left to right, `[T, C]`; no gradient.
    pub fn marginals(&self, ctx: &mut Ctx, hidden: &Tensor, batch: &Packed) -> Result<Tensor> {
        let emissions = self.dense.forward(ctx, hidden)?.detach();
        let chain = Chain::new(&emissions, &self.scores(ctx)?.matrix()?.detach(), self.scale);
        let out = (0..batch.sequences()).flat_map(|b| chain.marginals(batch.range(b))).collect();
        Ok(Tensor::new(out, emissions.shape())?.cast(emissions.dtype())?)
    }
}

/// The trained probabilities, in f64. Cost O(T C^2).
struct Chain {
    emissions: Vec<f64>,
    transitions: Vec<f64>,
    scale: f64,
    tags: usize,
}

impl Chain {
    fn new(emissions: &Tensor, g: &Tensor, scale: f64) -> Self {
        let tags = g.shape()[0];
        Self { emissions: emissions.to_f64_vec(), transitions: g.to_f64_vec(), scale, tags }
    }

    /// `log p(y_t = . | y_{t-1} = from)`, or of the first token.
    fn step(&self, t: usize, from: Option<usize>) -> Vec<f64> {
        let f = &self.emissions[t * self.tags..][..self.tags];
        let z: Vec<f64> = match from {
            None => f.to_vec(),
            Some(i) => {
                let g = &self.transitions[i * self.tags..][..self.tags];
                f.iter().zip(g).map(|(f, g)| self.scale * (f + g)).collect()
            }
        };
        let top = z.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let log_sum = top + z.iter().map(|v| (v - top).exp()).sum::<f64>().ln();
        z.iter().map(|v| v - log_sum).collect()
    }

    fn best_path(&self, range: std::ops::Range<usize>, allowed: Option<&Constraints>) -> Vec<usize> {
        if range.is_empty() {
            return Vec::new();
        }
        let forbidden = f64::NEG_INFINITY;
        let mut best = self.step(range.start, None);
        if let Some(allowed) = allowed {
            (0..self.tags).filter(|&j| !allowed.start[j]).for_each(|j| best[j] = forbidden);
        }
        let mut from: Vec<Vec<usize>> = Vec::with_capacity(range.len());
        for t in range.start + 1..range.end {
            let (mut next, mut came) = (vec![forbidden; self.tags], vec![0; self.tags]);
            for i in 0..self.tags {
                for (j, p) in self.step(t, Some(i)).into_iter().enumerate() {
                    let legal = allowed.is_none_or(|a| a.between[i * self.tags + j]);
                    if legal && best[i] + p > next[j] {
                        (next[j], came[j]) = (best[i] + p, i);
                    }
                }
            }
            best = next;
            from.push(came);
        }
        let legal = |j: &usize| allowed.is_none_or(|a| a.end[*j]);
        let last = (0..self.tags).filter(legal).reduce(|a, j| if best[j] > best[a] { j } else { a });
        let mut path = vec![last.unwrap_or(0)];
        for came in from.iter().rev() {
            path.push(came[path[path.len() - 1]]);
        }
        path.reverse();
        path
    }

    fn marginals(&self, range: std::ops::Range<usize>) -> Vec<f64> {
        let mut out: Vec<f64> = Vec::with_capacity(range.len() * self.tags);
        for t in range.clone() {
            if t == range.start {
                out.extend(self.step(t, None).into_iter().map(f64::exp));
                continue;
            }
            let before = out[out.len() - self.tags..].to_vec();
            let mut now = vec![0.0; self.tags];
            for (i, p) in before.into_iter().enumerate() {
                now.iter_mut().zip(self.step(t, Some(i))).for_each(|(n, q)| *n += p * q.exp());
            }
            out.extend(now);
        }
        out
    }
}
