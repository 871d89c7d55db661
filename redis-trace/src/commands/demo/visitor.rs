//! Those whom a server lets in and does not serve, and a proxy that has nobody behind it.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::net::{connect, getsockname};

use super::actor::{report, say, stream_socket};

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
    let mut stream = connected(server)?;
    stream.write_all(b"POST / HTTP/1.1\r\nHost: redis\r\n\r\n")?;
    let read = stream.read(&mut [0; 64]).context("the server reset it")?;
    ensure!(read == 0, "the server answered HTTP");
    Ok(())
}

/// Sends a TLS `ClientHello`, waits in vain, and closes.
pub(super) fn hello(server: SocketAddr) -> Result<()> {
    let mut stream = connected(server)?;
    stream.write_all(&HELLO)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    match stream.read(&mut [0; 64]) {
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(()),
        other => anyhow::bail!("a ClientHello was answered by {other:?}"),
    }
}

/// Sends a TLS `ClientHello` of version 1.2 or 1.1 to a server that speaks none so old, and reads its alert.
pub(super) fn alert(server: SocketAddr, version: &str) -> Result<()> {
    let mut hello = HELLO;
    // RFC 8446, 4.1.2: what the client speaks at most, where no extension says more.
    hello[10] = if version == "1.1" { 2 } else { 3 };
    let mut stream = connected(server)?;
    stream.write_all(&hello)?;
    let mut said = Vec::new();
    stream.read_to_end(&mut said).context("the server reset it")?;
    ensure!(said.starts_with(&[0x15, 0x03]), "a ClientHello of an old version was answered by {said:?}");
    Ok(())
}

/// Asks once, asks nothing for a while, says so, and reads nothing until the server closes.
pub(super) fn wait(server: SocketAddr, request: &str) -> Result<()> {
    let mut stream = connected(server)?;
    pause_after(&mut stream, request)?;
    say("waiting")?;
    let mut ended = [PollFd::new(&stream, PollFlags::RDHUP)];
    poll(&mut ended, None)?;
    Ok(())
}

/// Asks once, asks nothing for a while, and takes its leave: the server closes as it was told to.
pub(super) fn quit(server: SocketAddr) -> Result<()> {
    let mut stream = connected(server)?;
    pause_after(&mut stream, "PING")?;
    stream.set_read_timeout(None)?;
    stream.write_all(b"QUIT\r\n")?;
    let mut said = Vec::new();
    stream.read_to_end(&mut said).context("the server reset it")?;
    ensure!(said == b"+OK\r\n", "QUIT was answered by {said:?}");
    Ok(())
}

/// Asks for a key, leaves, and dials where the answer leads.
pub(super) fn follow(server: SocketAddr) -> Result<()> {
    let mut stream = connected(server)?;
    stream.write_all(b"GET key\r\n")?;
    stream.shutdown(Shutdown::Write)?;
    let mut said = String::new();
    stream.read_to_string(&mut said).context("the server reset it")?;
    drop(stream);
    let to = said.strip_prefix("-MOVED ").and_then(|said| said.trim_end().split(' ').nth(1));
    let to: SocketAddr = to.with_context(|| format!("GET was answered by {said:?}"))?.parse()?;
    let socket = stream_socket(to)?;
    let result = connect(&socket, &to);
    report(getsockname(&socket).ok().and_then(|name| SocketAddr::try_from(name).ok()), result)
}

/// A connection of a client.
fn connected(server: SocketAddr) -> Result<TcpStream> {
    rustix::thread::set_name(c"client").context("cannot name the task")?;
    TcpStream::connect(server).with_context(|| format!("cannot connect to {server}"))
}

/// Makes a request, reads its answer, and waits for more than comes.
fn pause_after(stream: &mut TcpStream, request: &str) -> Result<()> {
    stream.write_all(format!("{request}\r\n").as_bytes())?;
    ensure!(stream.read(&mut [0; 64])? > 0, "the server closed");
    stream.set_read_timeout(Some(PATIENCE))?;
    match stream.read(&mut [0; 64]) {
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(()),
        other => anyhow::bail!("{request} was answered by more: {other:?}"),
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
