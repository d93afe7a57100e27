//! What developers of reimage run.

fn main() {}
