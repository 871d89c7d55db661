//! The other end of a connection: what it says before it is asked, what it answers, why it does not.

use std::io::{self, Read, Write};
use std::time::Duration;

use redis::{Cmd, Parser, RedisResult, Value};

use super::dial::Connection;
use super::tls;
use crate::redis::info::Info;
use crate::redis::reply::{self, Said};

/// Who is turned away at the door is told so without asking, and this soon.
const AT_THE_DOOR: Duration = Duration::from_millis(60);
/// How long an answer may take.
const ANSWER: Duration = Duration::from_secs(2);
/// As much of an answer as is read, bytes.
const MOST: u64 = 1 << 20;

/// Why a server does not serve.
pub(crate) enum No {
    /// It said so, in these bytes; they are none when it closed or kept silent.
    Said(Said, Vec<u8>),
    /// TLS says so.
    Tls(rustls::Error),
}

/// A server that took the connection.
pub(crate) struct Server(pub(crate) Connection);

impl Server {
    /// What it says before it is asked: nothing, when it lets in.
    pub(crate) fn lets_in(&mut self) -> Result<(), No> {
        self.give(AT_THE_DOOR);
        match self.first() {
            Ok(greeting) => {
                let said = reply::of_bytes(&greeting).unwrap_or_else(reply::speaks_first);
                Err(No::Said(said, greeting))
            }
            Err(error) if tls::is_late(&error) => Ok(()),
            Err(error) => Err(no(&error)),
        }
    }

    /// What it answers to a command; if it does not serve, why.
    pub(crate) fn serves(&mut self, command: &Cmd) -> Result<Vec<u8>, No> {
        match self.say(command).and_then(|()| self.first()) {
            Ok(answer) => match reply::of_bytes(&answer) {
                Some(said) => Err(No::Said(said, answer)),
                None => Ok(answer),
            },
            Err(error) => Err(no(&error)),
        }
    }

    /// An answer, when there is one.
    pub(crate) fn ask(&mut self, command: &Cmd) -> Option<Value> {
        self.answer(command).ok()
    }

    /// An answer; an error when there is none in time, or none that can be read.
    pub(crate) fn answer(&mut self, command: &Cmd) -> RedisResult<Value> {
        self.say(command)?;
        Parser::new().parse_value((&mut self.0).take(MOST))
    }

    /// What INFO tells; nothing where it may not be asked.
    pub(crate) fn info(&mut self) -> Info {
        self.ask(&redis::cmd("INFO")).and_then(info).unwrap_or_default()
    }

    /// Says a command; all of the answer to it may take as long as one answer may.
    fn say(&mut self, command: &Cmd) -> io::Result<()> {
        self.give(ANSWER);
        self.0.write_all(&command.get_packed_command())?;
        self.0.flush()
    }

    /// The first bytes that come.
    fn first(&mut self) -> io::Result<Vec<u8>> {
        let mut bytes = [0; 4096];
        let length = self.0.read(&mut bytes)?;
        Ok(bytes[..length].to_vec())
    }

    fn give(&mut self, patience: Duration) {
        match &mut self.0 {
            Connection::Tcp(stream) => stream.give(patience),
            Connection::Tls(stream, _) => stream.sock.give(patience),
            Connection::Unix(stream) => stream.give(patience),
        }
    }

    /// It asked for a client certificate, and was given none.
    pub(super) fn has_no_identity(&self) -> bool {
        matches!(self.0, Connection::Tls(_, tls::Identity::Missing))
    }

    /// By TLS.
    pub(super) fn is_tls(&self) -> bool {
        matches!(self.0, Connection::Tls(..))
    }
}

/// An answer to INFO, read.
pub(crate) fn info(answer: Value) -> Option<Info> {
    match answer {
        Value::BulkString(text) => Some(Info::new(&String::from_utf8_lossy(&text))),
        Value::VerbatimString { text, .. } => Some(Info::new(&text)),
        _ => None,
    }
}

/// Why nothing was answered: late, TLS has something against it, reset or closed.
fn no(error: &io::Error) -> No {
    match tls::said(error) {
        Some(said) => No::Tls(said.clone()),
        None if tls::is_late(error) => No::Said(reply::silent(), Vec::new()),
        None => No::Said(closed(), Vec::new()),
    }
}

/// It closed, or reset, without a word.
pub(crate) fn closed() -> Said {
    reply::of_bytes(b"").unwrap_or_else(reply::silent)
}

impl Read for Connection {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.read(buffer),
            Self::Tls(stream, _) => stream.read(buffer),
            Self::Unix(stream) => stream.read(buffer),
        }
    }
}

impl Write for Connection {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.write(bytes),
            Self::Tls(stream, _) => stream.write(bytes),
            Self::Unix(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Tls(stream, _) => stream.flush(),
            Self::Tcp(_) | Self::Unix(_) => Ok(()),
        }
    }
}
