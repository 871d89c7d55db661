//! The rules of firewalls, on a thread of their own: nft takes a second to list 20,000 of them, and nothing else waits for that.
//!
//! They are read ahead, so that whoever is refused first need not wait either: once at the start, and again where they have
//! changed and take long to read.

use std::sync::mpsc::{self, RecvTimeoutError, TryRecvError};
use std::time::Duration;

use tokio::sync::mpsc::UnboundedSender;

use super::answers::as_facts;
use super::sandbox::{self, Part};
use crate::cli::Sandbox;
use crate::failure::Failure;
use crate::host::{self, Host};
use crate::trace::fact::Fact;
use crate::trace::flow::Netns;
use crate::trace::question::Question;

/// How often it is looked whether rules have changed.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What the thread is asked.
enum Task {
    /// Nothing: this namespace has got the number of one that is gone, and its rules are others.
    Forget(Netns),
    /// Which rules can have done it, and since when an answer is waited for.
    Answer(Question, u64),
}

/// The end of the thread at which it is asked.
pub(super) struct Rules(mpsc::Sender<Task>);

impl Rules {
    /// Starts the thread, which gives up what it does not need; it ends with this value.
    pub(super) fn start(sandbox: Sandbox, told: UnboundedSender<Vec<Fact>>) -> Result<Self, Failure> {
        let (tasks, asked) = mpsc::channel();
        sandbox::thread(Part::Asker, sandbox, move || answer(&asked, &told))?;
        Ok(Self(tasks))
    }

    /// The rules that were read of a namespace are another's.
    pub(super) fn forget(&self, netns: Netns) {
        // The thread ends only with us, or in a panic that ends us.
        let _ = self.0.send(Task::Forget(netns));
    }

    /// Asks which rules can have done it.
    pub(super) fn ask(&self, question: Question) {
        let _ = self.0.send(Task::Answer(question, host::boottime()));
    }
}

/// Does what is asked, and reads ahead while nothing is, until nobody can ask any more.
fn answer(asked: &mpsc::Receiver<Task>, told: &UnboundedSender<Vec<Fact>>) {
    let mut host = Host::new();
    let mut ahead = host.with_rules();
    loop {
        let task = match ahead.last() {
            Some(_) => asked.try_recv().map_err(|why| why == TryRecvError::Disconnected),
            None if host.reads_long() => {
                asked.recv_timeout(LOOK_EVERY).map_err(|why| why == RecvTimeoutError::Disconnected)
            }
            None => asked.recv().map_err(|_| true),
        };
        match (task, ahead.pop()) {
            (Err(true), _) => return,
            (Err(false), Some(netns)) => host.read_ahead(netns),
            (Err(false), None) => ahead = host.with_changed_rules(),
            (Ok(task), next) => {
                ahead.extend(next);
                match task {
                    Task::Forget(netns) => host.forget_rules(netns),
                    Task::Answer(question, since) if told.send(as_facts(host.answer(&question, since))).is_err() => {
                        return;
                    }
                    Task::Answer(..) => {}
                }
            }
        }
    }
}
