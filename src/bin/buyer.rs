//! The `buyer` program.

fn main() {}
