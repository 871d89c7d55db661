//! The host on threads of its own: questions go in, facts come out, and the ring is read meanwhile.

use std::collections::BTreeSet;
use std::sync::mpsc;
use std::time::Duration;

use tokio::sync::{mpsc as answers, oneshot};
use tokio::time::timeout;

use super::rules::Rules;
use super::sandbox::{self, Part};
use crate::cli::Sandbox;
use crate::failure::Failure;
use crate::host::{self, Host};
use crate::kernel;
use crate::trace::fact::{Counters, Fact, What};
use crate::trace::flow::Netns;
use crate::trace::question::Question;

/// Polling takes at most one part in so many of a processor, however many namespaces there are.
const SHARE: u64 = 100;

/// What the thread is asked.
enum Task {
    /// Everything, at the start.
    Snapshot,
    /// The kernel's counters.
    Counters(oneshot::Sender<Vec<Counters>>),
    /// Who found a queue full in these namespaces since this was asked last; in time, or at once.
    Poll(Vec<Netns>, bool),
    /// The queues of all listeners in these namespaces.
    Queues(BTreeSet<Netns>),
    /// These namespaces have got the number of one that is gone.
    Forget(Vec<Netns>),
    /// One thing, and since when an answer is waited for.
    Answer(Question, u64),
}

/// The ends of the host's threads. Fields are dropped in this order: nothing is asked any more when programs are ended.
pub(super) struct Answers {
    tasks: mpsc::Sender<Task>,
    rules: Rules,
    facts: answers::UnboundedReceiver<Vec<Fact>>,
    ready: std::collections::VecDeque<Fact>,
    _programs: Programs,
}

/// The programs that the threads have started.
struct Programs;

impl Drop for Programs {
    /// A thread may be waiting for one that hangs.
    fn drop(&mut self) {
        host::end_programs();
    }
}

impl Answers {
    /// Starts the threads, which give up what they do not need; they end with this value.
    pub(super) fn start(sandbox: Sandbox) -> Result<Self, Failure> {
        let (tasks, asked) = mpsc::channel();
        let (told, facts) = answers::unbounded_channel();
        let rules = Rules::start(sandbox, told.clone())?;
        sandbox::thread(Part::Asker, sandbox, move || answer(asked, &told))?;
        Ok(Self { tasks, rules, facts, ready: std::collections::VecDeque::new(), _programs: Programs })
    }

    /// Looks at the whole host.
    pub(super) async fn snapshot(&mut self) -> Vec<Fact> {
        if self.tasks.send(Task::Snapshot).is_err() {
            return Vec::new();
        }
        self.facts.recv().await.unwrap_or_default()
    }

    /// Has the whole host looked at again.
    pub(super) fn look(&self) {
        let _ = self.tasks.send(Task::Snapshot);
    }

    /// How the kernel's counters stand; nothing when the host is too busy to say so in time.
    pub(super) async fn counters(&self, within: Duration) -> Vec<Counters> {
        let (to, from) = oneshot::channel();
        if self.tasks.send(Task::Counters(to)).is_err() {
            return Vec::new();
        }
        timeout(within, from).await.ok().and_then(Result::ok).unwrap_or_default()
    }

    /// Has the counters of full queues looked at; facts come of it when somebody found one full.
    pub(super) fn poll(&self, namespaces: Vec<Netns>, at_once: bool) {
        let _ = self.tasks.send(Task::Poll(namespaces, at_once));
    }

    /// Has the queues of all listeners in these namespaces looked at.
    pub(super) fn look_at_queues(&self, namespaces: BTreeSet<Netns>) {
        let _ = self.tasks.send(Task::Queues(namespaces));
    }

    /// The counters of these namespaces begin anew.
    pub(super) fn forget(&self, namespaces: Vec<Netns>) {
        let _ = self.tasks.send(Task::Forget(namespaces));
    }

    /// The rules that were read of a namespace are another's; before anything is asked of the one that has its number.
    pub(super) fn forget_rules(&self, netns: Netns) {
        self.rules.forget(netns);
    }

    /// Asks one thing.
    pub(super) fn ask(&self, question: Question) {
        if matches!(question, Question::Firewall { .. }) {
            return self.rules.ask(question);
        }
        // The thread ends only with us, or in a panic that ends us.
        let _ = self.tasks.send(Task::Answer(question, host::boottime()));
    }

    /// The next answer. May be dropped while it waits without losing any.
    pub(super) async fn next(&mut self) -> Fact {
        loop {
            if let Some(fact) = self.ready.pop_front() {
                return fact;
            }
            match self.facts.recv().await {
                Some(facts) => self.ready.extend(facts),
                None => std::future::pending().await,
            }
        }
    }
}

/// Does what is asked, until nobody can ask any more.
fn answer(asked: mpsc::Receiver<Task>, told: &answers::UnboundedSender<Vec<Fact>>) {
    let mut host = Host::new();
    let (mut rest_until, mut queues_rest_until) = (0, 0);
    for task in asked {
        let found = match task {
            Task::Snapshot => host.snapshot(),
            Task::Counters(to) => {
                // Whoever asked may have stopped waiting.
                let _ = to.send(host.counters());
                continue;
            }
            Task::Forget(namespaces) => {
                host.counters_begin(&namespaces);
                continue;
            }
            Task::Poll(namespaces, at_once) => {
                let began = host::boottime();
                if began < rest_until && !at_once {
                    continue;
                }
                let grown = host.grown(&namespaces);
                let now = host::boottime();
                rest_until = now + (now - began) * SHARE;
                host.overflows(grown)
            }
            Task::Queues(namespaces) => {
                let began = host::boottime();
                if began < queues_rest_until {
                    continue;
                }
                let found = host.listeners(&namespaces, began);
                let now = host::boottime();
                queues_rest_until = now + (now - began) * SHARE;
                found
            }
            Task::Answer(Question::LsmPrograms, _) => {
                vec![What::LsmPrograms { programs: kernel::lsm_programs() }]
            }
            Task::Answer(question, asked) => host.answer(&question, asked),
        };
        if told.send(as_facts(found)).is_err() {
            return;
        }
    }
}

/// What was found, as facts of this moment.
pub(super) fn as_facts(found: Vec<What>) -> Vec<Fact> {
    let time = host::boottime();
    found.into_iter().map(|what| Fact { time, what }).collect()
}
