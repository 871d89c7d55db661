//! Text for people: a block for each new refusal, a counter line for its repeats, a summary on the side.

use std::collections::{BTreeMap, VecDeque};
use std::io::{self, Write};

use jiff::Timestamp;

use super::line::{Line, Paint, cut, wrap};
use super::storm::{Key, Storm};
use super::sum::sum;
use super::{Look, Sink, block};
use crate::trace::cause::Code;
use crate::trace::report::{CauseReport, Report, Summary, Update};

/// Storms that are kept apart; beyond, the one that has been quiet for longest is closed.
const STORMS_MAX: usize = 1024;
/// Blocks for one cause in a minute; what comes beyond on yet other addresses is only counted.
const BLOCKS_MAX: u32 = 20;
/// Counter lines that a terminal shows at once.
const LIVE_MAX: usize = 8;
/// Refusals whose later corrections can still be told.
const RECENT_MAX: usize = 1024;
/// Ticks without a repeat after which a storm is over: 10 s.
const OVER: u32 = 20;
/// Ticks after which a storm that goes on is told again: a minute.
const AGAIN: u32 = 120;

/// Writes blocks and counter lines to `out`, the summary to `err`.
#[derive(Debug)]
pub struct Text<O, E> {
    out: O,
    err: E,
    look: Look,
    storms: BTreeMap<Key, Storm>,
    /// Whose block or counter stands last in the output: its next counter needs no name.
    latest: Option<Key>,
    /// Counter lines that stand below everything and will be drawn again.
    drawn: usize,
    /// What the latest refusals were told of.
    recent: VecDeque<(u64, String)>,
    /// When each cause's current minute began, and the blocks told in it.
    minutes: BTreeMap<Code, (Timestamp, u32)>,
}

impl<O: Write, E: Write> Text<O, E> {
    /// Told to `out`, summed up to `err`.
    pub fn new(out: O, err: E, look: Look) -> Self {
        Self {
            out,
            err,
            look,
            storms: BTreeMap::new(),
            latest: None,
            drawn: 0,
            recent: VecDeque::new(),
            minutes: BTreeMap::new(),
        }
    }

    /// Tells a refusal in full.
    fn block(&mut self, report: &Report) -> io::Result<()> {
        let lines = block::lines(report, &mut self.look);
        self.print(&lines)?;
        self.latest = Some(Key::of(report));
        if self.recent.len() == RECENT_MAX {
            self.recent.pop_front();
        }
        self.recent.push_back((report.seq, block::target(report).unwrap_or_default()));
        Ok(())
    }

    /// Whether this cause may have another block in this minute.
    fn has_room(&mut self, report: &Report) -> bool {
        let (begin, told) = self.minutes.entry(report.cause.code).or_insert((report.time, 0));
        if report.time.duration_since(*begin).as_secs() >= 60 {
            (*begin, *told) = (report.time, 0);
        }
        *told += 1;
        *told <= BLOCKS_MAX
    }

    /// Begins a storm; when there are too many, the one that grew least recently is closed.
    fn begin(&mut self, key: Key, storm: Storm) -> io::Result<()> {
        if self.storms.len() >= STORMS_MAX
            && let Some(oldest) = self.storms.iter().min_by_key(|(_, storm)| storm.last()).map(|(key, _)| key.clone())
        {
            self.tell(&oldest)?;
            self.storms.remove(&oldest);
        }
        self.storms.insert(key, storm);
        Ok(())
    }

    /// Writes a storm's counter line for good, if there is anything new in it.
    fn tell(&mut self, key: &Key) -> io::Result<()> {
        let Some(storm) = self.storms.get_mut(key).filter(|storm| storm.is_news()) else { return Ok(()) };
        storm.tell();
        let named = self.latest.as_ref() != Some(key);
        let line = counter(key, storm, named, &mut self.look);
        self.latest = Some(key.clone());
        self.print(&[line])
    }

    /// Says something of a refusal that is told in full before or after.
    fn note(
        &mut self,
        mark: &str,
        time: Timestamp,
        target: &str,
        cause: Option<&CauseReport>,
        words: &str,
    ) -> io::Result<()> {
        let mark = Line::default().with(Paint::Dim, &moment(&mut self.look, time)).with(Paint::Strong, mark);
        let indent = mark.width();
        let mut first = mark.with(Paint::Strong, &cut(target, 40)).pad(0);
        if let Some(cause) = cause {
            first = block::cause(first, cause, 0);
        }
        let mut lines = vec![first];
        let room = self.look.width.saturating_sub(indent).max(20);
        lines.extend(wrap(words, room, 3).iter().map(|text| Line::indent(indent).with(Paint::Plain, text)));
        self.latest = None;
        self.print(&lines)
    }

    /// Writes lines for good, above the counter lines that are drawn in place.
    fn print(&mut self, lines: &[Line]) -> io::Result<()> {
        let mut text = self.erased();
        for line in lines {
            line.render(self.look.color, &mut text);
        }
        self.out.write_all(text.as_bytes())?;
        self.out.flush()
    }

