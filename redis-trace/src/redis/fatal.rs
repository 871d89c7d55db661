//! What a server says before it gives up: its log lines, and which of them name the fault.

/// What a server said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Words {
    /// Its words: the fault, and the line before it when that says more.
    pub line: String,
    /// Number and text of the configuration line that it names; the file it does not name.
    pub config: Option<(u32, String)>,
}

/// One line of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine<'a> {
    /// Who wrote it, by the process id it knows of itself.
    pub pid: Option<u32>,
    /// What it wrote.
    pub message: &'a str,
}

/// Beginnings of messages after which a server ends.
const FATAL: &[&str] = &[
    "Failed listening on",
    "Failed opening Unix socket",
    "Opening Unix socket:",
    "Configured to not listen anywhere",
    "Fatal error",
    "Fatal:",
    "Can't handle RDB format version",
    "Can't chdir to",
    "Can't open the log file",
    "Can't open or create append-only dir",
    "Can't load module from",
    "Critical error while loading ACLs",
    "Failed to configure TLS",
    "Failed to configure LOCALE",
    "Unexpected end of file reading the append only file",
    "Bad file format reading the append only file",
    "Unrecoverable error reading the append only file",
    "Unable to obtain the AOF file",
    "Could not create server TCP",
    "Sorry, the cluster configuration file",
    "Received shutdown signal during loading",
    "Internal error in RDB reading",
    "Short read or OOM loading DB",
    "Terminating server after rdb file reading failure",
    "=== REDIS BUG REPORT START",
    "=== VALKEY BUG REPORT START",
    "systemd supervision requested or auto-detected, but",
];

/// Parts of messages after which a server ends.
const FATAL_PARTS: &[&str] = &[
    "startup because of ACL errors",
    "at the same setting an ACL file path is invalid",
    "port number too high",
    "is not enough for the server to start",
    "crashed by signal",
    "aborting",
    "Aborting",
    "exiting",
    "Exiting",
];

/// Beginnings of messages that say more than the fatal one after them.
const DETAIL: &[&str] = &[
    "Warning: Could not create server TCP",
    "Warning: Could not create server",
    "Could not create server TCP",
    "Can't handle RDB format version",
    "Wrong signature trying to load DB",
    "Failed to load",
    "Failed to configure",
    "No tls-",
    "Either tls-",
    "Invalid tls-",
    "Error loading ACLs",
    "Module ",
    "Error opening",
    "Internal error in RDB reading",
];

/// So many lines before the fatal one may explain it.
const DETAIL_DISTANCE: usize = 6;

/// A line as `PID:ROLE DD Mon YYYY HH:MM:SS.mmm LEVEL message`, as logfmt, or just a message.
pub fn log_line(line: &str) -> LogLine<'_> {
    classic(line).or_else(|| logfmt(line)).unwrap_or(LogLine { pid: None, message: line.trim() })
}

/// `4123:M 23 Nov 2026 12:03:41.208 # Failed listening on port 6379 (tcp), aborting.`
fn classic(line: &str) -> Option<LogLine<'_>> {
    let (pid, rest) = line.split_once(':')?;
    let pid = pid.parse().ok()?;
    // Role, then a time of one to four words, then the level.
    let (role, rest) = rest.split_once(' ')?;
    let at = ["# ", "* ", "- ", ". "].iter().filter_map(|level| rest.find(&format!(" {level}"))).min()?;
    (role.len() == 1 && at <= 40).then(|| LogLine { pid: Some(pid), message: rest[at + 3..].trim() })
}

/// `pid=4123 role=primary timestamp="…" level=warning message="…"`, in Valkey since 8.1.
fn logfmt(line: &str) -> Option<LogLine<'_>> {
    let field = |name: &str| Some(line.split_once(&format!("{name}="))?.1);
    let pid = field("pid")?.split(' ').next()?.parse().ok()?;
    Some(LogLine { pid: Some(pid), message: field("message")?.trim().trim_matches('"') })
}

/// The lines that one run of this process wrote: those with its id, from its last start on.
pub fn of_process(log: &str, pid: u32) -> Vec<&str> {
    let own: Vec<&str> =
        log.lines().map(log_line).filter(|line| line.pid == Some(pid)).map(|line| line.message).collect();
    let start = own.iter().rposition(|message| message.contains(" is starting oO0OoO0OoO0Oo")).unwrap_or_default();
    own[start..].to_vec()
}

/// The fault among these messages: the last fatal one, or a block about the configuration that follows it.
pub fn fault(messages: &[&str]) -> Option<Words> {
    let fatal = messages.iter().rposition(|message| is_fatal(message));
    let block = messages.iter().rposition(|message| message.contains("FATAL CONFIG FILE ERROR"));
    match (fatal, block) {
        (fatal, Some(at)) if fatal <= Some(at) => config_error(&messages[at + 1..]),
        (Some(at), _) => Some(Words { line: explained(messages, at), config: None }),
        (None, _) => None,
    }
}

/// Whether a server ends after this.
fn is_fatal(message: &str) -> bool {
    FATAL.iter().any(|start| message.starts_with(start)) || FATAL_PARTS.iter().any(|part| message.contains(part))
}

/// The fatal message, after the one that explains it.
fn explained(messages: &[&str], at: usize) -> String {
    let before = messages[at.saturating_sub(DETAIL_DISTANCE)..at].iter().rev();
    let detail = before.into_iter().find(|message| DETAIL.iter().any(|start| message.starts_with(start)));
    match detail {
        Some(detail) => format!("{detail}; {}", messages[at]),
        None => messages[at].to_owned(),
    }
}

