//! `redis-trace demo`: makes each cause happen for real, in a private network namespace with real sockets and a real
//! redis-server, and compares what the agent tells with what happened.

use std::fs::{self, File};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use rustix::fs::{FlockOperation, flock};
use serde_json::Value;

use self::agent::{Agent, PATIENCE, Running};
use self::expect::{Judgement, Scope, judge};
use self::programme::Programme;
use self::scenarios::{Scenario, Step};
use self::server::Server;
use self::stage::Stage;
use crate::cli::{DemoArgs, Tier};
use crate::failure::{Exit, Failure};
use crate::host::clock::boottime;
use crate::kernel;

mod actor;
mod agent;
mod bytecode;
mod cgroup;
mod confine;
mod crowd;
mod doorkeeper;
pub mod examine;
pub mod expect;
mod healthy;
mod interrupt;
mod netns;
mod process;
pub mod programme;
mod record;
mod rules;
mod scenarios;
mod server;
mod sk_lookup;
mod stage;
mod tomoyo;
mod visitor;
mod wire;

/// How long to wait for a verdict once a later one has been told.
const GRACE: Duration = Duration::from_secs(5);

/// Stages every scenario that was asked for, as often as was asked for.
pub fn run(args: &DemoArgs) -> Result<Exit> {
    if !rustix::process::geteuid().is_root() {
        return Err(forbidden().into());
    }
    let scenarios = chosen(&args.only)?;
    let _alone = alone()?;
    let running = Running::default();
    interrupt::end_when_told(running.clone())?;
    let theatre = Theatre { args, running, server: Server::of(&args.server)? };
    let fine = match &args.record {
        Some(directory) => theatre.record(&scenarios, directory)?,
        None if args.rehearse => theatre.rehearse(&scenarios)?,
        None if args.examine => theatre.examine(&scenarios)?,
        None => theatre.perform(&scenarios)?,
    };
    Ok(if fine { Exit::Fine } else { Exit::Found })
}

/// The name of each scenario's recording.
pub fn slugs() -> Vec<String> {
    scenarios::all().map(Scenario::slug).collect()
}

/// How many scenarios this kernel can stage and an agent with or without hooks on functions can see; the others are staged in
/// virtual machines.
pub fn stageable(has_trampolines: bool) -> usize {
    let is_seen = |scenario: &&Scenario| has_trampolines || !scenario.needs.take_trampolines();
    scenarios::all().filter(|scenario| scenario.needs.are_met()).filter(is_seen).count()
}

/// Plays the part of a client or a server in a scenario.
pub fn act(arguments: &[String]) -> Result<Exit> {
    actor::play(arguments).map(|()| Exit::Fine)
}

fn forbidden() -> Failure {
    Failure::new(Exit::Forbidden, "cannot stage refusals: only root may make network namespaces and load probes")
        .attempt("sudo redis-trace demo")
}

/// The scenarios that were asked for.
fn chosen(only: &[String]) -> Result<Vec<&'static Scenario>> {
    let unknown = only.iter().find(|wanted| !scenarios::all().any(|scenario| scenario.is_called(wanted)));
    if let Some(unknown) = unknown {
        return Err(Failure::new(Exit::Usage, format!("no scenario has the code or name {unknown:?}"))
            .attempt("redis-trace demo, which names them all")
            .into());
    }
    Ok(scenarios::all()
        .filter(|scenario| scenario.needs.are_met())
        .filter(|scenario| only.is_empty() || only.iter().any(|name| scenario.is_called(name)))
        .collect())
}

/// Waits until no other demo runs: each would find the other's servers in another network namespace.
fn alone() -> Result<File> {
    let path = std::env::temp_dir().join("redis-trace-demo.lock");
    let file = File::create(&path).with_context(|| format!("cannot create {}", path.display()))?;
    flock(&file, FlockOperation::LockExclusive).with_context(|| format!("cannot lock {}", path.display()))?;
    Ok(file)
}

