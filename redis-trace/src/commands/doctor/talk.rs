//! What a server that took the connection says: whether it lets in, who it is, how full it is. All that it is asked reads.

use std::collections::BTreeMap;
use std::io;

use redis::{Cmd, Value};

use super::dial::{Connection, Place};
use super::leads::Lead;
use super::report::{Doctor, Finding, State};
use super::server::{No, Server, closed};
use super::{clients, configured, leads, tls};
use crate::cli::LoginArgs;
use crate::redis::info::Info;
use crate::redis::reply;
use crate::redis::target::Target;
use crate::trace::text::Text;

/// A server that was started less than so many seconds ago has forgotten what it counted.
const YOUNG: u64 = 60;

/// What a TLS port says to who speaks without: an alert.
const ALERT: [u8; 2] = [0x15, 0x03];

/// Who to log in as.
pub(crate) struct Credentials {
    user: Option<String>,
    password: Option<String>,
}

impl Credentials {
    /// From the environment or the terminal, never from an argument.
    pub(crate) fn new(args: &LoginArgs, target: &Target) -> anyhow::Result<Self> {
        let named = match target {
            Target::Tcp { user, .. } => user.clone(),
            Target::Unix(_) => None,
        };
        let password = if args.askpass {
            Some(rpassword::prompt_password("password: ")?)
        } else {
            std::env::var("REDISCLI_AUTH").ok().filter(|password| !password.is_empty())
        };
        Ok(Self { user: args.user.clone().or(named), password })
    }

    /// The command that logs in, when there is a password to do it with.
    pub(crate) fn auth(&self) -> Option<Cmd> {
        let mut auth = redis::cmd("AUTH");
        if let Some(user) = &self.user {
            auth.arg(user);
        }
        self.password.as_ref().map(|password| auth.arg(password).clone())
    }
}

/// What a server told of itself.
#[derive(Debug, Default)]
pub(super) struct Told {
    pub(super) info: Info,
    /// What it is set to, as far as it may be asked.
    pub(super) settings: BTreeMap<String, String>,
    /// Where it sends its clients.
    pub(super) leads: Vec<Lead>,
    /// What it is while its Cluster is down, whoever is reached.
    pub(super) down: Option<Finding>,
}

impl Told {
    /// A setting that is a number.
    pub(super) fn number(&self, name: &str) -> Option<u64> {
        self.settings.get(name)?.parse().ok()
    }
}

/// Talks to the server; `None` when it does not let in.
pub(super) fn with(
    connection: Connection,
    place: &Place,
    credentials: &Credentials,
    doctor: &mut Doctor,
) -> anyhow::Result<Option<Told>> {
    let mut server = Server(connection);
    if let Err(no) = log_in(&mut server, credentials, doctor)? {
        refused(doctor, &server, place, &no)?;
        return Ok(None);
    }
    doctor.step("reply", State::Good, "it answers PING".to_owned())?;
    let info = server.info();
    let settings = settings(&mut server);
    let holders = holders(&mut server, &info);
    tell(doctor, &info, holders.as_deref())?;
    let leads = leads::ask(&mut server, &info, doctor)?;
    let down = leads::down(&mut server, &info);
    Ok(Some(Told { info, settings, leads, down }))
}

/// Through the door, with the password, to an answered `PING`.
fn log_in(server: &mut Server, credentials: &Credentials, doctor: &mut Doctor) -> io::Result<Result<(), No>> {
    if let Err(no) = server.lets_in() {
        return Ok(Err(no));
    }
    if let Some(auth) = credentials.auth() {
        let user = Text::from(credentials.user.as_deref().unwrap_or("default"));
        match server.serves(&auth) {
            Ok(answer) if answer.starts_with(b"+") => {
                doctor.step("auth", State::Good, format!("it takes the password of user {user}"))?;
            }
            Ok(answer) => {
                let text =
                    format!("it neither takes nor refuses the password of user {user}: it says {}", quoted(&answer));
                doctor.step("auth", State::Unknown, text)?;
            }
            Err(no) => return Ok(Err(no)),
        }
    }
    Ok(server.serves(&redis::cmd("PING")).map(|_| ()))
}

/// What it is set to. Before 7.0 it is asked for one setting at a time, so only the first is asked for.
fn settings(server: &mut Server) -> BTreeMap<String, String> {
    let all = server.ask(redis::cmd("CONFIG").arg("GET").arg(configured::ASKED));
    let answer = match all {
        Some(Value::Array(pairs)) => Some(pairs),
        Some(Value::ServerError(_)) => match server.ask(redis::cmd("CONFIG").arg("GET").arg(&configured::ASKED[..1])) {
            Some(Value::Array(pair)) => Some(pair),
            _ => None,
        },
        _ => None,
    };
    let words: Vec<String> = answer.into_iter().flatten().filter_map(text).collect();
    words.chunks_exact(2).map(|pair| (pair[0].clone(), pair[1].clone())).collect()
}

