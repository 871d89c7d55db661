//! What is known of Redis itself: its configuration's grammar, its last words, its refusals, its secrets. Pure.

pub mod audit;
pub mod config;
pub mod directives;
pub mod fatal;
pub mod info;
pub mod kin;
pub mod reply;
pub mod secret;
pub mod target;
pub mod validity;
pub mod words;
