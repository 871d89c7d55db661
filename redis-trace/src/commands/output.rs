//! Which sink a run tells its refusals to, and how that looks: decided once, from flags, environment and terminal.

use std::io::{self, IsTerminal as _, Write};

use anstream::{AutoStream, ColorChoice};
use jiff::tz::TimeZone;
use rustix::fs::{FileType, fstat};
use rustix::termios::tcgetwinsize;

use super::pipe::{Drain, pipe};
use crate::cli::{FilterArgs, Format, OutputArgs, TimeStyle, When};
use crate::sink::json::Json;
use crate::sink::text::Text;
use crate::sink::{Clock, Look, Sink};
use crate::trace::filter::Filter;

/// Columns that text takes when nobody says otherwise, and at most.
const COLUMNS: usize = 100;

/// The sink that standard output is written by; the summary of text goes to standard error.
pub fn sink(args: &OutputArgs) -> Box<dyn Sink> {
    sink_into(io::stdout().lock(), args)
}

/// The same, for who must not wait for a reader; so many bytes may. A file is written at once: it has no reader who could be slow.
pub fn patient_sink(args: &OutputArgs, room: u32) -> (Box<dyn Sink>, Option<Drain>) {
    let is_file = fstat(io::stdout()).is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile);
    if is_file {
        return (sink(args), None);
    }
    let (pipe, drain) = pipe(io::stdout(), room as usize);
    (sink_into(pipe, args), Some(drain))
}

/// The sink that writes there.
fn sink_into(out: impl Write + 'static, args: &OutputArgs) -> Box<dyn Sink> {
    match args.output {
        Format::Json => Box::new(Json::new(out)),
        Format::Text => Box::new(Text::new(out, io::stderr(), look(args))),
    }
}

/// How text looks here.
fn look(args: &OutputArgs) -> Look {
    let zone = if args.utc { TimeZone::UTC } else { TimeZone::system() };
    let clock = match args.time {
        TimeStyle::Clock => Clock::Time(zone),
        TimeStyle::Full => Clock::Full(zone),
        TimeStyle::Relative => Clock::Relative(None),
        TimeStyle::None => Clock::Off,
    };
    let live = io::stdout().is_terminal() && std::env::var_os("TERM").is_none_or(|term| term != "dumb");
    Look { color: color(args.color), live, width: columns(), clock, fold: !args.no_aggregate }
}

/// Whether text is drawn in place on a terminal.
pub fn is_live(args: &OutputArgs) -> bool {
    args.output == Format::Text && io::stdout().is_terminal()
}

/// Whether standard output is coloured: the flag, else NO_COLOR, CLICOLOR, CLICOLOR_FORCE and the terminal.
pub fn color(when: When) -> bool {
    match when {
        When::Always => true,
        When::Never => false,
        When::Auto => AutoStream::choice(&io::stdout()) != ColorChoice::Never,
    }
}

/// Columns that text may take.
pub fn columns() -> usize {
    let terminal = tcgetwinsize(io::stdout()).ok().map(|size| usize::from(size.ws_col)).filter(|columns| *columns > 0);
    terminal.map_or(COLUMNS, |columns| columns.min(COLUMNS))
}

/// The filter that the flags make.
pub fn filter(args: &FilterArgs) -> Filter {
    let FilterArgs { port, ip, from, to, pid, comm, container, netns, side, outcome, cause } = args.clone();
    Filter { port, ip, from, to, pid, comm, container, netns, side, outcome, cause }
}
