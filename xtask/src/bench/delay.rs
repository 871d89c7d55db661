//! How soon a refusal is told, in quiet and in a storm, and whether a rare second cause is told in a storm at all.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use super::agent::{Agent, server_port};
use super::load::Playing;
use super::measure::Bench;
use super::netns::{Netns, closed_port};
use super::page::{Figure, Part, Table, Target, number};
use super::spread::Spread;

/// The title on the page.
pub(super) const TITLE: &str = "From a refusal to its line";

/// After so long a refusal counts as never told.
const PATIENCE: Duration = Duration::from_secs(2);

/// Measures.
pub(super) fn measure(bench: &Bench) -> Result<Part> {
    let mut part = Part::new(
        TITLE,
        "A port that was never dialled before is dialled, and the line about it read from the agent's standard output; \
         a line that does not come within two seconds took for ever. The storm is one client that dials another closed \
         port in the same namespace as fast as it can. The second cause is RT1007 (bound to another address) in a \
         storm of RT1001.",
    );
    let netns = Netns::new()?;
    let mut agent = Agent::start(&bench.program, &[])?;
    let quiet = delays(&mut agent, &netns, bench.pick([300, 50, 50]))?;
    let closed = closed_port().to_string();
    let storm = Playing::start(&netns, &["refuse", "--port", &closed])?;
    // The storm has come to the agent, and is not news any more.
    agent.hear(PATIENCE, |line| line["count"].as_u64() >= Some(1000))?;
    let stormy = delays(&mut agent, &netns, bench.pick([200, 20, 20]))?;
    let tries = bench.pick([50, 10, 10]);
    let second = second_causes(&mut agent, &netns, tries)?;
    storm.end()?;
    agent.stop()?;
    part.tables.push(table(&[("idle", &quiet), ("in a storm", &stormy), ("second cause in a storm", &second)]));
    let figure = |what: &str, most: f64, delays: &Spread| {
        Figure::new(what, Target::AtMost(most), delays.quantile(0.99)).unit("ms").spread(delays.text(1))
    };
    let found = second.within(PATIENCE.as_secs_f64() * 1e3);
    let what = format!("a rare second cause told in the storm, of {tries} tries");
    #[expect(clippy::cast_precision_loss, reason = "there are few tries")]
    let told = Figure::new(&what, Target::AtLeast(tries as f64), found as f64);
    part.figures = vec![
        figure("refusal to line, idle, p99", 50.0, &quiet),
        figure("refusal to line, in a storm, p99", 200.0, &stormy),
        told.spread(format!("{} ms", second.text(1))),
    ];
    Ok(part)
}

/// Delays in milliseconds, each of a dial of another closed port.
pub(super) fn delays(agent: &mut Agent, netns: &Netns, count: usize) -> Result<Spread> {
    let mut delays = Vec::new();
    for _ in 0..count {
        let port = closed_port();
        let start = netns.inside(|| refused(port))?;
        delays.push(delay(agent, start, |line| server_port(line) == Some(port.into()))?);
    }
    Ok(Spread::of(delays))
}

/// The same for refusals with another cause: something listens on the port, at another address.
fn second_causes(agent: &mut Agent, netns: &Netns, tries: usize) -> Result<Spread> {
    let mut delays = Vec::new();
    for _ in 0..tries {
        let (listener, start) = netns.inside(|| {
            let listener = TcpListener::bind((Ipv4Addr::new(127, 0, 0, 2), 0)).context("cannot listen")?;
            let start = refused(listener.local_addr()?.port())?;
            Ok((listener, start))
        })?;
        let port = listener.local_addr()?.port();
        let wanted = |line: &Value| server_port(line) == Some(port.into()) && line["cause"]["code"] == "RT1007";
        delays.push(delay(agent, start, wanted)?);
    }
    Ok(Spread::of(delays))
}

/// Dials a port of 127.0.0.1 that must refuse: when.
fn refused(port: u16) -> Result<Instant> {
    let start = Instant::now();
    if TcpStream::connect(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).is_ok() {
        bail!("something listens on port {port} of a namespace that has no servers");
    }
    Ok(start)
}

/// From `start` until a line comes that is wanted, in milliseconds.
fn delay(agent: &mut Agent, start: Instant, wanted: impl Fn(&Value) -> bool) -> Result<f64> {
    let heard = agent.hear(PATIENCE, wanted)?;
    Ok(heard.map_or(f64::INFINITY, |(at, _)| at.saturating_duration_since(start).as_secs_f64() * 1e3))
}

/// Every delay.
fn table(delays: &[(&str, &Spread)]) -> Table {
    let mut table = Table::new(["load", "p50, ms", "p99, ms", "spread, ms", "told"]);
    for (name, delays) in delays {
        let told = delays.within(PATIENCE.as_secs_f64() * 1e3);
        let [middle, late] = [0.5, 0.99].map(|part| number(delays.quantile(part)));
        table.row([(*name).to_owned(), middle, late, delays.text(1), told.to_string()]);
    }
    table
}