    /// What takes the counter lines off the terminal.
    fn erased(&mut self) -> String {
        match std::mem::take(&mut self.drawn) {
            0 => String::new(),
            lines => format!("\x1b[{lines}A\r\x1b[J"),
        }
    }

    /// Draws the counter lines of the storms that go on; the latest ones when there are many.
    fn draw(&mut self) -> io::Result<()> {
        let mut text = self.erased();
        let mut going: Vec<_> = self.storms.iter().filter(|(_, storm)| storm.is_news()).collect();
        going.sort_by_key(|(_, storm)| std::cmp::Reverse(storm.last()));
        for (nth, (key, storm)) in going.iter().take(LIVE_MAX).enumerate() {
            let named = nth > 0 || self.latest.as_ref() != Some(key);
            counter(key, storm, named, &mut self.look).render(self.look.color, &mut text);
        }
        self.drawn = going.len().min(LIVE_MAX);
        if going.len() > LIVE_MAX {
            Line::indent(15)
                .with(Paint::Dim, &format!("+{} more", going.len() - LIVE_MAX))
                .render(self.look.color, &mut text);
            self.drawn += 1;
        }
        self.out.write_all(text.as_bytes())?;
        self.out.flush()
    }
}

impl<O: Write, E: Write> Sink for Text<O, E> {
    fn report(&mut self, report: &Report) -> io::Result<()> {
        if report.benign {
            return Ok(());
        }
        if !self.look.fold {
            return self.block(report);
        }
        let mut key = Key::of(report);
        if !self.storms.contains_key(&key) {
            let rest = Key::rest(report.cause.code);
            if self.storms.get(&rest).is_some_and(|storm| storm.knows(report)) {
                key = rest;
            } else if report.count == 1 {
                if self.has_room(report) {
                    self.block(report)?;
                    return self.begin(key, Storm::new(report, 1));
                }
                key = rest;
            }
        }
        match self.storms.get_mut(&key) {
            Some(storm) => storm.add(report),
            // Its block was told, and then it was quiet for so long that its storm was over.
            None => self.begin(key.clone(), Storm::new(report, 0))?,
        }
        let due = self.storms.get(&key).is_some_and(Storm::is_milestone);
        if due && !self.look.live { self.tell(&key) } else { Ok(()) }
    }

    fn first_word(&mut self, report: &Report) -> io::Result<()> {
        let target = block::target(report).unwrap_or_default();
        self.note("… ", report.time, &target, Some(&report.cause), &format!("so far: {}", report.summary))
    }

    fn update(&mut self, update: &Update) -> io::Result<()> {
        // What was only counted has no block that a correction could belong to.
        let Some((_, target)) = self.recent.iter().find(|(seq, _)| *seq == update.seq) else { return Ok(()) };
        let benign = if update.benign { "it hurt nobody: " } else { "" };
        let words = format!("{benign}{}", update.summary);
        self.note("↻ ", update.time, &target.clone(), update.cause.as_ref(), &words)
    }

    fn tick(&mut self) -> io::Result<()> {
        let keys: Vec<Key> = self.storms.keys().cloned().collect();
        for key in keys {
            let Some(storm) = self.storms.get_mut(&key) else { continue };
            storm.quiet += 1;
            storm.silent += 1;
            let over = storm.quiet >= OVER;
            if over || (storm.silent >= AGAIN && !self.look.live) {
                self.tell(&key)?;
            }
            if over {
                self.storms.remove(&key);
            }
        }
        if self.look.live { self.draw() } else { Ok(()) }
    }

    fn summary(&mut self, summary: &Summary) -> io::Result<()> {
        let keys: Vec<Key> = self.storms.keys().cloned().collect();
        for key in keys {
            self.tell(&key)?;
        }
        self.print(&[])?;
        self.err.write_all(sum(summary).as_bytes())?;
        self.err.flush()
    }
}

/// A storm's line: `12:03:42      ↳ ×12,431 in 18 s (690/s) from 3 clients, top 10.0.3.7 88 %`.
fn counter(key: &Key, storm: &Storm, named: bool, look: &mut Look) -> Line {
    let line = Line::default().with(Paint::Dim, &moment(look, storm.last())).with(Paint::Strong, "↳ ");
    let target = key.target.as_deref().unwrap_or("elsewhere");
    let text = if named { format!("{} {target} {}", key.code, storm.phrase()) } else { storm.phrase() };
    let room = look.width.saturating_sub(line.width());
    line.with(Paint::Plain, &cut(&text, room))
}

/// A moment to the second, in the columns that the exact time takes.
fn moment(look: &mut Look, time: Timestamp) -> String {
    let exact = look.clock.show(time);
    let second = exact.split('.').next().unwrap_or_default();
    format!("{second:<width$} ", width = exact.chars().count())
}
