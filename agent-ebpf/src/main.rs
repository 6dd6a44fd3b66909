//! The kernel side of apiscope.
fn main() {}
