//! Where a sentinel or a cluster sends its clients: whether somebody takes connections there.

use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use redis::Value;

use super::dial::{self, Place};
use super::report::{Doctor, Finding, State, fix};
use super::server::Server;
use crate::redis::info::Info;
use crate::trace::text::Text;

/// How long a dial of one of them may take.
const DIALLING: Duration = Duration::from_millis(800);
/// How long all of them may take.
const ALL: Duration = Duration::from_secs(3);
/// Most addresses that are dialled.
const MOST: usize = 8;
/// Hash slots of a cluster.
const SLOTS: u64 = 16_384;
/// A cluster's nodes talk to each other on the port of clients and so many more.
const BUS: u16 = 10_000;

/// An address to which clients are sent.
struct Sent {
    /// For what.
    what: String,
    /// Where to, as it was told.
    host: String,
    port: u16,
}

/// Asks where clients are sent, and dials it.
pub(super) fn follow(doctor: &mut Doctor, server: &mut Server, info: &Info, place: &Place) -> anyhow::Result<()> {
    if info.text("redis_mode") == Some("sentinel") {
        let masters = server.ask(redis::cmd("SENTINEL").arg("MASTERS"));
        return of_sentinel(doctor, masters.as_ref());
    }
    if info.text("redis_mode") == Some("cluster") || info.text("cluster_enabled") == Some("1") {
        let slots = server.ask(redis::cmd("CLUSTER").arg("SLOTS"));
        return of_cluster(doctor, slots.as_ref(), place);
    }
    Ok(())
}

/// The masters that a sentinel names.
fn of_sentinel(doctor: &mut Doctor, masters: Option<&Value>) -> anyhow::Result<()> {
    let Some(Value::Array(masters)) = masters else {
        return Ok(doctor.step("master", State::Unknown, "SENTINEL MASTERS is not answered".to_owned())?);
    };
    if masters.is_empty() {
        return Ok(doctor.step("master", State::Bad, "this sentinel watches no master".to_owned())?);
    }
    let sent = masters.iter().filter_map(|master| {
        let Value::Array(fields) = master else { return None };
        let field = |name: &str| fields.chunks_exact(2).find(|pair| text(&pair[0]) == name).map(|pair| text(&pair[1]));
        Some(Sent { what: field("name")?, host: field("ip")?, port: field("port")?.parse().ok()? })
    });
    let announce = fix(
        "let the sentinel watch the master by an address that clients reach",
        Some("sentinel monitor NAME ADDRESS PORT QUORUM".to_owned()),
    );
    reach(doctor, "master", sent.collect(), &announce)
}

/// The owners of a cluster's slots, and how many slots have one.
fn of_cluster(doctor: &mut Doctor, slots: Option<&Value>, place: &Place) -> anyhow::Result<()> {
    let Some(Value::Array(ranges)) = slots else {
        return Ok(doctor.step("cluster", State::Unknown, "CLUSTER SLOTS is not answered".to_owned())?);
    };
    let (mut served, mut owners) = (0, Vec::<Sent>::new());
    for range in ranges {
        let Value::Array(range) = range else { continue };
        let [Value::Int(first), Value::Int(last), Value::Array(owner), ..] = range.as_slice() else { continue };
        served += u64::try_from(last - first + 1).unwrap_or_default();
        let [host, Value::Int(port), ..] = owner.as_slice() else { continue };
        let (host, port) = (text(host), u16::try_from(*port).unwrap_or_default());
        // A node that does not know its own address sends clients to where they are.
        let is_here = host.is_empty() || matches!(place, Place::Tcp(here) if here.to_string() == address(&host, port));
        if !is_here && !owners.iter().any(|known| known.host == host && known.port == port) {
            owners.push(Sent { what: format!("slots {first} to {last}"), host, port });
        }
    }
    if served < SLOTS {
        let said = format!("{served} of {SLOTS} slots are served: keys of the others are refused with -CLUSTERDOWN");
        doctor.step("slots", State::Bad, said.clone())?;
        let finding = Finding::of_code("RT6006", "server-refuses-commands", "certain", said);
        doctor.verdict(
            finding
                .with(fix("see which nodes are down, and bring them back", Some("redis-cli CLUSTER NODES".to_owned()))),
        );
    } else {
        doctor.step("slots", State::Good, format!("all {SLOTS} slots are served"))?;
    }
    bus(doctor, place)?;
    let announce = fix(
        "let each node announce an address that clients reach",
        Some("redis-cli CONFIG SET cluster-announce-ip …".to_owned()),
    );
    reach(doctor, "owner", owners, &announce)
}

/// The port on which nodes talk to each other.
fn bus(doctor: &mut Doctor, place: &Place) -> anyhow::Result<()> {
    let Place::Tcp(here) = place else { return Ok(()) };
    let Some(port) = here.port().checked_add(BUS) else { return Ok(()) };
    let (state, text) = match TcpStream::connect_timeout(&SocketAddr::new(here.ip(), port), DIALLING) {
        Ok(_) => (State::Good, format!("the cluster's bus port {port} takes connections from here")),
        Err(error) => (
            State::Unknown,
            format!(
                "the cluster's bus port {port}: {} from here; other nodes need it, clients do not",
                dial::error_name(&error)
            ),
        ),
    };
    Ok(doctor.step("bus", state, text)?)
}

/// Whether the addresses take connections; one that does not is the verdict.
fn reach(doctor: &mut Doctor, step: &str, sent: Vec<Sent>, announce: &crate::trace::report::Fix) -> anyhow::Result<()> {
    let began = Instant::now();
    let left = sent.len().saturating_sub(MOST);
    for Sent { what, host, port } in sent.into_iter().take(MOST) {
        let (what, shown) = (Text::from(what.as_str()), Text::from(address(&host, port).as_str()));
        let Ok(ip) = host.parse::<IpAddr>() else {
            doctor.step(step, State::Skipped, format!("{what}: {shown} is a name, and is not resolved here"))?;
            continue;
        };
        if began.elapsed() > ALL {
            doctor.step(step, State::Skipped, format!("{what}: {shown} was not dialled: it would take too long"))?;
            continue;
        }
        match TcpStream::connect_timeout(&SocketAddr::new(ip, port), DIALLING) {
            Ok(_) => doctor.step(step, State::Good, format!("{what} is at {shown}: it takes connections"))?,
            Err(error) => {
                let got = dial::error_name(&error);
                doctor.step(step, State::Bad, format!("{what} is at {shown}: {got}"))?;
                let confidence = if error.raw_os_error().is_some() { "certain" } else { "likely" };
                let said = format!("clients are sent to {shown} for {what}, and from here that gets {got}");
                let finding = Finding::of_code("RT6007", "redirected-to-unreachable", confidence, said);
                doctor.verdict(finding.with(announce.clone()));
            }
        }
    }
    if left > 0 {
        doctor.step(step, State::Skipped, format!("{left} more were not dialled"))?;
    }
    Ok(())
}

/// `[::1]:6379`.
fn address(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// A value that is text.
fn text(value: &Value) -> String {
    match value {
        Value::BulkString(text) => String::from_utf8_lossy(text).into_owned(),
        Value::SimpleString(text) => text.clone(),
        _ => String::new(),
    }
}
