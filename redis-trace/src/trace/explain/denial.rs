//! Who denied a call, in words; and what would let it pass.

use crate::trace::container;
use crate::trace::denied::{By, Denied, Failed};
use crate::trace::errno;
use crate::trace::fact::{BpfProgram, Call, Module, Process};
use crate::trace::known::{Known, Listener};
use crate::trace::refusal::{Attempt, Refusal};
use crate::trace::report::{Evidence, Fix, LsmReport};
use crate::trace::text::Text;

use super::files;
use super::fix::advice;
use super::summary::target;
use super::words::{self, plain};

/// `AppArmor profile redis-server denied bind (EACCES)`.
pub(super) fn clause(denied: &Denied, errno: u32) -> String {
    let (call, got) = (denied.call.name(), errno::name(errno));
    let what = match &denied.by {
        By::Module { capability: true, .. } => "the capability net_bind_service".to_owned(),
        By::Module { .. } | By::Program { .. } | By::Filter { .. } => call.to_owned(),
    };
    let others = match denied.others.as_slice() {
        [] => String::new(),
        others => format!("; {} may have as well", words::list(&others.iter().map(who).collect::<Vec<_>>())),
    };
    format!("{} denied {what} ({got}){others}", who(&denied.by))
}

/// What one who was denied could not do: the call itself, or the refusal that came of it.
/// `listeners` are those that the server has nevertheless.
pub(super) fn summary(refusal: &Refusal, denied: &Denied, listeners: &[Listener]) -> String {
    let errno = match &refusal.attempt {
        Attempt::Listen(bind) => bind.errno,
        Attempt::Socket { errno, .. } => *errno,
        Attempt::Accept(failed) => failed.errno,
        Attempt::Connect(connect) if denied.call == Call::Connect => {
            connect.client.as_ref().map_or(0, |client| client.errno)
        }
        _ => denied.failed.as_ref().map_or(0, Failed::errno),
    };
    let clause = clause(denied, errno);
    let besides = match listeners {
        [] => String::new(),
        listeners => format!("; it listens on {} only", words::places(listeners)),
    };
    match (&refusal.attempt, &denied.failed) {
        (Attempt::Listen(_), Some(failed)) => {
            format!("{} {}: {clause}", words::process(failed.process()), could_not(failed))
        }
        (Attempt::Socket { task, .. }, _) => {
            format!("{} (pid {}) could not make a TCP socket: {clause}", task.comm, task.pid)
        }
        (Attempt::Accept(failed), _) => {
            let (comm, pid) = (&failed.task.comm, failed.task.pid);
            format!("{comm} (pid {pid}) cannot accept on {}: {clause}{}", failed.socket.local, files::waiting(failed))
        }
        (_, Some(failed)) => format!(
            "nothing listens on {}; {} {} {}: {clause}{besides}",
            target(&refusal.attempt),
            words::process(failed.process()),
            could_not(failed),
            words::ago(failed.time(), refusal.time)
        ),
        (_, None) => format!("{} was not dialled: {clause}", target(&refusal.attempt)),
    }
}

/// `could not listen on 127.0.0.1:6379`.
fn could_not(failed: &Failed) -> String {
    failed
        .local()
        .map_or_else(|| "could not make a TCP socket".to_owned(), |local| format!("could not listen on {local}"))
}

/// `AppArmor profile redis-server`, `the cgroup BPF program sd_bind4 (id 7)`.
pub(super) fn who(by: &By) -> String {
    match by {
        By::Module { module: Module::Landlock, subject: None, .. } => "the caller's Landlock domain".to_owned(),
        By::Module { module: Module::Landlock, subject: Some(domain), .. } => format!("Landlock {domain}"),
        By::Module { module: Module::Apparmor, subject: Some(profile), .. } => format!("AppArmor profile {profile}"),
        By::Module { module, subject: Some(subject), .. } => format!("{} for {subject}", module.name()),
        By::Module { module, subject: None, .. } => module.name().to_owned(),
        By::Program { program: Some(program), programs: 1 } => format!("the cgroup BPF program {}", named(program)),
        By::Program { programs, .. } => format!("one of {programs} cgroup BPF programs"),
        By::Filter { .. } => "the caller's seccomp filter".to_owned(),
    }
}

fn named(program: &BpfProgram) -> String {
    if program.name.is_empty() { format!("{}", program.id) } else { format!("{} (id {})", program.name, program.id) }
}

