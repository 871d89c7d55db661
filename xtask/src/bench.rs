//! `cargo xtask bench`: what watching costs a host that is refused as fast as it can dial, and how soon a line comes.

use std::io::{BufRead as _, BufReader};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use clap::Args;

use crate::run::{cargo, output, run, workspace};
use crate::setup;

/// How much is measured.
#[derive(Args)]
pub(crate) struct Options {
    /// How many pairs of runs, one with and one without the agent
    #[arg(long, default_value_t = 7)]
    pairs: usize,
    /// How many seconds one run takes
    #[arg(long, default_value_t = 3)]
    seconds: u64,
    /// How many single refusals are timed from the dial to the line
    #[arg(long, default_value_t = 200)]
    lines: usize,
}

/// The load: dials a port that nobody listens on, one connect after the other, and prints how many were refused.
#[derive(Args)]
pub(crate) struct Load {
    /// The closed port
    #[arg(long)]
    port: u16,
    /// For how long
    #[arg(long)]
    seconds: u64,
}

/// Measures and prints.
pub(crate) fn bench(options: &Options) -> Result<()> {
    if !setup::is_root()? {
        bail!("the agent needs root.\n  try   sudo env PATH=\"$PATH\" cargo xtask bench");
    }
    run(cargo()?.args(["build", "--locked", "--release", "--package", "redis-trace"]))?;
    let program = workspace()?.join("target/release/redis-trace");
    println!("kernel {}, {} CPUs", output(Command::new("uname").arg("-r"))?, std::thread::available_parallelism()?);
    rates(options, &program)?;
    delays(options.lines, &program)
}

/// Refusals a second with and without the agent, in pairs whose order alternates, and the ratio of each pair.
fn rates(options: &Options, program: &Path) -> Result<()> {
    let port = closed_port()?;
    let (mut ratios, mut starts) = (Vec::new(), Vec::new());
    println!("refused connects a second, one client, {} s a run:", options.seconds);
    for pair in 0..options.pairs {
        let mut watched = || -> Result<f64> {
            let agent = Agent::start(program, &["-o", "json"], Stdio::null())?;
            starts.push(agent.to_attached);
            let rate = dial(port, options.seconds)?;
            agent.stop()?;
            Ok(rate)
        };
        // Whatever drifts on this machine meets both kinds of run alike.
        let (without, with) = if pair % 2 == 0 {
            let without = dial(port, options.seconds)?;
            (without, watched()?)
        } else {
            let with = watched()?;
            (dial(port, options.seconds)?, with)
        };
        println!("  without {without:9.0}   with {with:9.0}   ratio {:.3}", with / without);
        ratios.push(with / without);
    }
    println!("ratio           {}", spread(ratios, 1.0, ""));
    println!("start to attached {}", spread(seconds(&starts), 1e3, " ms"));
    Ok(())
}

/// The time from a dial to the line about its refusal.
fn delays(count: usize, program: &Path) -> Result<()> {
    let mut agent = Agent::start(program, &["-o", "json", "--no-aggregate"], Stdio::piped())?;
    let mut lines = BufReader::new(agent.take_output()?).lines();
    let mut delays = Vec::new();
    for _ in 0..count {
        let port = closed_port()?;
        let start = Instant::now();
        if TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok() {
            bail!("something listens on port {port} now, which was closed a moment ago");
        }
        let about_it = [format!("\"port\":{port}}}"), format!("\"port\":{port},")];
        loop {
            let line = lines.next().context("the agent ended while refusals were timed")??;
            if about_it.iter().any(|port| line.contains(port)) {
                break;
            }
        }
        delays.push(start.elapsed());
    }
    agent.stop()?;
    println!("event to line   {}", spread(seconds(&delays), 1e3, " ms"));
    Ok(())
}

/// Runs the load in a process of its own: refusals a second.
fn dial(port: u16, seconds: u64) -> Result<f64> {
    let xtask = std::env::current_exe().context("cannot tell which program this is")?;
    let refused =
        output(Command::new(xtask).args(["load", "--port", &port.to_string(), "--seconds", &seconds.to_string()]))?;
    let (count, time) = refused.split_once(' ').context("the load says how many and how long")?;
    Ok(count.parse::<f64>()? / time.parse::<f64>()?)
}

/// The load itself.
pub(crate) fn load(options: &Load) -> Result<()> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, options.port));
    let (start, limit) = (Instant::now(), Duration::from_secs(options.seconds));
    let mut refused = 0_u64;
    while start.elapsed() < limit {
        match TcpStream::connect(address) {
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => refused += 1,
            Err(error) => return Err(error).context("the load wants to be refused"),
            Ok(_) => bail!("something listens on port {}", options.port),
        }
    }
    println!("{refused} {}", start.elapsed().as_secs_f64());
    Ok(())
}

/// A port of 127.0.0.1 that was free a moment ago.
fn closed_port() -> Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("cannot find a free port")?;
    Ok(listener.local_addr()?.port())
}

/// A running `redis-trace watch`.
struct Agent {
    /// The process.
    process: Child,
    /// How long it took from its start until it said that it watches.
    to_attached: Duration,
}

impl Agent {
    /// Starts it and waits for the last line of its banner.
    fn start(program: &Path, arguments: &[&str], stdout: Stdio) -> Result<Self> {
        let start = Instant::now();
        let mut process = Command::new(program)
            .arg("watch")
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(stdout)
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        let mut banner = BufReader::new(process.stderr.take().context("the agent has a standard error")?).lines();
        let mut said = Vec::new();
        loop {
            match banner.next() {
                Some(line) => said.push(line?),
                None => bail!("`redis-trace watch` ended before it watched; it said:\n{}", said.join("\n")),
            }
            if said.last().is_some_and(|line| line.starts_with("watching")) {
                break;
            }
        }
        let to_attached = start.elapsed();
        // Its summary must find a reader.
        std::thread::spawn(move || banner.for_each(drop));
        Ok(Self { process, to_attached })
    }

    /// Its standard output.
    fn take_output(&mut self) -> Result<ChildStdout> {
        self.process.stdout.take().context("the agent's standard output is read only once")
    }

    /// Ends it as Ctrl-C does.
    fn stop(mut self) -> Result<()> {
        output(Command::new("kill").args(["-INT", &self.process.id().to_string()]))?;
        let status = self.process.wait()?;
        if !status.success() {
            bail!("`redis-trace watch` ended with {status} after Ctrl-C");
        }
        Ok(())
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // Only after a failure is it still there; a bench that failed must not leave an agent behind.
        if matches!(self.process.try_wait(), Ok(None)) && self.process.kill().is_ok() {
            let _ = self.process.wait();
        }
    }
}

/// Durations in seconds.
fn seconds(durations: &[Duration]) -> Vec<f64> {
    durations.iter().map(Duration::as_secs_f64).collect()
}

/// Median, smallest and largest, in a unit.
fn spread(mut values: Vec<f64>, scale: f64, unit: &str) -> String {
    values.sort_by(f64::total_cmp);
    let at = |place: usize| values.get(place).map_or(f64::NAN, |value| value * scale);
    let last = values.len().saturating_sub(1);
    format!(
        "median {:.3}{unit}   smallest {:.3}{unit}   largest {:.3}{unit}   of {}",
        at(last / 2),
        at(0),
        at(last),
        values.len()
    )
}
