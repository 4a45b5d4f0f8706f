//! Scores over a text's tokens, their loss and their decoding.
