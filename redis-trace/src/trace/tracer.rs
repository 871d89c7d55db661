//! The line itself: facts go in, questions and what is to be told come out. Pure, so a recording replays to the same words.

mod corrections;
mod dials;
mod first_word;
mod redirects;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;

use corrections::Told;
use first_word::FIRST_WORD;
use jiff::Timestamp;

use super::attribute::{Judged, attribute};
use super::early::Early;
use super::explain;
use super::fact::{Alike, ConnectFailed, Dropped, Fact, UnixPath, What};
use super::filter::Filter;
use super::flow::Flow;
use super::folding::{Folding, More, Unattributed};
use super::known::Known;
use super::question::Question;
use super::queues;
use super::refusal::{Attempt, HOLD, Joining, Refusal};
use super::remembered::{Bounds, Remembered};
use super::report::{CauseReport, Report, Update};

/// What is to be done about the facts so far.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Ask the host this; its answer is a fact.
    Ask(Question),
    /// Tell this refusal.
    Tell(Report),
    /// Say so far what is known of one that is told later.
    FirstWord(Report),
    /// Add so many to those told like this one.
    More(More),
    /// Correct one that was told.
    Correct(Update),
}

/// How long the host may take to answer before a verdict does without, nanoseconds.
const PATIENCE: u64 = 5_000_000_000;
/// How often those that wait are looked at though no answer came, nanoseconds.
const RETRY_EVERY: u64 = 5_000_000;
/// How long a dial may wait for an answer and still be known by its SYN, nanoseconds: the kernel gives up after two minutes.
const SYN_LIVES: u64 = 300_000_000_000;
/// Refusals kept for correction.
const KEPT: usize = 1024;
/// How long after its SYN was dropped a connect may still fail, nanoseconds: with `tcp_syn_retries` 6 it takes two minutes.
const FAILS_WITHIN: u64 = 600_000_000_000;
/// As many dropped SYNs as the probes remember.
const KEPT_DROPPED: usize = 8_192;

/// A refusal that waits for the host's answers.
#[derive(Debug)]
struct Waiting {
    refusal: Refusal,
    /// Since when it waits for anything.
    began: u64,
    /// Since when for what was asked last.
    since: u64,
    asked: Vec<Question>,
    /// Whether a first word is out of the question: said, or left unsaid.
    is_said: bool,
    /// The number that it was said under.
    seq: Option<u64>,
}

/// The state of the line.
#[derive(Debug)]
pub struct Tracer {
    known: Known,
    joining: Joining,
    early: Early,
    waiting: VecDeque<Waiting>,
    /// When a first word was said of late, and of what.
    said: VecDeque<(u64, Alike)>,
    asked: Remembered<Question, u64>,
    told: VecDeque<Told>,
    /// Refusals whose SYN was dropped, by its sequence number: what they were told as, if they are. Their clients may fail
    /// minutes later.
    dropped: Remembered<u32, Option<u64>>,
    /// Answers that were dropped where they came in, by the sequence number of their SYN.
    answers: Remembered<u32, Dropped>,
    /// By the sequence number of their SYN.
    syns: Remembered<u32, (u64, CauseReport)>,
    /// Ends of dials that are still to be told as waiting.
    waits_ended: Remembered<u32, ConnectFailed>,
    folding: Folding,
    retried: u64,
    judged: u64,
    seq: u64,
}

impl Tracer {
    /// Knows nothing yet; remembers within these bounds.
    pub fn new(bounds: Bounds) -> Self {
        Self {
            known: Known::new(bounds),
            joining: Joining::default(),
            early: Early::default(),
            waiting: VecDeque::new(),
            said: VecDeque::new(),
            asked: Remembered::new(Bounds { number: KEPT, age: PATIENCE }),
            told: VecDeque::new(),
            dropped: Remembered::new(Bounds { number: KEPT_DROPPED, age: FAILS_WITHIN }),
            answers: Remembered::new(Bounds { number: KEPT, age: SYN_LIVES }),
            syns: Remembered::new(Bounds { number: 4 * KEPT, age: SYN_LIVES }),
            waits_ended: Remembered::new(Bounds { number: KEPT, age: SYN_LIVES }),
            folding: Folding::default(),
            retried: 0,
            judged: 0,
            seq: 0,
        }
    }

