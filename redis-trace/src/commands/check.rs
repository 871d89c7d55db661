//! `redis-trace check`: what this kernel, these privileges and these flags let us see, hook by hook.

use std::io::{self, Write as _};

use redis_trace_common::hook::{Role, Tier};
use serde::Serialize;

use super::capabilities::{USES, Use};
use super::live::hooks_report;
use super::output;
use super::watch::options;
use crate::cli::{CheckArgs, Format};
use crate::failure::{Exit, Failure};
use crate::kernel::{self, HookState, State};
use crate::trace::cause::Code;
use crate::trace::report::HooksReport;

/// Runs it.
pub fn run(args: &CheckArgs) -> anyhow::Result<Exit> {
    let checked = Checked::new(args);
    match args.output {
        Format::Json => writeln!(io::stdout(), "{}", serde_json::to_string(&checked.report())?)?,
        Format::Text => io::stdout().write_all(checked.text(output::color(args.color)).as_bytes())?,
    }
    Ok(if checked.is_whole() { Exit::Fine } else { Exit::Found })
}

/// What was found.
struct Checked {
    hooks: Vec<HookState>,
    /// Why nothing can be attached at all.
    blocked: Option<Failure>,
}

impl Checked {
    /// Attaches what can be attached and takes it off again; where nothing can be, looks at what the kernel has.
    fn new(args: &CheckArgs) -> Self {
        match kernel::attach(&options(&args.observation)) {
            Ok(probes) => Self { hooks: probes.hooks().to_vec(), blocked: None },
            Err(error) => Self { hooks: kernel::survey(), blocked: Some(error.into()) },
        }
    }

    fn is_whole(&self) -> bool {
        self.blocked.is_none() && hooks_report(&self.hooks).degraded.is_empty()
    }

    fn of(&self, role: Role) -> Vec<&HookState> {
        self.hooks.iter().filter(|state| state.hook.role == role).collect()
    }

    /// For people.
    fn text(&self, color: bool) -> String {
        let HooksReport { up, expected, degraded } = hooks_report(&self.hooks);
        let head = format!("redis-trace {} on kernel {}\n\n", env!("CARGO_PKG_VERSION"), kernel_release());
        let roles: String = Role::ALL.iter().map(|role| role_text(*role, &self.of(*role), color)).collect();
        let hidden = match &degraded[..] {
            [] => String::new(),
            codes => format!("; hidden, or told with less confidence: {}", list(codes)),
        };
        let blocked = self.blocked.as_ref().map_or_else(String::new, |failure| format!("\n{failure}\n"));
        let uses: String = USES.iter().map(|it| capability_text(it, color)).collect();
        let more = match (self.is_whole(), &self.remedies()[..]) {
            (true, []) => String::new(),
            (false, []) => "\nno command of this host shows more: its kernel has or lets attach no more\n".to_owned(),
            // What blocks everything is told with its remedies.
            _ if self.blocked.is_some() => String::new(),
            (_, remedies) => format!("\nto see more: {}\n", remedies.join(", or ")),
        };
        format!("{head}{roles}\n{up} of {expected} hooks{hidden}\n\n{uses}{more}{blocked}")
    }

    /// What would make more visible.
    fn remedies(&self) -> Vec<String> {
        match &self.blocked {
            Some(failure) => failure.tries.clone(),
            None if USES.iter().all(Use::is_had) => Vec::new(),
            None => vec!["sudo redis-trace check".to_owned()],
        }
    }

    /// For programs.
    fn report(&self) -> CheckReport<'_> {
        CheckReport {
            schema: "redis-trace.check/1",
            version: env!("CARGO_PKG_VERSION"),
            kernel: kernel_release(),
            hooks: self.hooks.iter().map(HookReport::of).collect(),
            summary: hooks_report(&self.hooks),
            capabilities: USES.iter().map(|uses| CapabilityReport { uses: *uses, had: uses.is_had() }).collect(),
            blocked: self.blocked.as_ref().map(|failure| &failure.what[..]),
            remedies: self.remedies(),
        }
    }
}

/// The check as one JSON object.
#[derive(Serialize)]
struct CheckReport<'a> {
    schema: &'static str,
    version: &'static str,
    kernel: String,
    hooks: Vec<HookReport<'a>>,
    summary: HooksReport,
    capabilities: Vec<CapabilityReport>,
    /// Why nothing can be attached at all.
    blocked: Option<&'a str>,
    /// What would make more visible.
    remedies: Vec<String>,
}

/// A capability in it.
#[derive(Serialize)]
struct CapabilityReport {
    #[serde(flatten)]
    uses: Use,
    had: bool,
}

/// A hook in it.
#[derive(Serialize)]
struct HookReport<'a> {
    name: &'static str,
    tier: u8,
    state: &'static str,
    why: Option<&'a str>,
    essential: bool,
    causes: &'static [&'static str],
}

