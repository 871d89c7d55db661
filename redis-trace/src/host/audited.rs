//! What the kernel's audit says of a call that a security module denied: in the kernel's own log, or where a daemon takes the
//! records, in its log.

use std::time::{Duration, Instant};

use super::clock;
use super::log::{self, KernelLog};
use crate::trace::fact::{Audited, Call, Module};
use crate::trace::text::Text;

/// A thread of the kernel writes the record, soon after the call: it is waited for so long.
const PATIENCE: Duration = Duration::from_millis(200);

/// A record's time is that of the last tick, and its call ends after it, seconds.
const AROUND: f64 = 0.5;

/// The capability that ports below 1024 need, as either module writes it.
const CAPABILITY: &str = "net_bind_service";

/// What was recorded of a call of this process that ended at this boottime, nanoseconds.
pub(super) fn of(pid: u32, call: Call, time: u64) -> Option<Audited> {
    let ago = Duration::from_nanos(clock::boottime().saturating_sub(time));
    let now = Duration::from_nanos(u64::try_from(clock::wall()).unwrap_or_default());
    let ended = now.saturating_sub(ago).as_secs_f64();
    let found = |log: &str| find(log, pid, call, ended);
    let (mut kernel, until) = (KernelLog::open().ok(), Instant::now() + PATIENCE);
    loop {
        let seen = kernel.as_mut().map(KernelLog::read).as_deref().and_then(found);
        let seen = seen.or_else(|| found(&log::audit().ok()?));
        let left = until.saturating_duration_since(Instant::now());
        if seen.is_some() || left.is_zero() {
            return seen;
        }
        // Whoever writes there, a record that goes to the daemon is there by then too.
        if !kernel.as_ref().is_some_and(|kernel| kernel.waits(left)) {
            return found(&log::audit().ok()?);
        }
    }
}

/// The last record in a log of such a call that was denied around this moment, seconds of the wall clock.
pub(crate) fn find(log: &str, pid: u32, call: Call, ended: f64) -> Option<Audited> {
    let is_then = |line: &&str| moment(line).is_some_and(|then| (then - ended).abs() < AROUND);
    let is_its = |line: &&str| field(line, "pid") == Some(pid.to_string().as_str());
    let mut lines = log.lines().rev().filter(is_then).filter(is_its);
    lines.find_map(|line| by_apparmor(line, call).or_else(|| by_selinux(line, call)))
}

/// `apparmor="DENIED" operation="bind" class="net" profile="redis" pid=7 comm="redis-server" …`
fn by_apparmor(line: &str, call: Call) -> Option<Audited> {
    if field(line, "apparmor") != Some("DENIED") {
        return None;
    }
    let operation = field(line, "operation")?;
    let capability = operation == "capable" && call == Call::Bind && field(line, "capname") == Some(CAPABILITY);
    let is_it = capability || operation == call.name();
    let subject = field(line, "profile").map(|profile| text(line, "profile", profile));
    is_it.then_some(Audited { module: Module::Apparmor, capability, subject, object: None })
}

/// `avc:  denied  { name_bind } for  pid=7 comm="redis-server" src=6380 scontext=… tcontext=… tclass=tcp_socket permissive=0`
fn by_selinux(line: &str, call: Call) -> Option<Audited> {
    let (_, denied) = line.split_once("avc:  denied  { ")?;
    let (wanted, _) = denied.split_once(" }")?;
    if field(line, "permissive") == Some("1") {
        return None;
    }
    let class = field(line, "tclass")?;
    let of_call: &[&str] = match call {
        Call::Create => &["create"],
        Call::Bind => &["bind", "name_bind", "node_bind"],
        Call::Listen => &["listen"],
        Call::Connect => &["connect", "name_connect"],
        Call::Accept => &["accept"],
    };
    let has = |names: &[&str]| wanted.split(' ').any(|permission| names.contains(&permission));
    let capability = class == "capability" && call == Call::Bind && has(&[CAPABILITY]);
    let is_it = capability || (class == "tcp_socket" && has(of_call));
    let context = |name: &str| field(line, name).map(Text::from);
    is_it.then(|| Audited {
        module: Module::Selinux,
        capability,
        subject: context("scontext"),
        object: context("tcontext").filter(|_| !capability),
    })
}