    /// Takes a fact in.
    pub fn take(&mut self, fact: &Fact) -> Vec<Step> {
        let time = fact.time;
        let mut steps = Vec::new();
        self.known.learn(fact);
        // An answer may be overtaken at once or grow old, and is then asked for again.
        let open = self.asked.len();
        self.asked.retain(|question| !question.is_answered_by(&fact.what));
        let is_answer = self.asked.len() < open;
        match &fact.what {
            What::Reset(reset) => {
                // Asked at once: whoever holds the port may be gone when both ends have come.
                let Flow { netns, server, .. } = reset.flow;
                self.ask(Question::Sockets { netns, port: server.port }, &mut steps);
                self.joining.server(time, reset.clone());
            }
            What::ConnectFailed(failed) => steps.extend(self.dial_failed(time, failed)),
            What::Dropped(clue) if clue.is_clue() => self.answers.insert(time, clue.isn, clue.clone()),
            What::Dropped(dropped) => {
                // Asked at once: the rules may soon be others.
                if dropped.is_by_netfilter() {
                    self.ask(Question::firewall(dropped), &mut steps);
                }
                self.joining.dropped(time, dropped.clone());
            }
            What::SocketDenied { task, ipv6, errno } => {
                let attempt = Attempt::Socket { task: task.clone(), ipv6: *ipv6, errno: *errno };
                self.refused(Refusal { time, attempt, benign: false }, &mut steps);
            }
            What::Connected { flow, task } => steps.extend(self.connected(time, flow, task)),
            What::UnixConnect { task, errno, path } => {
                let attempt = Attempt::Unix { task: task.clone(), errno: *errno, path: path.clone() };
                self.refused(Refusal { time, attempt, benign: is_asked_by_habit(path) }, &mut steps);
            }
            What::QueueFull(_) | What::AcceptFailed(_) | What::Overflows(_) | What::ListenDown { .. } => {
                let attempt = queues::attempt(fact, &self.known);
                if let Some(attempt) = attempt {
                    self.refused(Refusal { time, attempt, benign: false }, &mut steps);
                }
            }
            What::EarlyEnd(end) => {
                self.early.take(time, end);
                steps.extend(self.sent_elsewhere(time, end));
            }
            What::Bind(bind) if bind.errno != 0 => {
                self.refused(Refusal { time, attempt: Attempt::Listen(bind.clone()), benign: false }, &mut steps);
            }
            What::Exit { task, .. } => match self.known.servers.failed_start(task.key()) {
                // Told when the socket was denied. Who will dial it must be told where it was to listen.
                Some(failed) if failed.socket.is_some() => self.ask(failed.last_words(), &mut steps),
                Some(_) => {
                    self.refused(Refusal { time, attempt: Attempt::Start(task.key()), benign: false }, &mut steps);
                }
                None => {}
            },
            What::Folded(folded) => steps.extend(self.folding.counted(time, folded).map(Step::More)),
            What::ListenUp { socket, task, .. } => steps.extend(self.appeared(time, socket, task)),
            // What was refused in a namespace that is gone is not to be corrected by one that has its number.
            What::NetnsReborn { netns } => {
                self.asked.retain(|question| question.netns() != Some(*netns));
                self.told.retain(|told| flow_of(&told.refusal).is_none_or(|flow| flow.netns != *netns));
                self.folding.forget(time, *netns);
            }
            _ => {}
        }
        for refusal in self.joining.ripe(time).into_iter().chain(self.early.ripe(time)) {
            self.refused(refusal, &mut steps);
        }
        // In a flood those that wait are not gone through for every fact.
        if is_answer || time >= self.retried.saturating_add(RETRY_EVERY) {
            self.retried = time;
            self.retry(&mut steps);
        }
        steps
    }

    /// The end: what waits is told as far as it is known.
    pub fn finish(&mut self) -> Vec<Step> {
        let mut steps = Vec::new();
        self.known.end();
        for refusal in self.joining.rest().into_iter().chain(self.early.rest()) {
            self.refused(refusal, &mut steps);
        }
        while let Some(mut waiting) = self.waiting.pop_front() {
            for question in std::mem::take(&mut waiting.asked) {
                self.known.give_up(question);
            }
            self.judge(waiting, &mut steps);
        }
        steps
    }

    /// Time must pass, by [`What::Tick`], for something to be told.
    pub fn is_waiting(&self) -> bool {
        !self.joining.is_empty() || !self.early.is_empty() || !self.waiting.is_empty()
    }

