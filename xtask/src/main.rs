//! redis-trace's own tasks.
fn main() {}