/// `Reading the configuration file, at line 2`, `>>> 'bogus yes'`, and the reason; or the reason alone.
fn config_error(block: &[&str]) -> Option<Words> {
    let said: Vec<&str> = block.iter().map(|line| line.trim()).filter(|line| !line.is_empty()).take(3).collect();
    let number = said.first().and_then(|line| line.rsplit_once("at line ")).and_then(|(_, number)| number.parse().ok());
    let text = said.get(1).and_then(|line| line.strip_prefix(">>> '")).and_then(|line| line.strip_suffix('\''));
    match (number, text, said.as_slice()) {
        (Some(number), Some(text), [_, _, reason]) => {
            Some(Words { line: (*reason).to_owned(), config: Some((number, text.to_owned())) })
        }
        (_, _, [reason, ..]) => Some(Words { line: (*reason).to_owned(), config: None }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The fault that a process's log names.
    fn said(log: &str) -> Option<String> {
        fault(&of_process(log, 7)).map(|words| words.line)
    }

    #[test]
    fn the_line_that_ended_a_server_is_found_with_the_one_that_explains_it() {
        let log = "7:C 23 Nov 2026 12:03:41.208 # oO0OoO0OoO0Oo Redis is starting oO0OoO0OoO0Oo\n\
                   7:M 23 Nov 2026 12:03:41.209 # Warning: Could not create server TCP listening socket 127.0.0.1:7901: bind: Address already in use\n\
                   7:M 23 Nov 2026 12:03:41.209 # Failed listening on port 7901 (TCP), aborting.\n";
        assert_eq!(
            said(log).as_deref(),
            Some(
                "Warning: Could not create server TCP listening socket 127.0.0.1:7901: bind: Address already in use; \
                 Failed listening on port 7901 (TCP), aborting."
            )
        );
    }

    #[test]
    fn every_fault_of_the_catalogue_is_known() {
        for message in [
            "Configured to not listen anywhere, exiting.",
            "Failed opening Unix socket: bind: No such file or directory",
            "Fatal error, can't open config file '/x': No such file or directory",
            "Fatal error loading the DB: Invalid argument. Exiting.",
            "Can't handle RDB format version 12",
            "Can't chdir to '/x': No such file or directory",
            "Aborting Redis startup because of ACL errors: /x:1: bad rule.",
            "Configuring Redis with users defined in redis.conf and at the same setting an ACL file path is invalid. This is wrong",
            "Critical error while loading ACLs. Exiting.",
            "Failed to configure TLS. Check logs for more info.",
            "Can't load module from /nope.so: server aborting",
            "Failed to configure LOCALE for invalid locale name.",
            "Unexpected end of file reading the append only file x. You can: 1) Make a backup",
            "Redis port number too high. Cluster communication port is 10,000 port numbers higher",
            "Your current 'ulimit -n' of 32 is not enough for the server to start. Please increase",
            "Fatal: Can't initialize Background Jobs.",
            "Redis 7.0.15 crashed by signal: 11, si_code: 0",
            "Received shutdown signal during loading, exiting now.",
        ] {
            let log = format!("7:M 23 Nov 2026 12:03:41.209 # {message}\n");
            assert_eq!(said(&log).as_deref(), Some(message));
        }
        assert_eq!(said("7:M 23 Nov 2026 12:03:41.209 * Ready to accept connections\n"), None);
    }

    #[test]
    fn another_process_and_an_earlier_run_are_not_heard() {
        let log = "8:M 23 Nov 2026 12:03:41.209 # Failed listening on port 1 (TCP), aborting.\n\
                   7:M 22 Nov 2026 12:03:41.209 # Fatal error loading the DB: Invalid argument. Exiting.\n\
                   7:C 23 Nov 2026 12:03:41.208 # oO0OoO0OoO0Oo Redis is starting oO0OoO0OoO0Oo\n\
                   7:M 23 Nov 2026 12:03:41.209 * Server initialized\n";
        assert_eq!(said(log), None);
    }

    #[test]
    fn logfmt_is_read_too() {
        let log = "pid=7 role=primary timestamp=\"23 Nov 2026\" level=warning message=\"Failed listening on port 1 (tcp), aborting.\"";
        assert_eq!(said(log).as_deref(), Some("Failed listening on port 1 (tcp), aborting."));
    }

    #[test]
    fn a_configuration_error_names_its_line_and_reason() {
        let block = "*** FATAL CONFIG FILE ERROR (Redis 7.0.15) ***\nReading the configuration file, at line 2\n\
                     >>> 'bogus yes'\nBad directive or wrong number of arguments\n";
        let words = fault(&block.lines().collect::<Vec<_>>()).expect("a fault");
        assert_eq!(words.line, "Bad directive or wrong number of arguments");
        assert_eq!(words.config, Some((2, "bogus yes".to_owned())));
        let words = fault(&[
            "*** FATAL CONFIG FILE ERROR (Redis 7.0.15) ***",
            "replicaof directive not allowed in cluster mode",
        ]);
        assert_eq!(words.map(|words| words.config), Some(None));
    }

    proptest! {
        #[test]
        fn any_log_can_be_read(log: String, pid: u32) {
            let _ = fault(&of_process(&log, pid));
            let _ = fault(&log.lines().collect::<Vec<_>>());
        }

        #[test]
        fn any_line_with_a_pid_can_be_read(rest in ":[MSC ].{0,20} [#*] ?.{0,10}") {
            let _ = log_line(&format!("7{rest}"));
        }
    }
}
