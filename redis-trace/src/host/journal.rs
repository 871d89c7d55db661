//! What a process wrote to the systemd journal.

use std::io::Read;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::command::is_ready;

/// Where journalctl is.
const JOURNALCTL: &str = "/usr/bin/journalctl";

/// A journal is answered within this time or not at all.
const PATIENCE: Duration = Duration::from_secs(2);

/// As much as is read of an answer.
const LIMIT: usize = 64 << 10;

/// The last lines that a process of this boot wrote since a moment of wall time.
pub(super) fn lines_of(pid: u32, since_seconds: i64) -> Vec<String> {
    let mut command = Command::new(JOURNALCTL);
    command.args(["-b", "-q", "--no-pager", "-o", "cat", "-n", "50"]);
    command.arg(format!("--since=@{since_seconds}")).arg(format!("_PID={pid}"));
    let text = output(command).unwrap_or_default();
    String::from_utf8_lossy(&text).lines().map(str::to_owned).collect()
}

/// What a command prints, cut at the limit and at the end of our patience; it is ended then.
fn output(mut command: Command) -> Option<Vec<u8>> {
    let command = command.env_clear().stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().ok()?;
    let mut stdout = child.stdout.take()?;
    let (end, mut text) = (Instant::now() + PATIENCE, Vec::new());
    let mut part = [0; 4096];
    while text.len() < LIMIT && is_ready(&stdout, end) {
        match stdout.read(&mut part) {
            Ok(0) | Err(_) => break,
            Ok(length) => text.extend_from_slice(&part[..length]),
        }
    }
    let _ = child.kill();
    let _ = child.wait();
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_heard_to_its_end_and_an_endless_one_is_cut() {
        let mut echo = Command::new("/bin/echo");
        echo.arg("hello");
        assert_eq!(output(echo), Some(b"hello\n".to_vec()));
        assert!(output(Command::new("/usr/bin/yes")).is_some_and(|text| text.len() < LIMIT + 4096));
        assert_eq!(output(Command::new("/nonexistent")), None);
    }
}
