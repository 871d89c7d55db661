//! Which facts about queues are refusals.

use super::fact::{Fact, What};
use super::known::Known;
use super::refusal::{Attempt, ClosedQueue};

/// The refusal that a fact tells of, if it does.
pub fn attempt(fact: &Fact, known: &Known) -> Option<Attempt> {
    match &fact.what {
        What::QueueFull(overflow) => Some(Attempt::Overflow(overflow.clone())),
        What::AcceptFailed(failed) => Some(Attempt::Accept(failed.clone())),
        What::Overflows(overflows) if overflows.number > 0 => Some(Attempt::Counted(overflows.clone())),
        What::ListenDown { socket, task, ending, queued, backlog } if *queued > 0 => {
            Some(Attempt::Closed(ClosedQueue {
                socket: socket.clone(),
                process: known.process_of(task),
                queued: *queued,
                limit: *backlog,
                ending: *ending,
            }))
        }
        _ => None,
    }
}

/// Whether the probes count it and tell it by a record of its own.
pub fn is_told_by_a_record(attempt: &Attempt) -> bool {
    match attempt {
        Attempt::Connect(_)
        | Attempt::Unix { .. }
        | Attempt::Listen(_)
        | Attempt::Socket { .. }
        | Attempt::Overflow(_)
        | Attempt::Accept(_)
        | Attempt::Early(_) => true,
        Attempt::Counted(_) | Attempt::Closed(_) | Attempt::Start(_) => false,
    }
}
