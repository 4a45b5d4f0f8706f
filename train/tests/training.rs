//! The trainer on a toy task: what a run does, and that a resumed run is the same run.
#![allow(clippy::unwrap_used)]

#[path = "training/behaviour.rs"]
mod behaviour;
#[path = "training/resume.rs"]
mod resume;
#[path = "training/toy.rs"]
mod toy;
