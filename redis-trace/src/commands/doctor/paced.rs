//! A socket whose other end has so long for all that it is to say, however it spreads it: a limit of each read alone lets an
//! end that says a byte now and then hold on for hours.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

/// A socket whose reads and writes can be limited one by one.
pub(crate) trait Socket: Read + Write {
    /// The next read or write may take so long.
    fn limit(&self, rest: Duration) -> io::Result<()>;
}

impl Socket for TcpStream {
    fn limit(&self, rest: Duration) -> io::Result<()> {
        self.set_read_timeout(Some(rest)).and(self.set_write_timeout(Some(rest)))
    }
}

impl Socket for UnixStream {
    fn limit(&self, rest: Duration) -> io::Result<()> {
        self.set_read_timeout(Some(rest)).and(self.set_write_timeout(Some(rest)))
    }
}

/// A socket with an end to its patience.
#[derive(Debug)]
pub(crate) struct Paced<S> {
    socket: S,
    until: Instant,
}

impl<S: Socket> Paced<S> {
    /// From now on everything together may take so long.
    pub(crate) fn new(socket: S, patience: Duration) -> Self {
        Self { socket, until: Instant::now() + patience }
    }

    /// The same, anew.
    pub(crate) fn give(&mut self, patience: Duration) {
        self.until = Instant::now() + patience;
    }

    /// The socket, for so long as is left.
    fn in_time(&mut self) -> io::Result<&mut S> {
        let rest = self.until.saturating_duration_since(Instant::now());
        if rest.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        self.socket.limit(rest)?;
        Ok(&mut self.socket)
    }
}

impl<S: AsFd> AsFd for Paced<S> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl<S: Socket> Read for Paced<S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.in_time()?.read(buffer)
    }
}

impl<S: Socket> Write for Paced<S> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.in_time()?.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.socket.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_that_says_a_byte_now_and_then_is_not_heard_for_ever() {
        let (ours, mut theirs) = UnixStream::pair().expect("a pair");
        let began = Instant::now();
        std::thread::spawn(move || {
            while theirs.write_all(b"x").is_ok() {
                std::thread::sleep(Duration::from_millis(10));
            }
        });
        let mut ours = Paced::new(ours, Duration::from_millis(200));
        let error = ours.read_to_end(&mut Vec::new()).expect_err("it never ends by itself");
        assert!(matches!(error.kind(), io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock), "{error}");
        let took = began.elapsed();
        assert!((Duration::from_millis(200)..Duration::from_secs(2)).contains(&took), "{took:?}");
        ours.give(Duration::from_secs(2));
        assert!(ours.read(&mut [0]).expect("there is a byte") > 0);
    }
}
