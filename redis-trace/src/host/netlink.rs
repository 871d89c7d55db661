//! Socket dumps: one question to the kernel's `sock_diag`, many answers.

use netlink_packet_core::{NLM_F_DUMP, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload};
use netlink_packet_sock_diag::SockDiagMessage;
use netlink_sys::protocols::NETLINK_SOCK_DIAG;
use netlink_sys::{Socket, SocketAddr};

/// The kernel fills at most this much at once.
const BUFFER: usize = 64 << 10;

/// The kernel's answers end here.
const HEADER: usize = 16;

/// Asks about sockets of the calling thread's namespace and hands out each answer.
pub(crate) fn dump(request: SockDiagMessage, each: impl FnMut(SockDiagMessage)) -> Result<(), String> {
    let socket = ask(request).map_err(|error| format!("The kernel's sock_diag could not be asked: {error}."))?;
    listen(&socket, each)
}

/// Sends the request.
fn ask(request: SockDiagMessage) -> std::io::Result<Socket> {
    let mut socket = Socket::new(NETLINK_SOCK_DIAG)?;
    socket.bind_auto()?;
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST | NLM_F_DUMP;
    let mut message = NetlinkMessage::new(header, NetlinkPayload::from(request));
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    socket.send_to(&bytes, &SocketAddr::new(0, 0), 0)?;
    Ok(socket)
}

/// Reads until the kernel says that was all.
fn listen(socket: &Socket, mut each: impl FnMut(SockDiagMessage)) -> Result<(), String> {
    let mut buffer = Vec::with_capacity(BUFFER);
    loop {
        buffer.clear();
        socket.recv_from(&mut buffer, 0).map_err(|error| format!("A socket dump broke off: {error}."))?;
        let mut rest = buffer.as_slice();
        while let Some((message, after)) = split(rest) {
            rest = after;
            // One socket whose name or attribute cannot be decoded must not hide the others.
            let Ok(message) = NetlinkMessage::<SockDiagMessage>::deserialize(message) else { continue };
            match message.payload {
                NetlinkPayload::InnerMessage(answer) => each(answer),
                NetlinkPayload::Error(error) if error.code.is_some() => {
                    return Err(format!("The kernel refused a socket dump: {}.", error.to_io()));
                }
                NetlinkPayload::Done(done) if done.code != 0 => {
                    let error = std::io::Error::from_raw_os_error(done.code.saturating_neg());
                    return Err(format!("The kernel ended a socket dump early: {error}."));
                }
                NetlinkPayload::Done(_) => return Ok(()),
                _ => {}
            }
        }
    }
}

/// The first message of a datagram, and what follows it.
fn split(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let length = usize::try_from(u32::from_ne_bytes(*bytes.first_chunk()?)).ok()?;
    if length < HEADER {
        return None;
    }
    let message = bytes.get(..length)?;
    Some((message, bytes.get(length.next_multiple_of(4)..).unwrap_or_default()))
}
