//! Given a ruleset as text and a packet: which rules can have rejected or dropped it.
//!
//! Pure, and honest about what is not known: every condition is yes, no or maybe, and a rule is told to have done it only
//! when no other can have. What is read here was written by others and may be hostile: parsing and walking take bounded
//! time, and whatever is told is made safe to print.

mod answer;
mod candidate;
mod changed;
mod condition;
mod elements;
mod field;
mod found;
mod ipvs;
mod join;
mod model;
mod nft;
mod owner;
mod packet;
mod save;
mod statement;
mod walk;
mod way;

pub use candidate::{Candidate, Effect, Site, Suspects, Wanted};
pub use ipvs::without_servers;
pub use model::{Backend, Counter, Family, Hook, Ruleset};
pub use nft::parse_nft;
pub use owner::{Owner, Service};
pub use packet::{Interface, Packet, State};
pub use save::{is_of_nft, parse_save};

#[cfg(test)]
mod tests;
