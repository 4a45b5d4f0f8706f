//! Tensors with tape autograd, packed batches, counter-based random numbers and weight files.
