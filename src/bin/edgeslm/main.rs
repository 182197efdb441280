//! The edgeslm command.
fn main() {}
