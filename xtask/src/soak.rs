//! `cargo xtask soak`: an agent watches while namespaces, listeners, processes and storms come and go; then nothing may
//! have grown, no refusal may be missing, and no verdict may be wrong.

use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use clap::Args;

use crate::bench::agent::{Agent, server_port};
use crate::bench::load::{Playing, play};
use crate::bench::netns::Netns;
use crate::bench::spread::Spread;
use crate::bench::{self, process};
use crate::run::output;
use crate::setup;

/// The ports that are dialled, in new namespaces: whatever else is refused on this host is not counted. No client has
/// one of them for its own: it would be connected to itself.
const PORTS: &str = "27000-27003";
/// The one that storms dial.
const STORM: u16 = 27_000;
/// The one that nobody ever listened on.
const NEVER: (Ipv4Addr, u16) = (Ipv4Addr::LOCALHOST, 27_001);
/// The one that something listens on at another address.
const ELSEWHERE: (Ipv4Addr, u16) = (Ipv4Addr::LOCALHOST, 27_002);
/// The one whose listener was killed, a process that plays the load of listeners.
const KILLED: (Ipv4Addr, u16) = (Ipv4Addr::new(127, 0, 1, 1), 27_003);
/// The number that this load has for that listener.
const KILLED_NUMBER: &str = "7003";
/// How soon each of them must be told.
const PATIENCE: Duration = Duration::from_secs(5);
/// How much memory may grow from the second quarter of the time to the last.
const GROWTH: f64 = 1.05;

/// How long.
#[derive(Args)]
pub(crate) struct Options {
    /// How many minutes
    #[arg(long, default_value_t = 20)]
    minutes: u32,
    /// What the churn is drawn from, to have the same again
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// What was done and seen.
#[derive(Default)]
struct Course {
    /// Refusals that were made.
    made: u64,
    /// Verdicts that were right.
    right: u64,
    /// Verdicts that were wrong or never came.
    wrong: Vec<String>,
    /// The agent's memory after each cycle, MiB.
    memory: Vec<f64>,
    /// Its descriptors after each cycle.
    descriptors: Vec<f64>,
}

impl Course {
    /// How it goes.
    fn so_far(&self, minute: u32) -> String {
        let last = |values: &[f64]| values.last().copied().unwrap_or(f64::NAN);
        let [memory, descriptors] = [&self.memory, &self.descriptors].map(|values| last(values));
        let cycles = self.memory.len();
        format!("minute {minute}: {cycles} cycles, {} refusals, {memory:.1} MiB, {descriptors} descriptors", self.made)
    }
}

/// Churns, then judges.
pub(crate) fn soak(options: &Options) -> Result<()> {
    if !setup::is_root()? {
        bail!("the agent needs root.\n  try   sudo env PATH=\"$PATH\" cargo xtask soak");
    }
    let mut agent = Agent::start(&bench::build("redis-trace", true)?, &["--port", PORTS])?;
    let mut random = fastrand::Rng::with_seed(options.seed);
    let mut course = Course::default();
    let start = Instant::now();
    for minute in 1..=options.minutes {
        while start.elapsed() < Duration::from_mins(1) * minute {
            cycle(&mut agent, &mut random, &mut course)?;
            course.memory.push(process::memory(agent.pid())?.0);
            course.descriptors.push(process::descriptors(agent.pid())?);
        }
        println!("{}", course.so_far(minute));
    }
    let told = agent.stop()?;
    let counted: u64 = [STORM, NEVER.1, ELSEWHERE.1, KILLED.1].map(|port| told.counted(port)).iter().sum();
    println!("refusals: {} made, {} seen, {counted} told, {} lost", course.made, told.seen(), told.lost());
    let mut faults = judge(&course);
    if told.seen() != course.made || !told.adds_up() {
        faults.push("the counts are not exact".to_owned());
    }
    if !faults.is_empty() {
        bail!("the soak found:\n  {}", faults.join("\n  "));
    }
    println!("soak: nothing grew, nothing is missing, nothing was wrong");
    Ok(())
}

/// Namespaces, listeners and processes come, a storm passes, three refusals are judged, everything goes.
fn cycle(agent: &mut Agent, random: &mut fastrand::Rng, course: &mut Course) -> Result<()> {
    let crowd = (0..random.u32(0..4)).map(|_| Netns::new()).collect::<Result<Vec<_>>>()?;
    let netns = Netns::new()?;
    for netns in crowd.iter().chain([&netns]) {
        play(netns, &["churn", "--count", &random.u32(1..300).to_string()])?;
        for _ in 0..random.u32(0..8) {
            output(&mut netns.command("true"))?;
        }
    }
    let mut holder = Playing::start(&netns, &["listen", "--count", &random.u32(1..100).to_string()])?;
    holder.says()?;
    let storm = Playing::start(&netns, &storm(random))?;
    verdict(agent, &netns, course, NEVER, "RT1001")?;
    let listener = netns.inside(|| Ok(TcpListener::bind((Ipv4Addr::new(127, 0, 0, 2), ELSEWHERE.1))?))?;
    verdict(agent, &netns, course, ELSEWHERE, "RT1007")?;
    drop(listener);
    let mut victim = Playing::start(&netns, &["listen", "--count", "1", "--first", KILLED_NUMBER])?;
    victim.says()?;
    drop(victim);
    verdict(agent, &netns, course, KILLED, "RT1003")?;
    course.made += storm.end()?["refused"].as_u64().context("the load says how many were refused")?;
    holder.end()?;
    Ok(())
}

/// The words of a storm: as fast as it goes or at some rate, of one client or two.
fn storm(random: &mut fastrand::Rng) -> Vec<&'static str> {
    let mut words = vec!["refuse", "--port", "27000"];
    words.extend(
        random
            .choice([["--rate", "100"], ["--rate", "10000"], ["--clients", "1"], ["--clients", "2"]])
            .into_iter()
            .flatten(),
    );
    words
}

