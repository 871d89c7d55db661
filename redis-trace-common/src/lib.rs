//! The contract between probes and program.
#![no_std]

pub mod decision;
pub mod denial;
pub mod hook;
pub mod layout;
pub mod member;
pub mod record;
pub mod reply;
pub mod tally;
