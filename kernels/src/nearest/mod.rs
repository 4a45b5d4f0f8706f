//! Scores of many vectors against a few queries, for nearest neighbours.
//!
//! Definition:  f32: inner products; 8 bits: exact integer inner products; bits: how many differ
//! Shapes:      N vectors, Q queries, D numbers; 8 bits lie in blocks of 16 vectors, bits in blocks of 8,
//!              so that a register holds the same place of different vectors and nothing is summed across it
//! Numerics:    a score depends on its query and its vector alone, not on how many stand beside them
//! Cost:        O(N Q D); from one query in f32 on, memory is the limit of a vector that is read once

pub mod bits;
pub mod float;
pub mod int8;
