//! The contract between probes and program.
#![no_std]

pub mod record;
