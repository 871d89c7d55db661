//! Every way in for what somebody else wrote, one function each: what the fuzz targets and the property tests throw bytes at.
//! None may panic, hang or take memory without bound, whatever the bytes; what comes out of any of them is a [`Text`] before
//! it is told.

use jiff::Timestamp;
use redis_trace_common::record::Record;

use crate::commands::doctor::tls::heard;
use crate::commands::exporter::http;
use crate::firewall::{Backend, Hook, Packet, Ruleset, Wanted, is_of_nft, parse_nft, parse_save};
use crate::host::{audited, oom, server, units};
use crate::kernel;
use crate::redis::audit::effective::{Effective, Kind};
use crate::redis::audit::server::Server as Version;
use crate::redis::config::{self, CommandLine, Directive, Settings};
use crate::redis::info::Info;
use crate::redis::target::Target;
use crate::redis::{audit, directives, fatal, reply, secret};
use crate::sink::metrics::{Metrics, Server, Standing};
use crate::trace::cause::Code;
use crate::trace::container;
use crate::trace::decode::{Names, decode};
use crate::trace::fact::Call;
use crate::trace::filter::{Address, Choice, Name, Pattern, PortRange};
use crate::trace::recording::Reader;
use crate::trace::remembered::Bounds;
use crate::trace::text::Text;
use crate::trace::tracer::Tracer;

/// Takes any bytes.
pub type Way = fn(&[u8]);

/// The ways in, by name: each has a fuzz target of that name in `fuzz/`.
pub const WAYS: &[(&str, Way)] = &[
    ("record", record),
    ("recording", recording),
    ("btf", btf),
    ("redis_conf", redis_conf),
    ("server_log", server_log),
    ("resp", resp),
    ("info", info),
    ("scrape", scrape),
    ("nft", nft),
    ("iptables_save", iptables_save),
    ("cgroup", cgroup),
    ("command_line", command_line),
    ("filter", filter),
    ("tls", tls),
    ("host_log", host_log),
    ("systemd", systemd),
];

/// What a probe sent.
pub fn record(bytes: &[u8]) {
    if let Ok(record) = Record::decode(bytes) {
        let fact = decode(&record, &Names::default());
        Tracer::new(Bounds { number: 16, age: u64::MAX }).take(&fact);
    }
}

/// A recording that somebody sent us.
pub fn recording(bytes: &[u8]) {
    if let Ok((_, facts)) = Reader::new(bytes) {
        let mut tracer = Tracer::new(Bounds { number: 16, age: u64::MAX });
        for fact in facts.flatten() {
            tracer.take(&fact);
        }
    }
}

/// The kernel's types; in a machine of somebody else's making, whatever stands in that place.
pub fn btf(bytes: &[u8]) {
    let _ = kernel::described(bytes.to_vec());
}

/// A server's configuration file.
pub fn redis_conf(bytes: &[u8]) {
    let mut settings = Settings::new(false);
    for line in config::lines(bytes) {
        let _ = directives::fault(line.words.as_deref());
        let _ = secret::redact_line(&Text::new(&line.text));
        settings.apply(line.words.as_deref().unwrap_or_default());
    }
    let _ = (settings.ports(), settings.addresses());
    let name = Text::from("redis.conf");
    for (kind, lines) in [
        (Kind::Data, config::lines(bytes)),
        (Kind::Sentinel, config::lines(bytes)),
        (Kind::Acl, config::acl_lines(bytes)),
    ] {
        let directives: Vec<Directive> = lines.into_iter().map(|line| Directive::of_line(&name, line)).collect();
        let effective = Effective::new(&directives, None, kind, Version::DEFAULT);
        let found = audit::findings(&effective, &audit::access::rows(&effective));
        let edits: Vec<_> = found.into_iter().filter_map(|finding| finding.edit).collect();
        let _ = audit::diff::unified("redis.conf", bytes, &edits);
    }
}

