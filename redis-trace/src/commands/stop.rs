//! When a run ends: a signal, a limit, or the command that it watches.

use std::process::ExitStatus;
use std::time::Duration;

use tokio::process::{Child, Command};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{Instant, sleep_until};

use super::telling::Wanted;
use crate::cli::LimitArgs;

/// What ends a run.
pub struct Stop {
    interrupt: Signal,
    terminate: Signal,
    deadline: Option<Instant>,
    enough: Option<u64>,
    command: Option<Child>,
}

impl Stop {
    /// From the limits; the command is started now.
    pub fn new(limits: &LimitArgs, command: Option<&str>) -> anyhow::Result<Self> {
        let command = command.map(start).transpose()?;
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            deadline: limits.duration.map(|after| Instant::now() + after),
            enough: limits.refusals(),
            command,
        })
    }

    /// Waits for the first of them.
    pub async fn wait(&mut self) {
        let deadline = self.deadline.unwrap_or_else(|| Instant::now() + Duration::from_hours(24 * 365));
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            () = sleep_until(deadline) => {}
            ended = ended(self.command.as_mut()) => say(ended),
        }
    }

    /// The limit of refusals is reached.
    pub fn is_enough(&self, seen: u64) -> bool {
        self.enough.is_some_and(|enough| seen >= enough)
    }

    /// A command is watched.
    pub fn is_command(&self) -> bool {
        self.command.is_some()
    }

    /// With a command, only what it and its descendants were refused matters.
    pub fn family(&self) -> Wanted {
        if self.command.is_none() {
            return Box::new(|_, _| true);
        }
        Box::new(|report, known| {
            let tried = report.client_process.as_ref().or(report.server_process.as_ref());
            tried.is_some_and(|process| known.is_family(process.pid))
        })
    }
}

fn start(command: &str) -> anyhow::Result<Child> {
    let child = Command::new("/bin/sh").arg("-c").arg(command).kill_on_drop(true).spawn();
    child.map_err(|why| anyhow::anyhow!("cannot run {command:?}: {why}"))
}

async fn ended(command: Option<&mut Child>) -> Option<ExitStatus> {
    match command {
        Some(child) => child.wait().await.ok(),
        None => std::future::pending().await,
    }
}

fn say(ended: Option<ExitStatus>) {
    if let Some(status) = ended {
        eprintln!("the command ended: {status}");
    }
}