impl<'a> HookReport<'a> {
    fn of(hook: &'a HookState) -> Self {
        let (state, why) = match &hook.state {
            State::Up => ("up", None),
            State::Spare => ("spare", None),
            State::Down(why) => ("down", Some(&why[..])),
        };
        let (name, essential, causes) = (hook.name(), hook.essential(), hook.causes());
        Self { name, tier: number(hook.tier()), state, why, essential, causes }
    }
}

/// What is seen of one thing, by which hooks; and what stands in the way of the others.
fn role_text(role: Role, hooks: &[&HookState], color: bool) -> String {
    let hooks: Vec<&HookState> = hooks.iter().copied().filter(|hook| !hook.is_idle()).collect();
    if hooks.is_empty() {
        let why = match role {
            Role::Rules => "no module that rejects is loaded",
            Role::Words => "this kernel keeps it where it is read later",
            _ => "nobody who could is at work",
        };
        return format!("– {:<44} {why}\n", tells(role));
    }
    let hooks = hooks.as_slice();
    let up: Vec<&&HookState> = hooks.iter().filter(|hook| hook.state == State::Up).collect();
    let tier = up.first().map(|hook| hook.tier());
    let is_whole = tier.is_some_and(|tier| hooks.iter().filter(|hook| hook.tier() == tier).count() == up.len());
    let (mark, paint) = match (is_whole, up.is_empty()) {
        (true, _) => ("✓", "32"),
        (false, true) => ("✗", "1;31"),
        (false, false) => ("~", "33"),
    };
    let mark = if color { format!("\x1b[{paint}m{mark}\x1b[0m") } else { mark.to_owned() };
    let names: Vec<&str> = up.iter().map(|hook| hook.name()).collect();
    let by = tier.map_or_else(String::new, |tier| format!("{}  (tier {})", names.join(" "), number(tier)));
    let codes = role.causes().join(" ");
    let hidden = match role {
        _ if is_whole || codes.is_empty() => String::new(),
        Role::Queues => format!("    for {codes} the kernel's counters and socket dumps stand in, without clients\n"),
        _ => format!("    hides {codes}\n"),
    };
    let headline = format!("{mark} {:<44} {by}", tells(role));
    format!("{}\n{}{hidden}", headline.trim_end(), obstacles(hooks))
}

/// A capability, and what it hides when it is not there.
fn capability_text(uses: &Use, color: bool) -> String {
    let line = format!("{} {:<20} {}\n", mark(uses.is_had(), color), uses.name, uses.shows);
    let hides = if uses.is_had() || uses.causes.is_empty() {
        String::new()
    } else {
        format!("    hides, or tells with less: {}\n", list(uses.causes))
    };
    line + &hides
}

/// Good or bad.
fn mark(good: bool, color: bool) -> String {
    let (mark, paint) = if good { ("✓", "32") } else { ("✗", "1;31") };
    if color { format!("\x1b[{paint}m{mark}\x1b[0m") } else { mark.to_owned() }
}

/// Why hooks are not attached, those with the same reason in one line.
fn obstacles(hooks: &[&HookState]) -> String {
    let mut reasons: Vec<(&str, Vec<&str>)> = Vec::new();
    for hook in hooks {
        let State::Down(why) = &hook.state else { continue };
        match reasons.iter_mut().find(|(other, _)| other == why) {
            Some((_, names)) => names.push(hook.name()),
            None => reasons.push((why, vec![hook.name()])),
        }
    }
    let line = |(why, names): &(&str, Vec<&str>)| format!("    not {}: {why}\n", names.join(", "));
    reasons.iter().map(line).collect()
}

/// What hooks of this role tell.
fn tells(role: Role) -> &'static str {
    match role {
        Role::Resets => "refused connections, the server's end",
        Role::States => "refused connections, the client's; listeners",
        Role::Drops => "first packets that the kernel drops",
        Role::Rules => "the very rule that rejects",
        Role::Binds => "bind that failed",
        Role::Listens => "listen that failed",
        Role::Accepts => "servers without files for connections",
        Role::Connects => "what could not be dialled at once",
        Role::Sockets => "sockets that could not be made",
        Role::Rings => "the same through io_uring",
        Role::Modules => "what each security module denies",
        Role::Filters => "what seccomp filters keep out",
        Role::Selinux => "what SELinux denies",
        Role::Capabilities => "capabilities that were missing",
        Role::Queues => "connections that find a queue full",
        Role::Retransmits => "dials without an answer",
        Role::IcmpErrors => "ICMP errors, and from whom",
        Role::Words => "what is said on a connection",
        Role::Distances => "how far answers have travelled",
        Role::Execs => "servers that are started",
        Role::Forks => "daemons that servers become",
        Role::Exits => "how servers end",
        Role::Signals => "who kills them",
        Role::OomVictims => "whom the OOM killer chooses",
    }
}

fn number(tier: Tier) -> u8 {
    match tier {
        Tier::T1 => 1,
        Tier::T2 => 2,
    }
}

fn list(codes: &[Code]) -> String {
    codes.iter().map(|code| code.as_str()).collect::<Vec<_>>().join(" ")
}

fn kernel_release() -> String {
    rustix::system::uname().release().to_string_lossy().into_owned()
}
