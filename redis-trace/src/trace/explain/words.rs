//! Phrases that several sentences share.

use std::fmt::Write as _;

use crate::trace::fact::{Process, UnixPath};
use crate::trace::flow::Netns;
use crate::trace::known::{Known, Listener, Sent};
use crate::trace::text::Text;

/// `redis-server (pid 991)`.
pub(super) fn process(process: &Process) -> String {
    format!("{} (pid {})", process.comm, process.pid)
}

/// A name that may stand in a command as it is: somebody will paste it into a root shell.
pub(super) fn plain(name: &Text) -> Option<&str> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "._-/@".contains(c);
    Some(name.as_str()).filter(|name| !name.is_empty() && !name.starts_with('-') && name.chars().all(is_plain))
}

/// The same, or `somebody`.
pub(super) fn owner(owner: Option<&Process>) -> String {
    owner.map_or_else(|| "a process that is not known".to_owned(), process)
}

/// `0.4 s`, `12 s`, `3 min`, `5 h`: one figure that a tired reader takes in.
pub(super) fn span(nanoseconds: u64) -> String {
    let seconds = nanoseconds / 1_000_000_000;
    match seconds {
        0..10 => format!("{seconds}.{} s", nanoseconds / 100_000_000 % 10),
        10..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        7200..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    }
}

/// `12 s ago`.
pub(super) fn ago(then: u64, now: u64) -> String {
    format!("{} ago", span(now.saturating_sub(then)))
}

/// `SIGKILL`, or `signal 42`.
pub(super) fn signal(number: u32) -> String {
    let known = match number {
        1 => "SIGHUP",
        2 => "SIGINT",
        3 => "SIGQUIT",
        4 => "SIGILL",
        6 => "SIGABRT",
        7 => "SIGBUS",
        8 => "SIGFPE",
        9 => "SIGKILL",
        10 => "SIGUSR1",
        11 => "SIGSEGV",
        12 => "SIGUSR2",
        13 => "SIGPIPE",
        14 => "SIGALRM",
        15 => "SIGTERM",
        19 => "SIGSTOP",
        20 => "SIGTSTP",
        21 => "SIGTTIN",
        22 => "SIGTTOU",
        24 => "SIGXCPU",
        25 => "SIGXFSZ",
        31 => "SIGSYS",
        _ => return format!("signal {number}"),
    };
    known.to_owned()
}

/// ` sent by bash (pid 12)`, ` raised by the kernel`, or nothing.
pub(super) fn sent_by(sent: Option<&Sent>) -> String {
    match sent {
        Some(sent) if sent.by_kernel => " raised by the kernel".to_owned(),
        Some(sent) => format!(" sent by {} (pid {})", sent.sender.comm, sent.sender.pid),
        None => String::new(),
    }
}

/// `/run/redis.sock`, `@name`.
pub(super) fn unix_path(path: &UnixPath) -> Text {
    match path {
        UnixPath::File(path) => path.clone(),
        UnixPath::Abstract(name) => Text::from_safe(format!("@{name}")),
    }
}

/// `network namespace web (4026532201)`.
pub(super) fn netns(netns: Netns, known: &Known) -> String {
    match known.namespace(netns).and_then(|namespace| namespace.name.as_ref()) {
        Some(name) => format!("network namespace {name} ({})", netns.0),
        None => format!("network namespace {}", netns.0),
    }
}

/// `127.0.0.1:6379 and [::1]:6379`.
pub(super) fn places(listeners: &[Listener]) -> String {
    let mut places: Vec<String> = listeners.iter().map(place).collect();
    places.dedup();
    list(&places)
}

/// `127.0.0.1:6379`, with the interface or V6ONLY when they matter.
pub(super) fn place(listener: &Listener) -> String {
    let mut place = listener.local().to_string();
    if listener.socket.ifindex != 0 {
        let _ = write!(place, " on interface {} only", listener.socket.ifindex);
    }
    if listener.socket.v6only && listener.socket.local.ip.is_unspecified() {
        place.push_str(" (IPV6_V6ONLY)");
    }
    place
}

/// `a`, `a and b`, `a, b and c`.
pub(super) fn list(words: &[String]) -> String {
    match words {
        [] => String::new(),
        [one] => one.clone(),
        [all @ .., last] => format!("{} and {last}", all.join(", ")),
    }
}

/// The kernel's size of a queue, as `ss` shows it.
pub(super) fn backlog(listener: &Listener) -> String {
    listener.backlog.map_or_else(String::new, |backlog| format!(", backlog {backlog}"))
}