/// Who holds its connections, where the list of them is short.
fn holders(server: &mut Server, info: &Info) -> Option<String> {
    info.number("connected_clients").filter(|clients| *clients <= clients::MOST)?;
    clients::summary(&text(server.ask(redis::cmd("CLIENT").arg("LIST"))?)?)
}

/// A value that is text.
pub(super) fn text(value: Value) -> Option<String> {
    match value {
        Value::BulkString(bytes) => Some(String::from_utf8_lossy(&bytes).into_owned()),
        Value::VerbatimString { text, .. } | Value::SimpleString(text) => Some(text),
        _ => None,
    }
}

/// The first line of an answer, made safe.
fn quoted(answer: &[u8]) -> Text {
    let first = answer.split(|byte| *byte == b'\r' || *byte == b'\n').next().unwrap_or_default();
    Text::new(&first[..first.len().min(120)])
}

/// The server does not let in.
fn refused(doctor: &mut Doctor, server: &Server, place: &Place, no: &No) -> anyhow::Result<()> {
    let (said, answer) = match no {
        No::Tls(error) => {
            doctor.step(
                "reply",
                State::Bad,
                format!("it ended the TLS connection: {}", Text::from(error.to_string().as_str())),
            )?;
            doctor.verdict(tls::refused(error, server.has_no_identity()));
            return Ok(());
        }
        No::Said(said, answer) => (said, answer),
    };
    let is_closed = *said == closed();
    if is_closed && server.has_no_identity() {
        doctor.step("reply", State::Bad, "it closed after it asked for a client certificate".to_owned())?;
        doctor.verdict(tls::no_identity("likely"));
    } else if is_closed && !server.is_tls() && tls::is_spoken(place) {
        doctor.step("reply", State::Bad, "it closes without a word, and answers a TLS hello".to_owned())?;
        let said = reply::of_bytes(&ALERT).unwrap_or_else(closed);
        doctor.verdict(Finding { confidence: "certain".to_owned(), ..Finding::of_reply(&said, &Text::from("")) });
    } else {
        let quoted = quoted(answer);
        let text = match answer.is_empty() {
            false => format!("it says: {quoted}"),
            true if is_closed => "it closed without a word".to_owned(),
            true => "it says nothing".to_owned(),
        };
        doctor.step("reply", State::Bad, text)?;
        doctor.verdict(Finding::of_reply(said, &quoted));
    }
    Ok(())
}

/// What INFO tells of who it is and how full it is.
fn tell(doctor: &mut Doctor, info: &Info, holders: Option<&str>) -> io::Result<()> {
    let Some(version) = info.text("redis_version") else {
        return doctor.step("server", State::Unknown, "it does not answer INFO".to_owned());
    };
    let (name, version) = match info.text("valkey_version") {
        Some(valkey) => ("Valkey", valkey),
        None => ("Redis", version),
    };
    let role = info.text("role").map_or_else(String::new, |role| format!(", {role}"));
    let up = info.number("uptime_in_seconds").map_or_else(String::new, |seconds| format!(", up {seconds} s"));
    let text = format!("{name} {version}{role}{up}");
    doctor.step("server", State::Good, Text::from(text.as_str()).to_string())?;
    if let Some(seconds) = info.number("uptime_in_seconds").filter(|seconds| *seconds < YOUNG) {
        let text = format!("it was started {seconds} s ago: all that it counts begins then");
        doctor.step("restart", State::Warn, text)?;
    }
    if info.text("master_link_status") == Some("down") {
        doctor.step("replica", State::Warn, "its link to its master is down".to_owned())?;
    }
    if let (Some(connected), Some(most)) = (info.number("connected_clients"), info.number("maxclients")) {
        let rejected = info.number("rejected_connections").unwrap_or_default();
        let state = if connected * 10 >= most * 8 || rejected > 0 { State::Warn } else { State::Good };
        let turned_away =
            if rejected > 0 { format!("; {rejected} were turned away since its start") } else { String::new() };
        let holders = holders.map_or_else(String::new, |holders| format!("; {holders}"));
        doctor.step("clients", state, format!("{connected} of {most} (maxclients){turned_away}{holders}"))?;
    }
    if let (Some(used), Some(most)) = (info.number("used_memory"), info.number("maxmemory").filter(|most| *most > 0)) {
        let state = if used * 10 >= most * 9 { State::Warn } else { State::Good };
        let policy = info.text("maxmemory_policy").unwrap_or("no policy");
        let text = format!("{} of {} MiB (maxmemory, {policy})", used >> 20, most >> 20);
        doctor.step("memory", state, Text::from(text.as_str()).to_string())?;
    }
    Ok(())
}
