//! `redis-trace check`: what this kernel, these privileges and these flags let us see, hook by hook.

use std::io::{self, Write as _};

use redis_trace_common::hook::{Kind, Role, Tier};
use serde::Serialize;

use super::live::hooks_report;
use super::output;
use super::watch::options;
use crate::cli::{CheckArgs, Format};
use crate::failure::{Exit, Failure};
use crate::kernel::{self, Fault, HookState, State};
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
    blocked: Option<kernel::Error>,
}

impl Checked {
    /// Attaches what can be attached and takes it off again; where nothing can be, looks at what the kernel has.
    fn new(args: &CheckArgs) -> Self {
        match kernel::attach(&options(&args.observation)) {
            Ok(probes) => Self { hooks: probes.hooks().to_vec(), blocked: None },
            Err(error) => Self { hooks: kernel::survey(), blocked: Some(error) },
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
        let mut text = format!("redis-trace {} on kernel {}\n\n", env!("CARGO_PKG_VERSION"), kernel_release());
        for role in Role::ALL {
            text.push_str(&role_text(*role, &self.of(*role), color));
        }
        let HooksReport { up, expected, degraded } = hooks_report(&self.hooks);
        text.push_str(&format!("\n{up} of {expected} hooks"));
        if !degraded.is_empty() {
            let codes: Vec<&str> = degraded.iter().map(|code| code.as_str()).collect();
            text.push_str(&format!("; hidden, or told with less: {}", codes.join(" ")));
        }
        text.push('\n');
        if let Some(error) = &self.blocked {
            text.push_str(&format!("\n{error}\n"));
        }
        text
    }

    /// For programs.
    fn report(&self) -> CheckReport<'_> {
        CheckReport {
            schema: "redis-trace.check/1",
            version: env!("CARGO_PKG_VERSION"),
            kernel: kernel_release(),
            hooks: self.hooks.iter().map(HookReport::of).collect(),
            summary: hooks_report(&self.hooks),
            blocked: self.blocked.as_ref().map(BlockedReport::of),
        }
    }
}