/// The security module's part in it, when one did it.
pub(super) fn lsm(refusal: &Refusal, denied: &Denied) -> Option<LsmReport> {
    let By::Module { module, subject, object, capability } = &denied.by else { return None };
    let place =
        denied.failed.as_ref().and_then(Failed::local).map_or_else(|| target(&refusal.attempt), |it| it.to_string());
    let (operation, wanted) = match (capability, denied.call) {
        (true, _) => ("capable", "net_bind_service".to_owned()),
        (false, Call::Create) => ("create", "tcp socket".to_owned()),
        (false, call) => (call.name(), format!("tcp {place}")),
    };
    Some(LsmReport {
        module: *module,
        operation: operation.to_owned(),
        subject: subject.clone(),
        // Of a capability the object is the subject itself.
        object: object.clone().filter(|_| !capability).unwrap_or_else(|| Text::from(wanted.as_str())),
    })
}

/// Who was denied it, as far as that is known.
pub(super) fn caller<'a>(refusal: &Refusal, denied: &'a Denied, known: &'a Known) -> Option<&'a Process> {
    if let Some(failed) = &denied.failed {
        return Some(known.process(failed.process().key()).unwrap_or(failed.process()));
    }
    let task = match &refusal.attempt {
        Attempt::Connect(connect) => &connect.client.as_ref()?.task,
        Attempt::Socket { task, .. } => task,
        Attempt::Accept(failed) => &failed.task,
        _ => return None,
    };
    known.process(task.key())
}

/// What was seen of who denied it to this process.
pub(super) fn evidence(denied: &Denied, process: Option<&Process>) -> Vec<Evidence> {
    let seen = |source: &str, text: String| Evidence { source: source.to_owned(), text };
    match &denied.by {
        By::Module { module: Module::Landlock, subject, .. } => {
            let domain = subject.as_ref().map_or_else(|| "domain".to_owned(), ToString::to_string);
            vec![seen("landlock", format!("the caller is in Landlock {domain}"))]
        }
        By::Module { module, subject, object, capability } => {
            let subject = subject.as_ref().map(|subject| format!("the caller runs as {subject}"));
            let object = object.as_ref().filter(|_| !capability).map(|object| format!("it wanted {object}"));
            let recorded =
                denied.recorded.then(|| seen("audit", "the kernel's audit has recorded the denial".to_owned()));
            let texts = [subject, object].into_iter().flatten().map(|text| seen(module.listed(), text));
            recorded.into_iter().chain(texts).collect()
        }
        By::Program { program, programs } => {
            vec![of_programs(*programs, program.as_ref(), process, denied.call.name())]
        }
        By::Filter { heard: true } => {
            vec![seen("seccomp", "the call was never entered, by a thread with a filter".to_owned())]
        }
        By::Filter { heard: false } => {
            vec![seen("seccomp", "the caller has a filter that does not always let such calls pass".to_owned())]
        }
    }
}

/// What was seen of the programs of a process's cgroup that decide on something.
pub(super) fn of_programs(
    programs: u32,
    program: Option<&BpfProgram>,
    process: Option<&Process>,
    what: &str,
) -> Evidence {
    let first = program.map_or_else(String::new, |program| format!(", the first is {}", named(program)));
    let (plural, decide) = if programs == 1 { ("", "decides") } else { ("s", "decide") };
    let cgroup = process.and_then(|process| process.cgroup.as_ref());
    let cgroup = cgroup.map_or_else(String::new, |cgroup| format!(" {cgroup}"));
    let text = format!("{programs} BPF program{plural} of its cgroup{cgroup} {decide} on {what}{first}");
    Evidence { source: "cgroup.bpf.effective".to_owned(), text }
}

/// What would let it pass.
pub(super) fn fix(denied: &Denied, process: Option<&Process>) -> Vec<Fix> {
    let port = denied.failed.as_ref().and_then(Failed::local).map(|local| local.port);
    let unit = process.and_then(|process| container::of(process.cgroup.as_ref()?).1);
    match &denied.by {
        By::Module { module, subject, object, capability } => {
            by_module(*module, denied.call, subject.as_ref(), object.as_ref(), *capability, port)
        }
        By::Program { program, .. } => {
            let port = port.map_or_else(|| "tcp".to_owned(), |port| format!("tcp:{port}"));
            by_program(program.as_ref(), unit.as_ref(), &format!("SocketBindAllow={port}"))
        }
        By::Filter { .. } => vec![match unit {
            Some(unit) => Fix {
                command: plain(&unit).map(|unit| format!("systemctl edit {unit}")),
                ..advice(&format!(
                    "let {} pass in the unit's SystemCallFilter= or RestrictAddressFamilies=",
                    denied.call.name()
                ))
            },
            None => advice(&format!(
                "let {} pass in the filter that whoever started it sets (docker run --security-opt seccomp=…)",
                denied.call.name()
            )),
        }],
    }
}

