//! The pure core: from facts to what is told. No clock, no file, no socket, no probe.

pub mod aggregate;
pub mod attribute;
pub mod cause;
pub mod container;
pub mod coverage;
pub mod decode;
pub mod denied;
pub mod early;
pub mod errno;
pub mod explain;
pub mod fact;
pub mod files;
pub mod filter;
pub mod flow;
pub mod folding;
pub mod known;
pub mod question;
pub mod queue;
pub mod queues;
pub mod recording;
pub mod refusal;
pub mod remembered;
pub mod report;
pub mod text;
pub mod tracer;
pub mod verdict;
