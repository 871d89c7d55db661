//! What another program prints, within a limit of time and of size.

use std::io::Read;
use std::os::fd::AsFd;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};

/// Where programs of the system are.
const DIRECTORIES: [&str; 3] = ["/usr/sbin", "/sbin", "/usr/bin"];

/// A program of the system by its absolute path, when it is there.
pub(super) fn program(name: &str) -> Option<Command> {
    let mut paths = DIRECTORIES.iter().map(|directory| Path::new(directory).join(name));
    paths.find(|path| path.exists()).map(Command::new)
}

/// What a command prints, when it ends well within its limits; it runs without an environment, where the calling thread is.
pub(super) fn output(mut command: Command, patience: Duration, limit: usize) -> Result<String, String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let command = command.env_clear().current_dir("/").stdin(Stdio::null());
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| format!("{name} could not be started: {error}."))?;
    let running = Running::note(&child);
    let heard = listen(&mut child, Instant::now() + patience, limit);
    drop(running);
    // A program that said all it had to say has ended, and is only buried here.
    if heard.is_err() {
        let _ = child.kill();
    }
    let status = child.wait().map_err(|error| format!("{name} was lost: {error}."))?;
    let text = heard.map_err(|why| format!("{name} {why}."))?;
    if !status.success() {
        return Err(format!("{name} failed: {status}."));
    }
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// The programs that are being heard.
static RUNNING: Mutex<Vec<Pid>> = Mutex::new(Vec::new());

/// One of them.
struct Running(Pid);

impl Running {
    fn note(child: &Child) -> Self {
        let pid = Pid::from_child(child);
        RUNNING.lock().unwrap_or_else(PoisonError::into_inner).push(pid);
        Self(pid)
    }
}

impl Drop for Running {
    /// Before the child is buried: its id is nobody else's yet.
    fn drop(&mut self) {
        RUNNING.lock().unwrap_or_else(PoisonError::into_inner).retain(|pid| *pid != self.0);
    }
}

/// Ends the programs that are still being heard: whoever ends does not leave a hanging nft behind.
pub fn end_programs() {
    for pid in RUNNING.lock().unwrap_or_else(PoisonError::into_inner).iter() {
        // One that has ended meanwhile is not buried while it is on the list.
        let _ = kill_process(*pid, Signal::KILL);
    }
}

/// All that a child prints until it ends.
fn listen(child: &mut Child, end: Instant, limit: usize) -> Result<Vec<u8>, String> {
    let mut text = Vec::new();
    let late = || "took too long and was ended".to_owned();
    if let Some(mut stdout) = child.stdout.take() {
        let mut part = vec![0; 64 << 10];
        loop {
            if !is_ready(&stdout, end) {
                return Err(late());
            }
            match stdout.read(&mut part) {
                Ok(0) => break,
                Ok(length) => text.extend_from_slice(&part[..length]),
                Err(error) => return Err(format!("could not be heard: {error}")),
            }
            if text.len() > limit {
                return Err(format!("printed more than {} MiB and was ended", limit >> 20));
            }
        }
    }
    // One that closes its output may still live.
    let pid = Pid::from_child(child);
    let ended = pidfd_open(pid, PidfdFlags::empty()).map_err(|error| format!("could not be waited for: {error}"))?;
    if is_ready(&ended, end) { Ok(text) } else { Err(late()) }
}

/// Whether there is something to read, or the end of it, before this moment.
pub(super) fn is_ready(file: &impl AsFd, end: Instant) -> bool {
    let Ok(left) = Timespec::try_from(end.saturating_duration_since(Instant::now())) else { return false };
    poll(&mut [PollFd::new(file, PollFlags::IN)], Some(&left)).is_ok_and(|ready| ready > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A shell's script.
    fn shell(script: &str) -> Command {
        let mut shell = Command::new("/bin/sh");
        shell.args(["-c", script]);
        shell
    }

    /// Time enough for any of these.
    const LONG: Duration = Duration::from_mins(1);

    #[test]
    fn a_command_is_heard_to_its_end_without_our_environment() {
        assert_eq!(output(shell("echo a; echo b; echo $HOME"), LONG, 100), Ok("a\nb\n\n".to_owned()));
    }

    #[test]
    fn an_endless_one_is_cut_by_its_size() {
        let error = output(Command::new("/usr/bin/yes"), LONG, 1 << 20).expect_err("it is endless");
        assert_eq!(error, "/usr/bin/yes printed more than 1 MiB and was ended.");
    }

    #[test]
    fn a_silent_one_is_cut_by_its_time_even_when_it_closed_its_output() {
        for script in ["exec cat < /dev/zero > /dev/null", "exec cat < /dev/zero >&- 2>&- > /dev/null"] {
            let error = output(shell(script), Duration::from_millis(50), 100).expect_err("it is endless");
            assert_eq!(error, "/bin/sh took too long and was ended.");
        }
    }

    #[test]
    fn one_that_fails_or_is_not_there_is_a_sentence() {
        assert_eq!(output(shell("exit 3"), LONG, 100), Err("/bin/sh failed: exit status: 3.".to_owned()));
        assert!(output(Command::new("/nonexistent"), LONG, 100).is_err_and(|error| error.ends_with('.')));
        assert!(program("no-such-program").is_none() && program("nft").is_some());
    }
}
