//! Where a tensor's data lives.

/// A device. The CPU is the only one so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Device {
    /// Main memory.
    #[default]
    Cpu,
}
