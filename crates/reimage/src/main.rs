//! The command line of reimage.

fn main() {}
