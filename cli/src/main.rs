//! The `bert4rs` command line.
fn main() {}
