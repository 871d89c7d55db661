//! `redis-trace watch`: every refused connection as it happens, and why. The line, from hook to sink.

use std::io::{self, Write as _};
use std::sync::Arc;
use std::time::Duration;

use redis_trace_common::tally;
use tokio::time::timeout;

use super::collector::{Collector, Ending};
use super::exporter::{Ends, Exporter};
use super::live::{Live, Part, banner, enter_sandbox, hooks_report};
use super::output;
use super::pipe::Drain;
use super::recorder::Recorder;
use super::requests::{Request, Requests};
use super::run::Run;
use super::stop::Stop;
use super::telling::{Telling, Wanted};
use crate::cli::{FilterArgs, HistoryArgs, ObservationArgs, Tier, WatchArgs};
use crate::failure::Exit;
use crate::host;
use crate::kernel::{self, Options, TierWish};
use crate::sink::{Sink, sum};
use crate::trace::cause::Code;
use crate::trace::fact::{Fact, What};
use crate::trace::remembered::Bounds;
use crate::trace::report::Summary;

/// Runs it.
pub fn run(args: &WatchArgs) -> anyhow::Result<Exit> {
    run_and_record(args, None)
}

/// Runs it, and keeps every fact in a recording.
pub fn run_and_record(args: &WatchArgs, recorder: Option<Recorder>) -> anyhow::Result<Exit> {
    if args.print_filter {
        writeln!(io::stdout(), "{}", places_of_filters(args))?;
        return Ok(Exit::Fine);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(watch(args, recorder))
}

async fn watch(args: &WatchArgs, mut recorder: Option<Recorder>) -> anyhow::Result<Exit> {
    let options = Options {
        probes: !args.no_bpf,
        samples: samples(&args.filters, args.output.no_aggregate || args.cmd.is_some()),
        ..options(&args.observation)
    };
    let mut exporter = Exporter::start(&args.metrics, args.sandbox).await?;
    let collector = Collector::start(args)?;
    let has_company = kernel::has_company();
    let run = Run::begin();
    let mut live = Live::start(&options, args.sandbox).await?;
    // Who waits for the banner may signal at once.
    let mut stop = live.adopting(|| Stop::new(&args.limits, args.cmd.as_deref()))??;
    // Whoever started us as a service (Type=notify) is told before the socket for it can no longer be made.
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
    // The command runs with all that it was given; what comes now is for us alone.
    let writes = recorder.as_ref().map(Recorder::directory);
    enter_sandbox(&Part::Teller(writes), args.sandbox)?;
    let mut requests = Requests::new(recorder.is_some())?;
    if has_company {
        writeln!(
            io::stderr(),
            "another redis-trace is at work on this host: each tells everything, for twice the cost"
        )?;
    }
    match &run {
        Ok((_, Some(before))) => writeln!(io::stderr(), "{before}")?,
        Ok((_, None)) => {}
        Err(why) => writeln!(io::stderr(), "cannot note that this run began: {why}")?,
    }
    writeln!(io::stderr(), "{}", banner(live.hooks(), live.listeners_found, live.namespaces_found))?;
    let (sink, drained) = output::patient_sink(&args.output, args.output_buffer);
    let packets = recorder.as_ref().and_then(Recorder::packets);
    exporter.tells_of(collector.as_ref().map(Collector::delivery));
    let delivers = collector.as_ref().map(Collector::sink);
    let sinks = [Some(sink), exporter.counter(), packets, delivers].into_iter().flatten().collect();
    let mut telling = telling(args, but_our_own(stop.family(), exporter.ends()), sinks);
    while !stop.is_enough(telling.seen()) {
        let patience = patience(&telling, output::is_live(&args.output));
        let fact = tokio::select! {
            fact = live.next(patience) => fact?,
            () = stop.wait() => break,
            () = gone(drained.as_ref()) => return Ok(Exit::Fine),
            request = requests.next() => {
                if request == Request::End {
                    break;
                }
                serve(request, &mut live, &telling, &mut recorder)?;
                continue;
            }
            due = exporter.due() => {
                exporter.serve(due, &mut live, &telling, recorder.as_ref()).await?;
                continue;
            }
        };
        take(&fact, &mut live, &mut telling, &mut recorder)?;
        exporter.take(&fact, &telling);
    }
    live.poll();
    live.reconcile(COUNTERS).await?;
    let is_drained = timeout(DRAIN, drain(&mut live, &mut telling, &mut recorder)).await.ok().transpose()?.is_some();
    let judged = telling.tell_waiting()?;
    let (mut lost, missed) = live.lost()?;
    if !is_drained {
        lost.queue = live.sent()?.saturating_sub(judged);
    }
    let summary = telling.finish(lost, missed, hooks_report(live.hooks()))?;
    let is_recorded = recorder.is_none_or(Recorder::finish);
    drop(telling);
    let ending = collector.map(Collector::end);
    let unwritten = drained.map_or(0, Drain::finish);
    if unwritten > 0 {
        writeln!(io::stderr(), "{unwritten} bytes of output were not written: whoever reads it is too slow")?;
    }
    let undelivered = ending.map_or(0, Ending::undelivered);
    if undelivered > 0 {
        writeln!(io::stderr(), "{undelivered} log records were not delivered: the collector is away or too slow")?;
    }
    Ok(exit(args, &summary, is_recorded && unwritten == 0 && undelivered == 0, &stop))
}

/// One fact through the line.
fn take(fact: &Fact, live: &mut Live, telling: &mut Telling, recorder: &mut Option<Recorder>) -> io::Result<()> {
    if let Some(recorder) = recorder {
        recorder.keep(fact);
    }
    for question in telling.take(fact)? {
        live.ask(question);
    }
    if matches!(fact.what, What::Tick) {
        telling.redraw()?;
    }
    Ok(())
}

/// What happened before the end is told: records still in the ring, refusals that wait for their other end or an answer.
async fn drain(live: &mut Live, telling: &mut Telling, recorder: &mut Option<Recorder>) -> anyhow::Result<()> {
    let end = host::boottime();
    live.read_counts()?;
    // What had no key at that look is told at the next, however this ends.
    live.read_counts()?;
    loop {
        let fact = live.next(Some(SOON)).await?;
        let is_over = matches!(fact.what, What::Tick) || fact.time > end.saturating_add(GRACE);
        take(&fact, live, telling, recorder)?;
        if is_over && (!telling.is_waiting() || fact.time > end.saturating_add(2 * GRACE)) {
            return Ok(());
        }
    }
}

/// How long the end may take, whatever is still to be told: the rest is counted as lost.
const DRAIN: Duration = Duration::from_millis(800);
/// How long the end waits for the kernel's counters.
const COUNTERS: Duration = Duration::from_millis(400);
/// How long what happened before the end may take to be told, nanoseconds.
const GRACE: u64 = 500_000_000;

/// While a refusal waits for its other end, time passes in small steps.
const SOON: Duration = Duration::from_millis(5);

fn patience(telling: &Telling, is_live: bool) -> Option<Duration> {
    if telling.is_waiting() {
        Some(SOON)
    } else if telling.has_untold() || is_live {
        Some(Duration::from_millis(500))
    } else {
        None
    }
}

/// What we ourselves are refused, by servers that we ask how they are or by a collector, is told by our metrics, and is no
/// refusal of this host's.
fn but_our_own(wanted: Wanted, ends: Option<Arc<Ends>>) -> Wanted {
    let us = std::process::id();
    Box::new(move |report, known| {
        let client = report.flow.as_ref().and_then(|flow| flow.client);
        let is_our_end = ends.as_ref().zip(client).is_some_and(|(ends, client)| ends.has(client));
        let is_ours = is_our_end || report.client_process.as_ref().is_some_and(|client| client.pid == us);
        !is_ours && wanted(report, known)
    })
}

/// Waits until the reader of the output has gone, for ever where it has none.
async fn gone(drain: Option<&Drain>) {
    match drain {
        Some(drain) => drain.broken().await,
        None => std::future::pending().await,
    }
}

/// Does what somebody asked for by a signal: says on the side how it stands, or begins the recording anew.
fn serve(request: Request, live: &mut Live, telling: &Telling, recorder: &mut Option<Recorder>) -> anyhow::Result<()> {
    match (request, recorder) {
        (Request::Stats, _) => {
            let (lost, missed) = live.lost()?;
            let summary = telling.so_far(lost, missed, hooks_report(live.hooks()));
            io::stderr().write_all(sum(&summary).as_bytes())?;
        }
        (Request::Reopen, Some(recorder)) => {
            recorder.reopen(&live.beginning());
            live.look_again();
        }
        (Request::Reopen, None) | (Request::End, _) => {}
    }
    Ok(())
}

fn telling(args: &WatchArgs, wanted: Wanted, sinks: Vec<Box<dyn Sink>>) -> Telling {
    Telling::new(
        bounds(args.history),
        output::filter(&args.filters),
        wanted,
        !args.output.no_aggregate,
        Box::new(sinks),
    )
}

/// How many of a flood are told by themselves: all, where each is wanted, or where only by itself it can be told whether it is.
pub fn samples(filters: &FilterArgs, each: bool) -> u32 {
    let FilterArgs { pid, comm, container, .. } = filters;
    let is_by_process = !pid.is_empty() || !comm.is_empty() || !container.is_empty();
    if each || is_by_process { tally::EVERY } else { tally::BUDGET }
}

/// Where filters are applied, and what the kernel does because of them.
fn places_of_filters(args: &WatchArgs) -> String {
    let given = args.filters.given();
    let here = if given.is_empty() { "no filter".to_owned() } else { given.join(" ") };
    let sent = match samples(&args.filters, args.output.no_aggregate || args.cmd.is_some()) {
        tally::EVERY => "every refusal is sent by itself: --no-aggregate, --cmd and filters by process need that",
        _ => "a flood is counted, and samples of it are sent",
    };
    format!(
        "kernel   no filter: every refusal of the host is counted; {sent}\nprogram  {here}: chooses which verdicts are told"
    )
}

/// How the kernel is to be observed.
pub fn options(args: &ObservationArgs) -> Options {
    let tier = match args.tier {
        Tier::Auto => TierWish::Auto,
        Tier::T2 => TierWish::NoTrampoline,
    };
    Options {
        syscall_hooks: !args.no_syscall_hooks,
        ring_bytes: args.ring,
        kinds: args.kinds,
        tier,
        ..Options::default()
    }
}

/// How much is to be remembered.
pub fn bounds(args: HistoryArgs) -> Bounds {
    let age = u64::try_from(args.max_age.as_nanos()).unwrap_or(u64::MAX);
    Bounds { number: usize::try_from(args.max_processes).unwrap_or(usize::MAX), age }
}

fn exit(args: &WatchArgs, summary: &Summary, is_whole: bool, stop: &Stop) -> Exit {
    let failed = |code: &Code| summary.by_cause.contains_key(code);
    let is_incomplete = summary.lost.total() > 0 || summary.missed.total() > 0 || !summary.hooks.degraded.is_empty();
    if !is_whole || (args.limits.strict && is_incomplete) {
        Exit::Incomplete
    } else if args.fail_on_cause.iter().any(failed) || (stop.is_command() && summary.seen > 0) {
        Exit::Found
    } else {
        Exit::Fine
    }
}
