//! What a process wrote to the systemd journal.

use std::time::Duration;

use super::command::{output, program};

/// A journal is answered within this time or not at all.
const PATIENCE: Duration = Duration::from_secs(2);

/// An answer is no longer: fifty lines, of which few are long.
const LIMIT: usize = 1 << 20;

/// The last lines that a process of this boot wrote since a moment of wall time.
pub(super) fn lines_of(pid: u32, since_seconds: i64) -> Vec<String> {
    let Some(mut command) = program("journalctl") else { return Vec::new() };
    command.args(["-b", "-q", "--no-pager", "-o", "cat", "-n", "50"]);
    command.arg(format!("--since=@{since_seconds}")).arg(format!("_PID={pid}"));
    let text = output(command, PATIENCE, LIMIT).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}
