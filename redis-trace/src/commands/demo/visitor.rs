//! Those whom a server lets in and does not serve, and a proxy that has nobody behind it.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use super::actor::say;

/// How long an answer is waited for that does not come.
const PATIENCE: Duration = Duration::from_millis(200);
/// A TLS `ClientHello`: record, handshake, version 1.2, a random, no session, one cipher, no compression.
const HELLO: [u8; 50] = {
    let mut hello = [0x5a; 50];
    let head = [0x16, 0x03, 0x01, 0, 45, 0x01, 0, 0, 41, 0x03, 0x03];
    let tail = [0, 0, 2, 0x13, 0x01, 1, 0];
    let mut at = 0;
    while at < head.len() {
        hello[at] = head[at];
        at += 1;
    }
    let mut at = 0;
    while at < tail.len() {
        hello[head.len() + 32 + at] = tail[at];
        at += 1;
    }
    hello
};

/// Sends what a web client would, and reads until the server closes: nothing must come.
pub(super) fn post(server: SocketAddr) -> Result<()> {
    rustix::thread::set_name(c"client").context("cannot name the task")?;
    let mut stream = TcpStream::connect(server).with_context(|| format!("cannot connect to {server}"))?;
    stream.write_all(b"POST / HTTP/1.1\r\nHost: redis\r\n\r\n")?;
    let read = stream.read(&mut [0; 64]).context("the server reset it")?;
    ensure!(read == 0, "the server answered HTTP");
    Ok(())
}

/// Sends a TLS `ClientHello`, waits in vain, and closes.
pub(super) fn hello(server: SocketAddr) -> Result<()> {
    rustix::thread::set_name(c"client").context("cannot name the task")?;
    let mut stream = TcpStream::connect(server).with_context(|| format!("cannot connect to {server}"))?;
    stream.write_all(&HELLO)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    match stream.read(&mut [0; 64]) {
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(()),
        other => anyhow::bail!("a ClientHello was answered by {other:?}"),
    }
}

/// Accepts whoever comes and dials the server that should serve them; when that refuses, it closes.
pub(super) fn proxy(own: SocketAddr, server: SocketAddr) -> Result<()> {
    rustix::thread::set_name(c"docker-proxy").context("cannot name the task")?;
    let listener = TcpListener::bind(own).with_context(|| format!("cannot listen on {own}"))?;
    say("listening")?;
    loop {
        let (client, _) = listener.accept()?;
        ensure!(TcpStream::connect(server).is_err(), "somebody listens on {server}");
        drop(client);
    }
}