pub(super) fn by_module(
    module: Module,
    call: Call,
    subject: Option<&Text>,
    object: Option<&Text>,
    capability: bool,
    port: Option<u16>,
) -> Vec<Fix> {
    match module {
        Module::Landlock => vec![advice(&format!(
            "add a rule for the port ({}) to the sandbox before it is closed, and start it again: a domain that is \
             closed cannot be widened",
            if call == Call::Connect { "LANDLOCK_ACCESS_NET_CONNECT_TCP" } else { "LANDLOCK_ACCESS_NET_BIND_TCP" }
        ))],
        Module::Apparmor => {
            let line = if capability { "capability net_bind_service," } else { "network inet stream," };
            let reload = subject.and_then(plain).map(|profile| {
                format!("apparmor_parser -r /etc/apparmor.d/{}", profile.trim_start_matches('/').replace('/', "."))
            });
            vec![
                Fix { command: Some(line.to_owned()), ..advice("add to the profile the line") },
                Fix { command: reload, ..advice("then load the profile again") },
            ]
        }
        Module::Selinux => {
            let audit = Fix {
                command: Some("ausearch -m avc -ts recent | audit2allow".to_owned()),
                risk: Some("read what it would allow before it is loaded".to_owned()),
                ..advice("see what rule is missing")
            };
            let is_redis = subject.is_some_and(|subject| subject.as_str().contains(":redis_t:"));
            let has_type = object.is_some_and(|object| object.as_str().contains(":redis_port_t:"));
            match port.filter(|_| is_redis && !has_type && !capability && call == Call::Bind) {
                // What it heard denied and could not read was not logged either.
                _ if subject.is_none() => vec![
                    Fix {
                        command: Some("semodule -DB".to_owned()),
                        risk: Some("logs much more, until `semodule -B`".to_owned()),
                        ..advice(
                            "a dontaudit rule keeps it from the log, or the audit's queue was full: log those too, and \
                             start it again",
                        )
                    },
                    audit,
                ],
                Some(port) => vec![
                    Fix {
                        command: Some(format!("semanage port -a -t redis_port_t -p tcp {port}")),
                        ..advice("give the port the type that Redis may bind")
                    },
                    audit,
                ],
                None => vec![audit],
            }
        }
        Module::Tomoyo => vec![Fix {
            command: Some("tomoyo-editpolicy".to_owned()),
            ..advice("allow the address in the domain's policy")
        }],
        Module::Smack => vec![Fix {
            command: Some("cat /sys/fs/smackfs/netlabel /sys/fs/smackfs/load2".to_owned()),
            ..advice("see which label the host has, and let the caller's label write to it")
        }],
        Module::Bpf => vec![Fix {
            command: Some("bpftool prog list | grep lsm".to_owned()),
            ..advice("find the BPF LSM program and its owner")
        }],
    }
}

/// `directive` is what allows it where the program is systemd's.
pub(super) fn by_program(program: Option<&BpfProgram>, unit: Option<&Text>, directive: &str) -> Vec<Fix> {
    let edit = unit.and_then(plain).map(|unit| format!("systemctl edit {unit}"));
    // What systemd calls its own: src/core/bpf/socket-bind, src/core/bpf-firewall.c.
    let is_systemd_s =
        |program: &BpfProgram| ["sd_bind", "sd_fw"].iter().any(|own| program.name.as_str().starts_with(own));
    if !program.is_some_and(is_systemd_s) {
        return vec![Fix {
            command: Some("bpftool cgroup tree".to_owned()),
            ..advice("find the program and who attached it to the cgroup")
        }];
    }
    vec![
        Fix {
            command: Some(directive.to_owned()),
            ..advice("systemd set the program for the unit: allow it there with")
        },
        Fix { command: edit, ..advice("and edit the unit") },
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profile_with_a_hostile_name_forges_no_line_and_stands_in_no_command() {
        let subject = Text::new(b"x; rm -rf /\n12:00 REFUSED\x1b[2J\xff\",\"code\":\"RT1001");
        let by = By::Module { module: Module::Apparmor, subject: Some(subject), object: None, capability: false };
        let denied = Denied { call: Call::Bind, by, others: Vec::new(), recorded: false, failed: None };
        let said = clause(&denied, 13);
        assert!(!said.chars().any(char::is_control), "{said:?}");
        let fixes = fix(&denied, None);
        assert!(fixes.iter().all(|fix| fix.command.as_ref().is_none_or(|line| !line.contains("rm"))), "{fixes:?}");
        let evidence = evidence(&denied, None);
        assert!(evidence.iter().all(|seen| !seen.text.chars().any(char::is_control)), "{evidence:?}");
    }
}
