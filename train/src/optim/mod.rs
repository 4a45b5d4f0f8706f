//! Optimizers and learning-rate schedules.

mod adamw;
mod schedule;

pub use adamw::{AdamW, Slot};
pub use schedule::Schedule;
