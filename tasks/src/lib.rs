//! Where text meets models: one file per goal of a user, the model folder and the predictor.
