//! The program: parse, start, run, exit code.

fn main() {}
