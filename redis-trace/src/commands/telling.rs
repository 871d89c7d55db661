//! From facts to a sink: what `watch`, `record` and `replay` share.

use std::collections::VecDeque;
use std::io;

use jiff::Timestamp;

use crate::sink::Sink;
use crate::trace::aggregate::Aggregate;
use crate::trace::cause::Code;
use crate::trace::coverage::Coverage;
use crate::trace::fact::{Fact, What};
use crate::trace::filter::Filter;
use crate::trace::folding::{More, Unattributed};
use crate::trace::known::Known;
use crate::trace::question::Question;
use crate::trace::remembered::Bounds;
use crate::trace::report::{HooksReport, Lost, Missed, Report, Summary, schema};
use crate::trace::tracer::{Step, Tracer};

/// Numbers of refusals that are kept, so that only what was told is corrected.
const CORRECTABLE: usize = 4096;

/// Whether a refusal is one of those that matter, beyond the filter.
pub type Wanted = Box<dyn Fn(&Report, &Known) -> bool>;

/// What is told, and to whom.
pub struct Telling {
    tracer: Tracer,
    filter: Filter,
    wanted: Wanted,
    aggregate: Aggregate,
    sink: Box<dyn Sink>,
    counts: Summary,
    told: VecDeque<u64>,
    coverage: Coverage,
    began: Option<u64>,
    ended: u64,
}

impl Telling {
    /// To this sink, what passes this filter and is wanted; every single one when not `fold`ed.
    pub fn new(bounds: Bounds, filter: Filter, wanted: Wanted, fold: bool, sink: Box<dyn Sink>) -> Self {
        Self {
            tracer: Tracer::new(bounds),
            filter,
            wanted,
            aggregate: Aggregate::new(!fold),
            sink,
            counts: Summary { schema: schema::SUMMARY.to_owned(), ..Summary::default() },
            told: VecDeque::new(),
            coverage: Coverage::default(),
            began: None,
            ended: 0,
        }
    }

    /// Counts that grow are told at once: for whoever looks on.
    #[must_use]
    pub fn promptly(self) -> Self {
        Self { aggregate: self.aggregate.promptly(), ..self }
    }

    /// Takes a fact in, tells what it leads to, and hands back what must be asked.
    pub fn take(&mut self, fact: &Fact) -> io::Result<Vec<Question>> {
        self.began.get_or_insert(fact.time);
        self.ended = self.ended.max(fact.time);
        if let What::NetnsReborn { netns } = fact.what {
            for rest in self.aggregate.forget(netns) {
                self.out(&rest)?;
            }
        }
        if let What::Counted { counters, watched, refusals } = &fact.what {
            self.coverage.looked(counters, watched, *refusals);
        }
        let steps = self.tracer.take(fact);
        let questions = self.go(steps)?;
        for grown in self.aggregate.tick(self.ended) {
            self.out(&grown)?;
        }
        Ok(questions)
    }

    /// Goes these steps, and hands back what must be asked.
    fn go(&mut self, steps: Vec<Step>) -> io::Result<Vec<Question>> {
        let mut questions = Vec::new();
        for step in steps {
            match step {
                Step::Ask(question) => questions.push(question),
                Step::Tell(report) => self.tell(report)?,
                Step::FirstWord(report) => self.say(&report)?,
                Step::More(more) => self.add(&more)?,
                // What was filtered out is not corrected either.
                Step::Correct(update) if self.told.contains(&update.seq) => going_on(self.sink.update(&update))?,
                Step::Correct(_) => {}
            }
        }
        Ok(questions)
    }

    /// A refusal waits for its other end or for the host: time must pass for it to be told.
    pub fn is_waiting(&self) -> bool {
        self.tracer.is_waiting()
    }

    /// A count has grown and was not told.
    pub fn has_untold(&self) -> bool {
        self.aggregate.has_untold()
    }

    /// How many refusals were seen.
    pub fn seen(&self) -> u64 {
        self.counts.seen
    }

    /// Everything known.
    pub fn known(&self) -> &Known {
        self.tracer.known()
    }

