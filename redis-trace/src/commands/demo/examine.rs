//! `doctor` asked about each situation while it lasts: what it says beside what `watch` said of it.

use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::agent::{Agent, PATIENCE};
use super::expect::judge;
use super::process::Process;
use super::scenarios::{Agent as Who, Scenario};
use super::stage::Stage;
use crate::trace::report::schema;

/// The name of the JSON object.
const SCHEMA: &str = "redis-trace.demo-opinions/1";

/// Of one step's servers so many are asked about: dials of which nothing comes take seconds each.
const MOST: usize = 3;

/// What was said of one server that somebody was refused by.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Opinions {
    /// Always `redis-trace.demo-opinions/1`.
    pub schema: String,
    /// The scenario's name.
    pub scenario: String,
    /// What doctor was asked about.
    pub target: String,
    /// The code that `watch` told.
    pub watch: String,
    /// What doctor says, and how surely.
    pub doctor: (String, String),
    /// What it says when nobody special asks.
    pub nobody: (String, String),
    /// The steps by which doctor came to it.
    pub steps: Vec<String>,
}

/// Takes the steps of a scenario and asks about everyone who turned a client away in each, while it still would.
pub(super) fn attend(scenario: &Scenario, stage: &mut Stage, agent: &mut Agent) -> Result<Vec<Opinions>> {
    agent.begin(&stage.scope);
    let mut opinions: Vec<Opinions> = Vec::new();
    for step in scenario.steps {
        step(stage)?;
        agent.follow(&stage.scope);
        let judged = |told: &[Value]| judge(told, &stage.scope, &stage.expected);
        // What is only whole when its agent ends is asked about as soon as anything is told.
        let is_enough = |told: &[Value]| match scenario.agent {
            Who::Shared => judged(told).missing.is_empty(),
            Who::Counting | Who::Own => stage.expected.is_empty() || told.iter().any(|line| stage.scope.covers(line)),
        };
        agent.wait(Instant::now() + PATIENCE, is_enough)?;
        let told = match scenario.agent {
            Who::Shared => judged(&agent.told).told,
            Who::Counting | Who::Own => agent.told.iter().filter(|line| stage.scope.covers(line)).cloned().collect(),
        };
        for (server, watch) in refused(&told).into_iter().take(MOST) {
            let target = stage.asked_at.map_or(server, |address| address.to_string());
            let is_asked = |known: &Opinions| (&known.target, &known.watch) == (&target, &watch);
            if opinions.iter().any(is_asked) {
                continue;
            }
            let (doctor, nobody) = (ask(stage, &target, true)?, ask(stage, &target, false)?);
            let ((doctor, steps), (nobody, _)) = (hear(doctor)?, hear(nobody)?);
            let (schema, scenario) = (SCHEMA.to_owned(), scenario.name.to_owned());
            opinions.push(Opinions { schema, scenario, target, watch, doctor, nobody, steps });
        }
    }
    Ok(opinions)
}

/// Each server that these lines say turned a client away, and the code that was told last of it.
fn refused(told: &[Value]) -> Vec<(String, String)> {
    let mut all: Vec<(String, String)> = Vec::new();
    for line in told.iter().filter(|line| line["schema"] == schema::REFUSAL) {
        let code = line["cause"]["code"].as_str().unwrap_or_default().to_owned();
        let Some(target) = target(line) else { continue };
        match all.iter_mut().find(|(known, _)| *known == target) {
            Some((_, known)) => *known = code,
            None => all.push((target, code)),
        }
    }
    all
}

/// What to ask about; nothing where a server was denied, and no client.
fn target(line: &Value) -> Option<String> {
    if let Some(path) = line["unix"]["path"].as_str() {
        return Some(format!("unix:{path}"));
    }
    if line["side"] == "server" && line["flow"]["client"].is_null() {
        return None;
    }
    let server = &line["flow"]["server"];
    let ip: IpAddr = server["ip"].as_str()?.parse().ok()?;
    let port = u16::try_from(server["port"].as_u64()?).ok()?;
    Some(SocketAddr::from((ip, port)).to_string())
}

/// Has doctor look at a target where its client is, as root or as nobody special.
fn ask(stage: &Stage, target: &str, is_root: bool) -> Result<Process> {
    let program = std::env::current_exe().context("this program has no path")?;
    let scheme = if stage.is_asked_by_tls { "rediss://" } else { "" };
    let arguments = ["doctor", &format!("{scheme}{target}"), "-o", "json"].map(str::to_owned);
    let doctor = Process::program(&program.display().to_string(), &arguments);
    let doctor = if is_root { doctor } else { doctor.with_nobodys_rights() };
    doctor.spawn(Some(stage.asked_from()))
}

/// What it says and how surely, and its steps.
fn hear(mut doctor: Process) -> Result<((String, String), Vec<String>)> {
    let (said, _) = doctor.finish()?;
    let report: Value = said
        .iter()
        .find_map(|line| serde_json::from_str(line).ok())
        .with_context(|| format!("doctor told no JSON: {}", said.join("\n")))?;
    let word = |name: &str| report["verdict"][name].as_str().unwrap_or("none").to_owned();
    let steps = report["steps"].as_array().into_iter().flatten();
    let told = |step: &Value| format!("{} {}: {}", step["name"], step["state"], step["text"]);
    Ok(((word("code"), word("confidence")), steps.map(told).collect()))
}