/// When a record was made, seconds: `audit(1732938000.123:45):`.
fn moment(line: &str) -> Option<f64> {
    let (_, stamp) = line.split_once("audit(")?;
    stamp.split_once(':')?.0.parse().ok()
}

/// A field's value, without its quotes.
fn field<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    let mut words = line.split(' ').filter_map(|word| word.split_once('='));
    words.find(|(known, _)| *known == name).map(|(_, value)| value.trim_matches('"'))
}

/// A value that somebody chose: where it could be mistaken for more than a word it stands in hexadecimal, without quotes.
fn text(line: &str, name: &str, value: &str) -> Text {
    if line.contains(&format!("{name}=\"")) {
        return Text::from(value);
    }
    let pair = |pair: &[u8]| std::str::from_utf8(pair).ok().and_then(|pair| u8::from_str_radix(pair, 16).ok());
    let bytes: Option<Vec<u8>> = value.as_bytes().chunks(2).map(pair).collect();
    bytes.map_or_else(|| Text::from(value), |bytes| Text::new(&bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = "\
        5,1,1,-;audit: type=1400 audit(1732938000.120:45): apparmor=\"DENIED\" operation=\"create\" class=\"net\" \
        profile=\"/usr/bin/redis-server\" pid=7 comm=\"redis-server\" family=\"inet\" denied_mask=\"create\"\n\
        5,2,1,-;audit: type=1400 audit(1732938000.130:46): apparmor=\"ALLOWED\" operation=\"bind\" profile=\"x\" pid=7\n\
        5,3,1,-;audit: type=1400 audit(1732938000.140:47): apparmor=\"DENIED\" operation=\"bind\" profile=611B62 pid=8\n\
        5,4,1,-;audit: type=1400 audit(1732938000.150:48): apparmor=\"DENIED\" operation=\"capable\" profile=\"x\" pid=9 \
        comm=\"redis-server\" capability=10 capname=\"net_bind_service\"\n\
        type=AVC msg=audit(1732938000.160:49): avc:  denied  { name_bind } for  pid=10 comm=\"redis-server\" src=6390 \
        scontext=system_u:system_r:redis_t:s0 tcontext=system_u:object_r:unreserved_port_t:s0 tclass=tcp_socket \
        permissive=0\n\
        type=AVC msg=audit(1732938000.170:50): avc:  denied  { name_bind } for  pid=11 tclass=tcp_socket permissive=1\n";

    fn found(pid: u32, call: Call) -> Option<(Module, bool, Option<String>, Option<String>)> {
        let audited = find(LOG, pid, call, 1_732_938_000.2)?;
        let told = |text: Option<Text>| text.map(|text| text.as_str().to_owned());
        Some((audited.module, audited.capability, told(audited.subject), told(audited.object)))
    }

    #[test]
    fn the_record_of_a_call_names_who_denied_it() {
        let profile = Some("/usr/bin/redis-server".to_owned());
        assert_eq!(found(7, Call::Create), Some((Module::Apparmor, false, profile, None)));
        assert_eq!(found(9, Call::Bind), Some((Module::Apparmor, true, Some("x".to_owned()), None)));
        let (subject, object) = ("system_u:system_r:redis_t:s0", "system_u:object_r:unreserved_port_t:s0");
        let told = Some((Module::Selinux, false, Some(subject.to_owned()), Some(object.to_owned())));
        assert_eq!(found(10, Call::Bind), told);
    }

    #[test]
    fn another_call_another_process_another_time_and_what_was_let_pass_are_left_aside() {
        assert_eq!(found(7, Call::Bind), None, "it was allowed, and only written down");
        assert_eq!(found(10, Call::Connect), None);
        assert_eq!(found(70, Call::Create), None);
        assert_eq!(found(11, Call::Bind), None, "it is permissive");
        assert_eq!(find(LOG, 7, Call::Create, 1_732_938_001.0), None);
    }

    #[test]
    fn a_name_in_hexadecimal_is_read_and_made_safe() {
        let (_, _, subject, _) = found(8, Call::Bind).expect("a record");
        assert_eq!(subject.as_deref(), Some("a\\u{1b}b"));
    }
}
