//! Sinks: where refusals are told. Each renders the same structures in its own way, to any writer.

use std::io;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::trace::report::{Report, Summary, Update};

mod block;
pub mod json;
mod line;
pub mod metrics;
#[cfg(feature = "otlp")]
pub mod otlp;
pub mod pcapng;
mod queues;
mod storm;
mod sum;
pub mod text;
pub mod tui;

pub use queues::Queues;
pub use sum::sum;

/// Something that tells refusals.
pub trait Sink {
    /// So many like this were seen, whether or not they are told one by one.
    fn count(&mut self, _like: &Report, _number: u64) {}
    /// Tells a refusal, or that an earlier one has become `count`.
    fn report(&mut self, report: &Report) -> io::Result<()>;
    /// Says what is known so far of a refusal that is told later, where somebody reads along.
    fn first_word(&mut self, _report: &Report) -> io::Result<()> {
        Ok(())
    }
    /// Tells a correction.
    fn update(&mut self, update: &Update) -> io::Result<()>;
    /// Half a second has passed: what is drawn in place is drawn again.
    fn tick(&mut self) -> io::Result<()>;
    /// Tells the end.
    fn summary(&mut self, summary: &Summary) -> io::Result<()>;
}

/// Each of them is told everything.
impl Sink for Vec<Box<dyn Sink>> {
    fn count(&mut self, like: &Report, number: u64) {
        for sink in self {
            sink.count(like, number);
        }
    }

    fn report(&mut self, report: &Report) -> io::Result<()> {
        first_fault(self.iter_mut().map(|sink| sink.report(report)))
    }

    fn first_word(&mut self, report: &Report) -> io::Result<()> {
        first_fault(self.iter_mut().map(|sink| sink.first_word(report)))
    }

    fn update(&mut self, update: &Update) -> io::Result<()> {
        first_fault(self.iter_mut().map(|sink| sink.update(update)))
    }

    fn tick(&mut self) -> io::Result<()> {
        first_fault(self.iter_mut().map(|sink| sink.tick()))
    }

    fn summary(&mut self, summary: &Summary) -> io::Result<()> {
        first_fault(self.iter_mut().map(|sink| sink.summary(summary)))
    }
}

/// What one of them has against it, once all were told.
fn first_fault(told: impl Iterator<Item = io::Result<()>>) -> io::Result<()> {
    told.fold(Ok(()), io::Result::and)
}

/// How text looks; decided once, from flags, environment and terminal.
#[derive(Clone, Debug)]
pub struct Look {
    /// With colours.
    pub color: bool,
    /// The output is a terminal: counter lines are updated in place.
    pub live: bool,
    /// Columns there are.
    pub width: usize,
    /// How the time is shown.
    pub clock: Clock,
    /// Repeats fold into a counter line.
    pub fold: bool,
}

/// How the time is shown.
#[derive(Clone, Debug)]
pub enum Clock {
    /// `12:03:41.208` in this zone.
    Time(TimeZone),
    /// `2026-11-23T12:03:41.208+01:00` in this zone.
    Full(TimeZone),
    /// Seconds since the first refusal that was told.
    Relative(Option<Timestamp>),
    /// Not at all.
    Off,
}

impl Clock {
    /// A moment, as long as every other, with a space after it; empty when the time is not shown.
    fn show(&mut self, time: Timestamp) -> String {
        match self {
            Self::Time(zone) => time.to_zoned_datetime(zone.clone()).strftime("%H:%M:%S%.3f ").to_string(),
            Self::Full(zone) => time.to_zoned_datetime(zone.clone()).strftime("%Y-%m-%dT%H:%M:%S%.3f%:z ").to_string(),
            Self::Relative(first) => {
                let since = time.duration_since(*first.get_or_insert(time)).as_secs_f64();
                format!("{since:>+11.3}s ")
            }
            Self::Off => String::new(),
        }
    }
}

/// A whole number with its thousands set apart: `12,431`.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
