//! `redis-trace replay FILE`: the verdicts of a recording. The same line as `watch`, fed from a file; no root, no kernel.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Write as _};
use std::path::Path;

use super::output;
use super::recorder::packets;
use super::telling::Telling;
use super::watch::bounds;
use crate::cli::ReplayArgs;
use crate::failure::{Exit, Failure};
use crate::sink::Sink;
use crate::trace::fact::{Fact, What};
use crate::trace::recording::{Damage, Header, Reader};
use crate::trace::report::{HooksReport, Lost, Missed, Summary};
use crate::trace::text::Text;

/// Runs it.
pub fn run(args: &ReplayArgs) -> anyhow::Result<Exit> {
    let (header, reader) = open(&args.file)?;
    let (version, kernel) = (Text::from(header.version.as_str()), Text::from(header.kernel.as_str()));
    writeln!(io::stderr(), "replaying what redis-trace {version} recorded on kernel {kernel}")?;
    let packets = args.pcapng.as_deref().map(packets).transpose()?;
    let mut sinks = vec![output::sink(&args.output)];
    sinks.extend(packets.clone().map(|packets| Box::new(packets) as Box<dyn Sink>));
    let fold = !args.output.no_aggregate;
    let mut telling =
        Telling::new(bounds(args.history), output::filter(&args.filters), Box::new(|_, _| true), fold, Box::new(sinks));
    let damage = feed(reader, &mut telling)?;
    if let Some(damage) = &damage {
        writeln!(io::stderr(), "the recording {damage}")?;
    }
    telling.tell_waiting()?;
    let summary = telling.finish(Lost::default(), Missed::default(), HooksReport::default())?;
    if !packets.is_none_or(|packets| packets.finish()) {
        return Ok(Exit::Incomplete);
    }
    Ok(exit(args, &summary, damage.as_ref()))
}

/// Opens a recording and reads what made it.
fn open(path: &Path) -> anyhow::Result<(Header, Reader<Box<dyn BufRead>>)> {
    let cannot = |why: String| Failure::new(Exit::Usage, format!("cannot replay {}: {why}", path.display()));
    let input: Box<dyn BufRead> = if path.as_os_str() == "-" {
        Box::new(io::stdin().lock())
    } else {
        Box::new(BufReader::new(File::open(path).map_err(|why| cannot(why.to_string()))?))
    };
    let opened = Reader::new(input).map_err(|damage| {
        cannot(format!("it {damage}")).attempt("a file that `redis-trace record FILE` has written")
    })?;
    Ok(opened)
}

/// Every fact up to the end or the damage. Questions are not asked: the recording has the answers that there were.
fn feed(reader: Reader<Box<dyn BufRead>>, telling: &mut Telling) -> io::Result<Option<Damage>> {
    let mut damage = None;
    let mut time = 0;
    for fact in reader {
        match fact {
            Ok(fact) => {
                time = fact.time;
                telling.take(&fact)?;
            }
            Err(found) => damage = Some(found),
        }
    }
    // What the end cut off from its other half or its answer is told without.
    while telling.is_waiting() {
        time += 1_000_000_000;
        telling.take(&Fact { time, what: What::Tick })?;
    }
    Ok(damage)
}

fn exit(args: &ReplayArgs, summary: &Summary, damage: Option<&Damage>) -> Exit {
    if args.strict && damage.is_some() {
        Exit::Incomplete
    } else if args.fail_on_cause.iter().any(|code| summary.by_cause.contains_key(code)) {
        Exit::Found
    } else {
        Exit::Fine
    }
}
