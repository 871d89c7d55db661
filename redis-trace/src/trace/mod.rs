//! The pure core: from facts to what is told. No clock, no file, no socket, no probe.

pub mod cause;
pub mod decode;
pub mod fact;
pub mod filter;
pub mod flow;
pub mod known;
pub mod recording;
pub mod redact;
pub mod remembered;
pub mod report;
pub mod text;
