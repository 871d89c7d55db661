//! Where a target is, and dialling it as a client does.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use tokio::time::timeout;

use crate::host;
use crate::redis::target::Target;
use crate::trace::errno;
use crate::trace::text::Text;

/// How long a name may take to be resolved.
const RESOLVING: Duration = Duration::from_secs(3);
/// How long a dial may take: a SYN that nobody answers is sent again after one second and after three.
const DIALLING: Duration = Duration::from_millis(3_300);

/// One place to dial.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Tcp(SocketAddr),
    Unix(String),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "{address}"),
            Self::Unix(path) => write!(f, "{}", Text::from(path.as_str())),
        }
    }
}

/// A connection to a server.
#[derive(Debug)]
pub(super) enum Connection {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// A dial that is over.
pub(super) struct Dial {
    pub(super) place: Place,
    /// When it began, boottime nanoseconds.
    pub(super) started: u64,
    pub(super) took: Duration,
    pub(super) result: io::Result<Connection>,
}

/// Every address of a target, in the order in which the resolver gives them; the error is a sentence.
pub(super) async fn places(target: &Target) -> Result<Vec<Place>, String> {
    let (host, port) = match target {
        Target::Unix(path) => return Ok(vec![Place::Unix(path.clone())]),
        Target::Tcp { host, port, .. } => (host.as_str(), *port),
    };
    let name = Text::from(host);
    let found = match timeout(RESOLVING, tokio::net::lookup_host((host, port))).await {
        Err(_) => return Err(format!("the resolver said nothing about {name} for {} s", RESOLVING.as_secs())),
        Ok(Err(why)) => return Err(format!("{name} has no address: {}", Text::from(why.to_string().as_str()))),
        Ok(Ok(found)) => found,
    };
    let mut places: Vec<Place> = Vec::new();
    for address in found {
        let place = Place::Tcp(address);
        if !places.contains(&place) {
            places.push(place);
        }
    }
    if places.is_empty() { Err(format!("{name} has no address")) } else { Ok(places) }
}

/// What a target is, in words.
pub(super) fn told(target: &Target, places: &[Place]) -> String {
    match target {
        Target::Unix(_) => format!("{target} is a unix socket"),
        Target::Tcp { host, .. } if host.parse::<IpAddr>().is_ok() => format!("{target} is an address"),
        Target::Tcp { host, .. } => {
            let ip = |place: &Place| match place {
                Place::Tcp(address) => address.ip().to_string(),
                Place::Unix(path) => path.clone(),
            };
            format!("{} is {}", Text::from(host.as_str()), places.iter().map(ip).collect::<Vec<_>>().join(", then "))
        }
    }
}

/// Dials a place.
pub(super) fn dial(place: Place) -> Dial {
    let (started, began) = (host::boottime(), Instant::now());
    let result = match &place {
        Place::Tcp(address) => TcpStream::connect_timeout(address, DIALLING).map(Connection::Tcp),
        Place::Unix(path) => UnixStream::connect(path).map(Connection::Unix),
    };
    Dial { place, started, took: began.elapsed(), result }
}

/// `ECONNREFUSED`.
pub(super) fn error_name(error: &io::Error) -> String {
    match error.raw_os_error().and_then(|errno| u32::try_from(errno).ok()) {
        Some(errno) => errno::name(errno),
        None if error.kind() == io::ErrorKind::TimedOut => "no answer".to_owned(),
        None => error.to_string(),
    }
}

/// `0.4 ms`.
pub(super) fn milliseconds(took: Duration) -> String {
    format!("{:.1} ms", took.as_secs_f64() * 1e3)
}
