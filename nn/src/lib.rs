//! Model parts: encoders, heads, losses and the loading of published checkpoints.