/// Where scenarios are performed.
struct Theatre<'a> {
    args: &'a DemoArgs,
    running: Running,
    server: Server,
}

impl Theatre<'_> {
    /// Performs all scenarios before one agent, those apart that need another.
    fn perform(&self, scenarios: &[&'static Scenario]) -> Result<bool> {
        let mut programme = Programme::new(self.args.output, self.tier());
        let mut shared = self.agent(&["watch", "--no-aggregate"])?;
        let scenarios = scenarios.iter().copied().filter(|scenario| shared.can_see(scenario)).enumerate();
        let (counting, others): (Vec<_>, Vec<_>) =
            scenarios.partition(|(_, scenario)| scenario.agent == scenarios::Agent::Counting);
        for _ in 0..self.args.repeat {
            for &(place, scenario) in &others {
                let start = Instant::now();
                let result = match scenario.agent {
                    scenarios::Agent::Own => self.before_own(scenario, &["watch"], |_, _| Ok(())),
                    _ => self.before_shared(scenario, &mut shared),
                };
                programme.show(place, scenario, &result, start.elapsed())?;
            }
        }
        shared.stop()?;
        if !counting.is_empty() {
            self.before_counting(&counting, &mut programme)?;
        }
        programme.end()
    }

    /// Stages all scenarios with nobody watching: shows what this machine can stage.
    fn rehearse(&self, scenarios: &[&'static Scenario]) -> Result<bool> {
        let mut programme = Programme::new(self.args.output, self.tier());
        for (place, scenario) in scenarios.iter().enumerate() {
            let start = Instant::now();
            let result = self.stage(scenario.before).and_then(|mut stage| {
                scenario.steps.iter().try_for_each(|step| step(&mut stage))?;
                stage.sentinel()?;
                Ok(Judgement::default())
            });
            programme.show(place, scenario, &result, start.elapsed())?;
        }
        programme.end()
    }

    /// Performs each scenario once and asks doctor about it; the opinions are judged by whoever reads them.
    fn examine(&self, scenarios: &[&'static Scenario]) -> Result<bool> {
        let mut shared = self.agent(&["watch", "--no-aggregate"])?;
        let scenarios: Vec<_> = scenarios.iter().copied().filter(|scenario| shared.can_see(scenario)).collect();
        for scenario in scenarios {
            let mut stage = self.stage(scenario.before)?;
            let opinions = match scenario.agent {
                scenarios::Agent::Shared => examine::attend(scenario, &mut stage, &mut shared)?,
                _ => examine::attend(scenario, &mut stage, &mut self.agent(&["watch"])?)?,
            };
            drop(stage);
            shared.close();
            for opinions in opinions {
                programme::write_line(&serde_json::to_string(&opinions)?)?;
            }
        }
        Ok(true)
    }

    /// Performs and records each scenario before an agent of its own, and replays the recording.
    fn record(&self, scenarios: &[&'static Scenario], directory: &Path) -> Result<bool> {
        fs::create_dir_all(directory).with_context(|| format!("cannot make {}", directory.display()))?;
        let mut programme = Programme::new(self.args.output, self.tier());
        for (place, scenario) in scenarios.iter().enumerate() {
            let start = Instant::now();
            let file = directory.join(scenario.slug()).with_extension("rec");
            let path = file.display().to_string();
            let options: &[&str] = match scenario.agent {
                scenarios::Agent::Shared => &["record", &path, "--no-aggregate"],
                _ => &["record", &path],
            };
            let keep = |stage: &Stage, judgement: &Judgement| record::keep(&file, stage, judgement);
            let result = self.before_own(scenario, options, keep);
            programme.show(place, scenario, &result, start.elapsed())?;
        }
        programme.end()
    }

    /// The tier, as far as the command line says.
    fn tier(&self) -> String {
        match self.args.tier {
            Tier::Auto => "auto".to_owned(),
            Tier::T2 => "t2".to_owned(),
        }
    }

    /// Starts an agent that tells JSON.
    fn agent(&self, arguments: &[&str]) -> Result<Agent> {
        let mut arguments: Vec<String> = arguments.iter().map(ToString::to_string).collect();
        arguments.extend(["-o".to_owned(), "json".to_owned(), "--tier".to_owned(), self.tier()]);
        if kernel::has_kprobes() {
            rules::load_modules()?;
        }
        Agent::start(&arguments, &self.running)
    }

    /// Performs a scenario before the agent that watches all of them.
    fn before_shared(&self, scenario: &Scenario, agent: &mut Agent) -> Result<Judgement> {
        let mut stage = self.stage(scenario.before)?;
        let judgement = attend(scenario, &mut stage, agent);
        drop(stage);
        agent.close();
        judgement
    }

    /// Performs scenarios before one agent that counts repeats: only when it has ended are its counts whole.
    fn before_counting(&self, scenarios: &[(usize, &Scenario)], programme: &mut Programme) -> Result<()> {
        let mut agent = self.agent(&["watch"])?;
        let mut performed = Vec::new();
        for &(place, scenario) in (0..self.args.repeat).flat_map(|_| scenarios) {
            let start = Instant::now();
            let result = self.stage(scenario.before).and_then(|mut stage| {
                attend(scenario, &mut stage, &mut agent)?;
                Ok((Scope { until: boottime(), ..stage.scope.clone() }, std::mem::take(&mut stage.expected)))
            });
            performed.push((place, scenario, result, start.elapsed()));
        }
        let lines = agent.stop()?;
        for (place, scenario, result, took) in performed {
            let judgement = result.map(|(scope, expected)| judge(&lines, &scope, &expected));
            programme.show(place, scenario, &judgement, took)?;
        }
        Ok(())
    }

    /// Performs a scenario before an agent of its own, which is stopped before its lines are judged.
    fn before_own(
        &self,
        scenario: &Scenario,
        arguments: &[&str],
        keep: impl FnOnce(&Stage, &Judgement) -> Result<()>,
    ) -> Result<Judgement> {
        let mut stage = self.stage(scenario.before)?;
        let mut agent = self.agent(arguments)?;
        attend(scenario, &mut stage, &mut agent)?;
        let lines = agent.stop()?;
        let judgement = judge(&lines, &stage.scope, &stage.expected);
        keep(&stage, &judgement)?;
        Ok(judgement)
    }

    /// A stage on which what came before has happened.
    fn stage(&self, before: Option<Step>) -> Result<Stage> {
        let mut stage = Stage::new(self.server.clone(), self.args.connections)?;
        if let Some(before) = before {
            before(&mut stage)?;
        }
        Ok(stage)
    }
}

/// Takes the steps of a scenario, each after what the one before expects has been told, and a last refusal on a port of its
/// own: when that has been told, so has everything before it.
fn attend(scenario: &Scenario, stage: &mut Stage, agent: &mut Agent) -> Result<Judgement> {
    agent.begin(&stage.scope);
    // Who counts repeats has told all when it ends; until it has told something, it may still look at who was refused by whom.
    let is_told = |stage: &Stage, told: &[Value]| match scenario.agent {
        scenarios::Agent::Shared => {
            let so_far = judge(told, &stage.scope, &stage.expected);
            so_far.missing.is_empty() || !so_far.besides.is_empty()
        }
        scenarios::Agent::Counting | scenarios::Agent::Own => told.iter().any(|line| stage.scope.covers(line)),
    };
    for (place, step) in scenario.steps.iter().enumerate() {
        step(stage)?;
        agent.follow(&stage.scope);
        if place + 1 < scenario.steps.len() {
            agent.wait(Instant::now() + PATIENCE, |told| is_told(stage, told))?;
        }
    }
    stage.sentinel()?;
    agent.wait(Instant::now() + PATIENCE, |told| told.iter().any(|line| stage.scope.ends(line)))?;
    agent.wait(Instant::now() + GRACE, |told| is_told(stage, told))?;
    Ok(judge(&agent.told, &stage.scope, &stage.expected))
}
