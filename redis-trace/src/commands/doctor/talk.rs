//! What a server that took the connection says: whether it lets in, who it is, how full it is. Six commands at most, all of
//! which read.

use std::io::{self, Read, Write};
use std::time::Duration;

use redis::{Cmd, Parser, Value};

use super::dial::Connection;
use super::report::{Doctor, Finding, State};
use crate::cli::DoctorArgs;
use crate::redis::info::Info;
use crate::redis::reply::{self, Said};
use crate::redis::target::Target;
use crate::trace::text::Text;

/// Who is turned away at the door is told so without asking, and this soon.
const AT_THE_DOOR: Duration = Duration::from_millis(60);
/// How long an answer may take.
const ANSWER: Duration = Duration::from_secs(2);
/// As much of an answer as is read, bytes.
const MOST: u64 = 1 << 20;

/// Who to log in as.
pub(super) struct Credentials {
    user: Option<String>,
    password: Option<String>,
}

impl Credentials {
    /// From the environment or the terminal, never from an argument.
    pub(super) fn new(args: &DoctorArgs, target: &Target) -> anyhow::Result<Self> {
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
}

/// What a server told of itself.
#[derive(Debug, Default)]
pub(super) struct Told {
    pub(super) info: Info,
    /// Its `tcp-backlog`, when it may be asked.
    pub(super) backlog: Option<u64>,
}

/// Talks to the server; `None` when it does not let in.
pub(super) fn with(
    connection: Connection,
    credentials: &Credentials,
    doctor: &mut Doctor,
) -> anyhow::Result<Option<Told>> {
    let mut server = Server(connection);
    if let Some(greeting) = server.greeting()? {
        let said = reply::of_bytes(&greeting).unwrap_or_else(reply::speaks_first);
        return refused(doctor, &said, &greeting);
    }
    if let Some(password) = &credentials.password {
        let mut auth = redis::cmd("AUTH");
        if let Some(user) = &credentials.user {
            auth.arg(user);
        }
        if let Err(said) = server.serves(auth.arg(password)) {
            return refused(doctor, &said.0, &said.1);
        }
        let user = credentials.user.as_deref().unwrap_or("default");
        doctor.step("auth", State::Good, format!("it does not refuse the password of user {}", Text::from(user)))?;
    }
    if let Err(said) = server.serves(&redis::cmd("PING")) {
        return refused(doctor, &said.0, &said.1);
    }
    doctor.step("reply", State::Good, "it answers PING".to_owned())?;
    let info = match server.ask(&redis::cmd("INFO")) {
        Some(Value::BulkString(text)) => Info::new(&String::from_utf8_lossy(&text)),
        Some(Value::VerbatimString { text, .. }) => Info::new(&text),
        _ => Info::default(),
    };
    let backlog = match server.ask(redis::cmd("CONFIG").arg("GET").arg("tcp-backlog")) {
        Some(Value::Array(pair)) => pair.get(1).and_then(number),
        _ => None,
    };
    tell(doctor, &info)?;
    Ok(Some(Told { info, backlog }))
}

fn number(value: &Value) -> Option<u64> {
    match value {
        Value::BulkString(text) => std::str::from_utf8(text).ok()?.parse().ok(),
        Value::Int(number) => u64::try_from(*number).ok(),
        _ => None,
    }
}

/// The server does not let in.
fn refused(doctor: &mut Doctor, said: &Said, answer: &[u8]) -> anyhow::Result<Option<Told>> {
    let first = answer.split(|byte| *byte == b'\r' || *byte == b'\n').next().unwrap_or_default();
    let quoted = Text::new(first.get(..first.len().min(120)).unwrap_or_default());
    let said_what =
        if answer.is_empty() { "it closed without a word".to_owned() } else { format!("it says: {quoted}") };
    doctor.step("reply", State::Bad, said_what)?;
    doctor.verdict(Finding::of_reply(said, &quoted));
    Ok(None)
}

/// What INFO tells of who it is and how full it is.
fn tell(doctor: &mut Doctor, info: &Info) -> io::Result<()> {
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
    if info.text("master_link_status") == Some("down") {
        doctor.step("replica", State::Warn, "its link to its master is down".to_owned())?;
    }
    if let (Some(connected), Some(most)) = (info.number("connected_clients"), info.number("maxclients")) {
        let rejected = info.number("rejected_connections").unwrap_or_default();
        let state = if connected * 10 >= most * 8 || rejected > 0 { State::Warn } else { State::Good };
        let turned_away =
            if rejected > 0 { format!("; {rejected} were turned away since its start") } else { String::new() };
        doctor.step("clients", state, format!("{connected} of {most} (maxclients){turned_away}"))?;
    }
    if let (Some(used), Some(most)) = (info.number("used_memory"), info.number("maxmemory").filter(|most| *most > 0)) {
        let state = if used * 10 >= most * 9 { State::Warn } else { State::Good };
        let policy = info.text("maxmemory_policy").unwrap_or("no policy");
        let text = format!("{} of {} MiB (maxmemory, {policy})", used >> 20, most >> 20);
        doctor.step("memory", state, Text::from(text.as_str()).to_string())?;
    }
    Ok(())
}

/// The server's end of the conversation.
struct Server(Connection);

impl Server {
    /// What it says before it is asked: nothing, when it lets in.
    fn greeting(&mut self) -> io::Result<Option<Vec<u8>>> {
        self.patience(AT_THE_DOOR)?;
        let greeting = self.first();
        self.patience(ANSWER)?;
        match greeting {
            Ok(greeting) => Ok(Some(greeting)),
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => Ok(None),
            Err(_) => Ok(Some(Vec::new())),
        }
    }

    /// Whether it does what it is told; if not, why, and what it said.
    fn serves(&mut self, command: &Cmd) -> Result<(), (Said, Vec<u8>)> {
        let answer = self.0.write_all(&command.get_packed_command()).and_then(|()| self.first());
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                return Err((reply::silent(), Vec::new()));
            }
            // Reset, or gone.
            Err(_) => Vec::new(),
        };
        reply::of_bytes(&answer).map_or(Ok(()), |said| Err((said, answer)))
    }

    /// An answer, when there is one.
    fn ask(&mut self, command: &Cmd) -> Option<Value> {
        self.0.write_all(&command.get_packed_command()).ok()?;
        Parser::new().parse_value((&mut self.0).take(MOST)).ok()
    }

    /// The first bytes that come.
    fn first(&mut self) -> io::Result<Vec<u8>> {
        let mut bytes = [0; 4096];
        let length = self.0.read(&mut bytes)?;
        Ok(bytes[..length].to_vec())
    }

    fn patience(&self, time: Duration) -> io::Result<()> {
        match &self.0 {
            Connection::Tcp(stream) => {
                stream.set_write_timeout(Some(ANSWER))?;
                stream.set_read_timeout(Some(time))
            }
            Connection::Unix(stream) => {
                stream.set_write_timeout(Some(ANSWER))?;
                stream.set_read_timeout(Some(time))
            }
        }
    }
}

impl Read for Connection {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.read(buffer),
            Self::Unix(stream) => stream.read(buffer),
        }
    }
}

impl Write for Connection {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.write(bytes),
            Self::Unix(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