/// Dials what refuses: whether it is told, and with this cause.
fn verdict(
    agent: &mut Agent,
    netns: &Netns,
    course: &mut Course,
    server: (Ipv4Addr, u16),
    expected: &str,
) -> Result<()> {
    netns.inside(|| match TcpStream::connect(server) {
        Err(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => Ok(()),
        other => bail!("a dial of {server:?} should have been refused, but: {other:?}"),
    })?;
    course.made += 1;
    match agent.hear(PATIENCE, |line| server_port(line) == Some(server.1.into()))? {
        Some((_, line)) if line["cause"]["code"] == expected => course.right += 1,
        Some((_, line)) => {
            let told = format!("{expected} was told as {}: {}", line["cause"]["code"], line["summary"]);
            course.wrong.push(told);
        }
        None => course.wrong.push(format!("{expected} was not told within {} s", PATIENCE.as_secs())),
    }
    Ok(())
}

/// What must not be.
fn judge(course: &Course) -> Vec<String> {
    let Course { made: _, right, wrong, memory, descriptors } = course;
    println!("verdicts: {right} right, {} wrong or missing, in {} cycles", wrong.len(), memory.len());
    let mut faults = wrong.clone();
    for (what, values, growth) in [("memory, MiB", memory, GROWTH), ("descriptors", descriptors, 1.0)] {
        let [before, after] = quarters(values);
        println!("{what}: {before:.1} in the second quarter, {after:.1} in the last");
        // Medians: in the middle of a question the agent holds a descriptor or two more.
        if after > before * growth {
            faults.push(format!("{what}: grew from {before:.1} to {after:.1}"));
        }
    }
    faults
}

/// The medians of the second and of the last quarter: the first is for warming up.
fn quarters(values: &[f64]) -> [f64; 2] {
    let quarter = values.len().div_ceil(4);
    let median = |values: &[f64]| Spread::of(values.iter().copied()).median();
    [median(values.get(quarter..2 * quarter).unwrap_or(values)), median(&values[values.len() - quarter..])]
}

#[cfg(test)]
mod tests {
    use super::{Course, judge, quarters};

    #[test]
    fn what_is_used_while_warming_up_does_not_count() {
        assert_eq!(format!("{:?}", quarters(&[1.0, 5.0, 5.0, 6.0])), "[5.0, 6.0]");
        assert_eq!(format!("{:?}", quarters(&[3.0])), "[3.0, 3.0]");
    }

    #[test]
    fn a_leak_and_a_wrong_verdict_are_found() {
        let course = |memory: [f64; 8], descriptors: [f64; 8]| Course {
            memory: memory.to_vec(),
            descriptors: descriptors.to_vec(),
            wrong: Vec::new(),
            ..Course::default()
        };
        assert!(judge(&course([20.0; 8], [40.0; 8])).is_empty());
        let growing = [20.0, 20.0, 20.0, 20.0, 22.0, 22.0, 24.0, 24.0];
        assert_eq!(judge(&course(growing, [40.0; 8])).len(), 1);
        let leaking = [40.0, 41.0, 42.0, 43.0, 44.0, 45.0, 46.0, 47.0];
        assert_eq!(judge(&Course { wrong: vec!["x".to_owned()], ..course([20.0; 8], leaking) }).len(), 2);
    }
}
