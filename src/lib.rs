//! bert4rs: text-understanding models from training to serving.
