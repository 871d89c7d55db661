//! Where a target is, and dialling it as a client does.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{Errno, retry_on_intr};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, getsockname, socket_with, sockopt};
use tokio::time::timeout;

use super::paced::Paced;
use super::tls;
use crate::host;
use crate::redis::target::Target;
use crate::trace::errno;
use crate::trace::flow::Endpoint;
use crate::trace::text::Text;

/// How long a name may take to be resolved.
const RESOLVING: Duration = Duration::from_secs(3);
/// How long who was reached has to answer, until it is said otherwise.
const ANSWER: Duration = Duration::from_secs(2);
/// How long a dial may take: a SYN that nobody answers is sent again after one second and after three.
const DIALLING: Duration = Duration::from_millis(3_300);

/// One place to dial.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
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
pub(crate) enum Connection {
    Tcp(Paced<TcpStream>),
    Tls(Box<tls::Stream>, tls::Identity),
    Unix(Paced<UnixStream>),
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(stream) => stream.as_fd(),
            Self::Tls(stream, _) => stream.sock.as_fd(),
            Self::Unix(stream) => stream.as_fd(),
        }
    }
}

/// A dial that is over.
pub(crate) struct Dial {
    pub(crate) place: Place,
    /// When it began, boottime nanoseconds.
    pub(crate) started: u64,
    pub(crate) took: Duration,
    /// How often its SYN was sent again before we gave up.
    pub(crate) sent_again: u32,
    pub(crate) result: io::Result<Connection>,
}

/// Every address of a target, in the order in which the resolver gives them; the error is a sentence.
pub(crate) async fn places(target: &Target) -> Result<Vec<Place>, String> {
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
pub(crate) fn told(target: &Target, places: &[Place]) -> String {
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
pub(crate) fn dial(place: Place) -> Dial {
    let (started, began) = (host::boottime(), Instant::now());
    let mut sent_again = 0;
    let result = match &place {
        Place::Tcp(address) => {
            dial_tcp(address, &mut sent_again).map(|stream| Connection::Tcp(Paced::new(stream, ANSWER)))
        }
        Place::Unix(path) => dial_unix(path).map(|stream| Connection::Unix(Paced::new(stream, ANSWER))),
    };
    Dial { place, started, took: began.elapsed(), sent_again, result }
}

/// Dials a unix socket; `@` begins an abstract name. A queue that is full says so at once, where a dial that may block would
/// wait for as long as it takes.
fn dial_unix(path: &str) -> io::Result<UnixStream> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    let address = match path.strip_prefix('@') {
        Some(name) => SocketAddrUnix::new_abstract_name(name.as_bytes())?,
        None => SocketAddrUnix::new(path)?,
    };
    connect(&socket, &address)?;
    let stream = UnixStream::from(socket);
    stream.set_nonblocking(false)?;
    Ok(stream)
}

/// Dials an address; of a dial that nobody answers, how often its SYN was sent again is asked while it still stands.
fn dial_tcp(address: &SocketAddr, sent_again: &mut u32) -> io::Result<TcpStream> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = socket_with(family, SocketType::STREAM, flags, None)?;
    match connect(&socket, address) {
        Ok(()) => {}
        Err(Errno::INPROGRESS) => {
            let patience = Timespec::try_from(DIALLING).map_err(io::Error::other)?;
            let is_over = || poll(&mut [PollFd::new(&socket, PollFlags::OUT)], Some(&patience));
            if retry_on_intr(is_over)? == 0 {
                let local = SocketAddr::try_from(getsockname(&socket)?)?;
                let local = Endpoint { ip: local.ip().to_canonical(), port: local.port() };
                *sent_again = host::sent_again(local).unwrap_or_default();
                return Err(io::ErrorKind::TimedOut.into());
            }
            sockopt::socket_error(&socket)??;
        }
        Err(errno) => return Err(errno.into()),
    }
    let stream = TcpStream::from(socket);
    stream.set_nonblocking(false)?;
    Ok(stream)
}

/// `ECONNREFUSED`.
pub(crate) fn error_name(error: &io::Error) -> String {
    match error.raw_os_error().and_then(|errno| u32::try_from(errno).ok()) {
        Some(errno) => errno::name(errno),
        None if error.kind() == io::ErrorKind::TimedOut => "no answer".to_owned(),
        None => error.to_string(),
    }
}

/// `0.4 ms`.
pub(crate) fn milliseconds(took: Duration) -> String {
    format!("{:.1} ms", took.as_secs_f64() * 1e3)
}
