//! Words about an accept that failed, for want of a file above all.

use crate::trace::errno;
use crate::trace::fact::AcceptFailed;
use crate::trace::files::{ENFILE, FilesLimit, NoFile};
use crate::trace::known::is_redis_like;
use crate::trace::report::{Evidence, Fix};

use super::words;

/// The why, in one sentence.
pub(super) fn summary(no_file: &NoFile) -> String {
    let failed = &no_file.failed;
    let by = no_file.limited_by().map_or_else(String::new, |by| format!(", set by {}", by.name()));
    let why = match (failed.errno, no_file.numbers()) {
        (ENFILE, (Some(limit), _)) => format!("this host may open no more than {limit} files (ENFILE{by})"),
        (ENFILE, (None, _)) => "this host may open no more files (ENFILE)".to_owned(),
        (_, (Some(limit), _)) => format!("it may open no more than {limit} files (EMFILE{by})"),
        (_, (None, _)) => "it may open no more files (EMFILE)".to_owned(),
    };
    let (process, local) = (words::process(&no_file.process), failed.socket.local);
    format!("{process} cannot accept on {local}: {why}{}", waiting(failed))
}

/// Who waits meanwhile.
pub(super) fn waiting(failed: &AcceptFailed) -> String {
    match failed.queued {
        0 => String::new(),
        1 => "; 1 connection waits, connected and not served".to_owned(),
        many => format!("; {many} connections wait, connected and not served"),
    }
}

/// The accept itself.
pub(super) fn of_accept(failed: &AcceptFailed) -> Evidence {
    let AcceptFailed { socket, errno, queued, backlog, .. } = failed;
    let text =
        format!("accept on {} got {}: {queued} in its queue, limit {backlog}", socket.local, errno::name(*errno));
    super::evidence::seen("accept4", text)
}

/// How the files of the process, and of the host, stood.
pub(super) fn evidence(no_file: &NoFile) -> Vec<Evidence> {
    let process = words::process(&no_file.process);
    let source = if no_file.failed.errno == ENFILE { "/proc/sys/fs/file-nr" } else { "/proc/PID/limits" };
    let whose = if no_file.failed.errno == ENFILE { "this host".to_owned() } else { process };
    let (Some(limit), Some(open)) = no_file.numbers() else { return Vec::new() };
    let hard = no_file.failed.hard.filter(|hard| no_file.failed.errno != ENFILE && *hard > limit);
    let hard = hard.map_or_else(String::new, |hard| format!(", which it may raise to {hard} itself"));
    vec![super::evidence::seen(source, format!("{whose} has {open} files open, limit {limit}{hard}"))]
}

/// What gives it files again; then what keeps it from running out.
pub(super) fn fix(no_file: &NoFile) -> Vec<Fix> {
    let command = |text: &str, command: String| Fix { command: Some(command), ..super::fix::advice(text) };
    let more = no_file.numbers().0.unwrap_or(1024).saturating_mul(16).max(10_240);
    let by = no_file.limited_by();
    if by == Some(FilesLimit::Host) {
        return vec![
            command("let the host open more files", format!("sysctl -w fs.file-max={more}")),
            super::fix::advice("find out who has so many open: `ls /proc/PID/fd | wc -l`"),
        ];
    }
    let now = command("at once", format!("prlimit --pid {} --nofile={more}", no_file.process.pid));
    let for_good = match by {
        Some(FilesLimit::Unit(unit)) => {
            command("for good, with LimitNOFILE= in its [Service]", format!("systemctl edit {unit}"))
        }
        Some(FilesLimit::Maxclients(clients)) => super::fix::advice(&format!(
            "files that are no clients' took more than the 32 that maxclients {clients} leaves: raise maxclients"
        )),
        _ if no_file.is_in_container() => super::fix::advice("for good, with --ulimit nofile= of its container"),
        _ if is_redis_like(&no_file.process) => {
            super::fix::advice("for good, with `ulimit -n` of maxclients and 32 more before it is started")
        }
        _ => super::fix::advice("for good, with `ulimit -n` before it is started; and look whether it leaks files"),
    };
    vec![now, for_good]
}
