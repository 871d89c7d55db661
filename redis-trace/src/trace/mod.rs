//! The pure core: from facts to what is told. No clock, no file, no socket, no probe.

pub mod cause;
pub mod fact;
pub mod flow;
pub mod report;
pub mod text;