/// What a server wrote before it ended: to its log, or the journal.
pub fn server_log(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let messages: Vec<&str> = text.lines().map(|line| fatal::log_line(line).message).collect();
    let _ = (fatal::fault(&messages), fatal::fault(&fatal::of_process(&text, 1)));
}

/// What a server answered.
pub fn resp(bytes: &[u8]) {
    let _ = reply::of_bytes(bytes);
    let _ = redis::Parser::new().parse_value(bytes);
    let info = Info::new(&String::from_utf8_lossy(bytes));
    let _ = (info.number("maxclients"), info.text("redis_version"));
}

/// What a server said of itself, for whoever scrapes: numbers go on, and not a word.
pub fn info(bytes: &[u8]) {
    let mut server = Server::new("db:6379".to_owned());
    server.take(Ok(&Info::new(&String::from_utf8_lossy(bytes))), Timestamp::UNIX_EPOCH);
    let standing = Standing { servers: vec![server], ..Standing::default() };
    let page = Metrics::default().page(&standing).unwrap_or_default();
    let series = page.lines().filter(|line| !line.starts_with('#'));
    for value in series.filter_map(|line| line.rsplit(' ').next()) {
        assert!(value.parse::<f64>().is_ok(), "{value:?} is no number");
    }
}

/// What somebody said who dialled the metrics.
pub fn scrape(bytes: &[u8]) {
    if http::wanted(bytes).is_ok() {
        assert!(bytes.starts_with(b"GET /metrics ") || bytes.starts_with(b"HEAD /metrics "), "nothing else is served");
    }
}

/// What `nft --json list ruleset` printed.
pub fn nft(bytes: &[u8]) {
    if let Ok(ruleset) = parse_nft(&String::from_utf8_lossy(bytes)) {
        walk(&ruleset);
    }
}

/// What `iptables-save` printed.
pub fn iptables_save(bytes: &[u8]) {
    let listing = String::from_utf8_lossy(bytes);
    let backend = if is_of_nft(&listing) { Backend::IptablesNft } else { Backend::IptablesLegacy };
    for ipv6 in [false, true] {
        if let Ok(ruleset) = parse_save(&listing, backend, ipv6) {
            walk(&ruleset);
        }
    }
}

/// A packet of which nothing is known can have met every rule.
fn walk(ruleset: &Ruleset) {
    for hook in [Hook::Prerouting, Hook::Input, Hook::Output] {
        let _ = ruleset.suspects(hook, &Packet::default(), Wanted::Refusal);
    }
}

/// The path of a cgroup, which its container chose.
pub fn cgroup(bytes: &[u8]) {
    let _ = container::of(&Text::new(bytes));
}

/// The arguments of a process, each ended by a NUL.
pub fn command_line(bytes: &[u8]) {
    let arguments: Vec<Text> = bytes.split(|byte| *byte == 0).map(Text::new).collect();
    let shown = secret::redact_arguments(&arguments);
    assert_eq!(shown.len(), arguments.len(), "no argument comes or goes");
    let _ = CommandLine::new(&arguments.iter().map(Text::to_bytes).collect::<Vec<_>>());
}

/// What an end says that should speak TLS, and what should be its certificate.
pub fn tls(bytes: &[u8]) {
    let _ = heard(bytes);
}

/// Lines of the audit daemon's log and records of the kernel's.
pub fn host_log(bytes: &[u8]) {
    let log = String::from_utf8_lossy(bytes);
    let _ = (server::about(&log, "redis-server", Some("redis")), oom::verdict(&log, 41));
    let _ = audited::find(&log, 7, Call::Bind, 1_732_938_000.0);
}

/// What `systemctl show` printed.
pub fn systemd(bytes: &[u8]) {
    let _ = units::parse(&String::from_utf8_lossy(bytes));
}

/// The value of a flag.
pub fn filter(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let _ = (text.parse::<Choice<PortRange>>(), text.parse::<Choice<Address>>(), text.parse::<Choice<Name>>());
    let _ = (text.parse::<Choice<Pattern>>(), text.parse::<Choice<Code>>(), text.parse::<Target>());
}
