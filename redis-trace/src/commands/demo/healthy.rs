//! A busy, healthy hour: connections that succeed, live shortly and end in every ordinary way. None of them is a refusal.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};

use anyhow::{Context as _, Result, bail};
use rustix::net::{connect, sockopt};

use super::actor::{say, stream_socket};

/// Connections that are open at the same time.
const AT_ONCE: u32 = 50;

/// Makes this many connections to a Redis that listens on every address.
pub(super) fn play(server: SocketAddr, connections: u32) -> Result<()> {
    rustix::thread::set_name(c"client").context("cannot name the task")?;
    let idle = listener_that_has_nobody_to_accept()?;
    let mut made = 0;
    while made < connections {
        let batch = AT_ONCE.min(connections - made);
        let open = (made..made + batch).map(|number| Healthy::open(number, server)).collect::<Result<Vec<_>>>()?;
        for connection in open {
            connection.use_and_close()?;
        }
        made += batch;
        match idle.accept() {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            other => bail!("an accept with nobody waiting ended with {other:?}"),
        }
    }
    say("done")
}

/// A listener whose accept answers EAGAIN.
fn listener_that_has_nobody_to_accept() -> Result<TcpListener> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("cannot listen")?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// One connection and the way it will end.
enum Healthy {
    /// The client closes after an answer.
    ClientCloses(TcpStream),
    /// The server closes after QUIT.
    ServerCloses(TcpStream),
    /// The client ends it with a reset.
    Reset(TcpStream),
    /// A health check ended it with a reset before the handshake was over.
    HalfOpen,
}

impl Healthy {
    /// Opens the next one; the target address rotates so that ports suffice.
    fn open(number: u32, server: SocketAddr) -> Result<Self> {
        let last = u8::try_from(number / 4 % 200 + 1).unwrap_or(1);
        let server = SocketAddr::from((Ipv4Addr::new(127, 0, 0, last), server.port()));
        if number % 4 == 3 {
            return half_open(server);
        }
        let stream = TcpStream::connect(server).with_context(|| format!("cannot connect to {server}"))?;
        Ok(match number % 4 {
            0 => Self::ClientCloses(stream),
            1 => Self::ServerCloses(stream),
            _ => Self::Reset(stream),
        })
    }

    /// Lets it end.
    fn use_and_close(self) -> Result<()> {
        match self {
            Self::ClientCloses(mut stream) => {
                stream.write_all(b"PING\r\n")?;
                stream.read_exact(&mut [0; 7]).context("Redis did not answer PING")?;
            }
            Self::ServerCloses(mut stream) => {
                stream.write_all(b"QUIT\r\n")?;
                stream.read_to_end(&mut Vec::new()).context("Redis did not close after QUIT")?;
            }
            Self::Reset(stream) => sockopt::set_socket_linger(&stream, Some(std::time::Duration::ZERO))?,
            Self::HalfOpen => {}
        }
        Ok(())
    }
}

/// SYN, SYN-ACK, RST: what load balancers do to see whether a port is open.
fn half_open(server: SocketAddr) -> Result<Healthy> {
    let socket = stream_socket(server)?;
    sockopt::set_tcp_quickack(&socket, false)?;
    sockopt::set_socket_linger(&socket, Some(std::time::Duration::ZERO))?;
    connect(&socket, &server).with_context(|| format!("cannot connect to {server}"))?;
    Ok(Healthy::HalfOpen)
}
