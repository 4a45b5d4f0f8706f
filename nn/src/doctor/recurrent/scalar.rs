//! What a gradient goes through in one step of a cell of one number, term by term.
//! Definition:  LSTM, o of the step before held: dc'/dc = f + f (1 - f) D c U_f + i (1 - i) D g U_i
//!              + i (1 - g^2) D U_g, D = o (1 - tanh^2 c);  GRU, the reset before the product: dh'/dh = (1 - z)
//!              - z (1 - z) h U_z + z (1 - z) g U_z + (1 - g^2) r (1 + (1 - r) h U_r) z U_h
//! Numerics:    1 - tanh^2 as 4 e / (1 + e)^2, e = exp(-2 |x|): no digits are lost far from 0
//! Reference:   Su, on the gradients of RNNs, 2020.   Vectors: rnn-gradient-analysis.json

/// The terms of an LSTM.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LstmTerms {
    /// The forget gate itself.
    pub forget: f64,
    /// Through the forget gate's sight of the state.
    pub from_forget: f64,
    /// Through the input gate's.
    pub from_input: f64,
    /// Through the candidate's.
    pub from_candidate: f64,
}

impl LstmTerms {
    /// The whole derivative.
    pub fn total(&self) -> f64 {
        self.forget + self.from_forget + self.from_input + self.from_candidate
    }
}

/// The terms of a GRU.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GruTerms {
    /// What is kept.
    pub keep: f64,
    /// Through the update gate, what it takes of the state.
    pub from_update_state: f64,
    /// Through the update gate, what it gives of the candidate.
    pub from_update_candidate: f64,
    /// Through the candidate.
    pub from_candidate: f64,
}

impl GruTerms {
    /// The whole derivative.
    pub fn total(&self) -> f64 {
        self.keep + self.from_update_state + self.from_update_candidate + self.from_candidate
    }
}

/// `1 - tanh(x)^2`
pub fn sech_squared(x: f64) -> f64 {
    let e = (-2.0 * x.abs()).exp();
    4.0 * e / (1.0 + e).powi(2)
}

fn sigmoid(x: f64) -> f64 {
    if x >= 0.0 { 1.0 / (1.0 + (-x).exp()) } else { x.exp() / (1.0 + x.exp()) }
}

/// Of a state `cell` that the output gate showed by `output`; the input's share `x` and the recurrent weights
/// `u` of input gate, forget gate and candidate.
pub fn lstm_terms(cell: f64, output: f64, x: [f64; 3], u: [f64; 3]) -> LstmTerms {
    let state = output * cell.tanh();
    let sum = |k: usize| x[k] + u[k] * state;
    let (i, f, g) = (sigmoid(sum(0)), sigmoid(sum(1)), sum(2).tanh());
    let shown = output * sech_squared(cell);
    LstmTerms {
        forget: f,
        from_forget: f * (1.0 - f) * shown * cell * u[1],
        from_input: i * (1.0 - i) * shown * g * u[0],
        from_candidate: i * sech_squared(sum(2)) * shown * u[2],
    }
}

/// Of a `state`; the input's share `x` and the recurrent weights `u` of update, reset and candidate.
pub fn gru_terms(state: f64, x: [f64; 3], u: [f64; 3]) -> GruTerms {
    let (z, r) = (sigmoid(x[0] + u[0] * state), sigmoid(x[1] + u[1] * state));
    let sum = x[2] + u[2] * r * state;
    let g = sum.tanh();
    GruTerms {
        keep: 1.0 - z,
        from_update_state: -z * (1.0 - z) * state * u[0],
        from_update_candidate: z * (1.0 - z) * g * u[0],
        from_candidate: sech_squared(sum) * r * (1.0 + (1.0 - r) * state * u[1]) * z * u[2],
    }
}
