//! How training begins.

pub mod initial_deviation;
