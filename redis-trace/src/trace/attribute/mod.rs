//! From a refusal and everything known to a verdict, or to the questions that a verdict needs. Total: most specific cause
//! first, `Unknown` last.

mod client;
mod denial;
mod dropped;
mod early;
mod listen;
mod no_listener;
mod queue;
mod redirected;
mod translated;
mod unix;

pub(crate) use no_listener::CRASHES;
pub use redirected::redirected;

use super::fact::Call;
use super::known::Known;
use super::question::Question;
use super::refusal::{Attempt, Connect, Refusal};
use super::verdict::{Cause, Verdict};

/// What can be said of a refusal now.
#[derive(Clone, Debug, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "lives for one match, never in a collection")]
pub enum Judged {
    /// This is why.
    Verdict(Verdict),
    /// The host must be asked first.
    Ask(Vec<Question>),
    /// It looked like a refusal and is none.
    Nothing,
}

impl From<Verdict> for Judged {
    fn from(verdict: Verdict) -> Self {
        Self::Verdict(verdict)
    }
}

/// Why it happened, or what must be asked to know.
pub fn attribute(refusal: &Refusal, known: &Known) -> Judged {
    match &refusal.attempt {
        Attempt::Connect(connect) => {
            let judged = connect_refused(refusal.time, connect, known);
            redirected::unless_sent(refusal.time, connect, judged, known)
        }
        Attempt::Unix { task, errno, path } => unix::attribute(task, *errno, path, known),
        Attempt::Listen(bind) => listen::bind_failed(refusal.time, bind, known),
        Attempt::Socket { task, errno, .. } => denial::of_call(Call::Create, refusal.time, task, *errno, known),
        Attempt::Overflow(overflow) => queue::overflow(refusal.time, overflow, known),
        Attempt::Counted(overflows) => queue::counted(refusal.time, overflows, known),
        Attempt::Accept(failed) => queue::accept_failed(refusal.time, failed, known),
        Attempt::Closed(closed) => queue::closed(refusal.time, closed, known),
        Attempt::Early(end) => early::attribute(refusal.time, end, known),
        Attempt::Start(process) => listen::start_failed(*process, known),
    }
}

fn connect_refused(time: u64, connect: &Connect, known: &Known) -> Judged {
    match connect {
        Connect { dropped: Some(dropped), .. } => dropped::attribute(time, connect, dropped, known),
        Connect { server: Some(reset), client, .. } => no_listener::attribute(
            &no_listener::Dial { flow: reset.flow, time, sk_lookup: reset.sk_lookup, client: client.as_ref() },
            known,
        ),
        Connect { client: Some(client), server: None, .. } if client::may_be_denied(client) => {
            denial::of_dial(time, client, known)
        }
        Connect { client: Some(client), .. } => client::attribute(time, client, known),
        Connect { client: None, .. } => {
            Verdict::possible(Cause::Unknown { missing: "neither end of the connection was seen".to_owned() }).into()
        }
    }
}

/// The questions among these that the host has yet to answer.
fn unanswered(questions: impl IntoIterator<Item = Question>, time: u64, known: &Known) -> Vec<Question> {
    questions.into_iter().filter(|question| !known.is_answered(question, time)).collect()
}