    /// Refusals judged of those that the probes tell one by one.
    pub fn judged(&self) -> u64 {
        self.judged
    }

    /// Refusals that were counted, and of which none was looked into.
    pub fn unattributed(&self, filter: &Filter) -> Unattributed {
        self.folding.unattributed(filter)
    }

    /// The wall clock at a time since boot.
    pub fn wall(&self, time: u64) -> Timestamp {
        self.known.clock.at(time)
    }

    /// Everything known.
    pub fn known(&self) -> &Known {
        &self.known
    }

    /// A refusal is whole.
    fn refused(&mut self, refusal: Refusal, steps: &mut Vec<Step>) {
        let now = self.known.now;
        self.judge(Waiting { refusal, began: now, since: now, asked: Vec::new(), is_said: false, seq: None }, steps);
    }

    /// Tells a refusal, or asks what its verdict needs.
    fn judge(&mut self, waiting: Waiting, steps: &mut Vec<Step>) {
        let Waiting { refusal, seq, .. } = waiting;
        match attribute(&refusal, &self.known) {
            Judged::Verdict(verdict) => {
                let seq = seq.unwrap_or_else(|| self.next());
                let report = explain::explain(&refusal, &verdict, &self.known, seq);
                self.judged += u64::from(queues::is_told_by_a_record(&refusal.attempt));
                let more = self.folding.judged(self.known.now, &refusal, &report);
                if let Some(isn) = refusal.dropped_isn() {
                    self.dropped.insert(self.known.now, isn, Some(seq));
                }
                let ended = self.remember_syn(&refusal, report.cause.clone());
                self.remember(Told { seq, refusal, code: verdict.cause.code() });
                steps.push(Step::Tell(report));
                steps.extend(more.map(Step::More));
                steps.extend(ended);
            }
            Judged::Nothing => {
                self.judged += u64::from(queues::is_told_by_a_record(&refusal.attempt));
                self.folding.dismissed(self.known.now, &refusal);
            }
            Judged::Ask(questions) => {
                for question in &questions {
                    self.ask(question.clone(), steps);
                }
                if let Some(isn) = refusal.dropped_isn() {
                    self.dropped.insert(self.known.now, isn, None);
                }
                self.waiting.push_back(Waiting { refusal, since: self.known.now, asked: questions, ..waiting });
            }
        }
    }

    /// Asks the host, unless it has answered of late or is about to.
    fn ask(&mut self, question: Question, steps: &mut Vec<Step>) {
        let now = self.known.now;
        let is_in_flight = self.asked.get(&question).is_some_and(|asked| asked.saturating_add(PATIENCE) > now);
        if !is_in_flight && !self.known.is_answered(&question, now) {
            self.asked.insert(now, question.clone(), now);
            steps.push(Step::Ask(question));
        }
    }

    /// Those that wait are judged again once their answers are there, or have taken too long.
    fn retry(&mut self, steps: &mut Vec<Step>) {
        for _ in 0..self.waiting.len() {
            let Some(mut waiting) = self.waiting.pop_front() else { return };
            let now = self.known.now;
            let is_late = |since: u64, patience: u64| since.saturating_add(patience) <= now;
            let is_answered = |question: &Question| self.known.is_answered(question, waiting.refusal.time);
            if waiting.asked.iter().all(is_answered) {
                self.judge(waiting, steps);
            } else if is_late(waiting.since, PATIENCE) {
                for question in std::mem::take(&mut waiting.asked) {
                    self.known.give_up(question);
                }
                self.judge(waiting, steps);
            } else {
                if !waiting.is_said && is_late(waiting.began, FIRST_WORD) {
                    waiting.is_said = true;
                    waiting.seq = self.first_word(&waiting, steps);
                }
                self.waiting.push_back(waiting);
            }
        }
    }

    /// The number of the next refusal that is told.
    fn next(&mut self) -> u64 {
        self.seq += 1;
        self.seq
    }
}

/// Sockets that the C library dials in every program, and does without: a name service cache need not run.
fn is_asked_by_habit(path: &UnixPath) -> bool {
    matches!(path, UnixPath::File(path) if matches!(path.as_str(), "/var/run/nscd/socket" | "/run/nscd/socket"))
}

fn flow_of(refusal: &Refusal) -> Option<&Flow> {
    match &refusal.attempt {
        Attempt::Connect(connect) => connect.flow(),
        _ => None,
    }
}
