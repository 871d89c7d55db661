//! Says why a connection was refused.
fn main() {}
