//! Optimizers, training steps, the trainer, checkpoints and metrics.
