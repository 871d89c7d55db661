//! What is known of Redis itself: its configuration's grammar, its last words, its secrets. Pure.

pub mod config;
pub mod directives;
pub mod fatal;
pub mod kin;
pub mod secret;