    /// The wall clock at a time since boot.
    pub fn wall(&self, time: u64) -> Timestamp {
        self.tracer.wall(time)
    }

    /// What is drawn in place is drawn again.
    pub fn redraw(&mut self) -> io::Result<()> {
        going_on(self.sink.tick())
    }

    /// Nobody answers any more: refusals that wait are told as far as they are known. How many were judged in all, of those
    /// that the probes tell one by one.
    pub fn tell_waiting(&mut self) -> io::Result<u64> {
        let steps = self.tracer.finish();
        self.go(steps)?;
        Ok(self.tracer.judged())
    }

    /// The end: counts that were not told, then the summary.
    pub fn finish(&mut self, lost: Lost, missed: Missed, hooks: HooksReport) -> io::Result<Summary> {
        for rest in self.aggregate.finish() {
            self.out(&rest)?;
        }
        let summary = self.so_far(lost, missed, hooks);
        going_on(self.sink.summary(&summary))?;
        Ok(summary)
    }

    /// What was seen, told and lost so far.
    pub fn so_far(&self, lost: Lost, missed: Missed, hooks: HooksReport) -> Summary {
        let mut summary = self.counts.clone();
        let nanoseconds = self.ended.saturating_sub(self.began.unwrap_or(self.ended));
        summary.seconds = std::time::Duration::from_nanos(nanoseconds).as_secs_f64();
        summary.lost = Lost { output: summary.lost.output, ..lost };
        summary.missed = missed;
        let Unattributed { wanted, unfiltered } = self.tracer.unattributed(&self.filter);
        (summary.unattributed, summary.unfiltered) = (wanted, unfiltered);
        summary.seen += lost.ring + lost.queue + summary.unattributed;
        summary.delivered = self.aggregate.delivered - summary.lost.output;
        summary.aggregated = self.aggregate.aggregated + summary.unattributed;
        summary.hooks = hooks;
        (summary.coverage, summary.counters) = self.coverage.report();
        summary
    }

    fn tell(&mut self, report: Report) -> io::Result<()> {
        if !self.is_wanted(&report) {
            return Ok(());
        }
        self.told.push_back(report.seq);
        if self.told.len() > CORRECTABLE {
            self.told.pop_front();
        }
        self.count(&report, report.count);
        match self.aggregate.take(report) {
            Some(now) => self.out(&now),
            None => Ok(()),
        }
    }

    /// A first word is no refusal yet, and is counted nowhere.
    fn say(&mut self, report: &Report) -> io::Result<()> {
        if self.is_wanted(report) { going_on(self.sink.first_word(report)) } else { Ok(()) }
    }

    /// So many more, like one that was told; of those like one that was filtered out nothing is said either.
    fn add(&mut self, more: &More) -> io::Result<()> {
        let More { like, number, time } = more;
        if !self.is_wanted(like) {
            return Ok(());
        }
        self.count(like, *number);
        match self.aggregate.add(like, *number, *time, self.tracer.wall(*time)) {
            Some(now) => self.out(&now),
            None => Ok(()),
        }
    }

    /// So many like this were seen.
    fn count(&mut self, report: &Report, number: u64) {
        self.counts.seen += number;
        *self.counts.by_cause.entry(report.cause.code).or_default() += number;
        self.counts.unknown += if report.cause.code == Code::RT0000 { number } else { 0 };
        self.counts.benign += if report.benign { number } else { 0 };
        self.sink.count(report, number);
    }

    fn is_wanted(&self, report: &Report) -> bool {
        self.filter.wants(report) && (self.wanted)(report, self.tracer.known())
    }

    /// A refusal that cannot be written out is lost, and is counted.
    fn out(&mut self, report: &Report) -> io::Result<()> {
        let told = self.sink.report(report);
        self.counts.lost.output += u64::from(told.is_err() && report.count == 1);
        going_on(told)
    }
}

/// A reader that went away ends the run; any other fault of the output does not.
fn going_on(told: io::Result<()>) -> io::Result<()> {
    match told {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}
