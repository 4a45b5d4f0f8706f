//! Losses: functions on tensors.
