//! Standard output that nobody may ever read: a thread of its own writes, so that a reader who is slow or stopped costs lines,
//! which are counted, and never holds up watching or the end.

use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use tokio::sync::Notify;

/// How long the end waits for what is still to be written.
const PATIENCE: Duration = Duration::from_secs(1);

/// What both threads see.
#[derive(Debug, Default)]
struct Shared {
    /// Bytes that wait.
    waiting: AtomicUsize,
    /// The reader went away.
    is_broken: AtomicBool,
    /// Told when it does.
    broken: Notify,
}

/// A writer that never waits.
#[derive(Debug)]
pub struct Pipe {
    chunk: Vec<u8>,
    /// Bytes that may wait to be written.
    room: usize,
    to: mpsc::Sender<Vec<u8>>,
    shared: Arc<Shared>,
}

/// The other end: to hear of the reader, and to wait for the writing at the end.
#[derive(Debug)]
pub struct Drain {
    shared: Arc<Shared>,
    done: mpsc::Receiver<()>,
}

/// A pipe into this in which so many bytes may wait, and its other end.
pub fn pipe(mut into: impl Write + Send + 'static, room: usize) -> (Pipe, Drain) {
    let (to, from) = mpsc::channel::<Vec<u8>>();
    let (is_done, done) = mpsc::channel();
    let shared = Arc::new(Shared::default());
    let theirs = Arc::clone(&shared);
    thread::spawn(move || {
        for chunk in from {
            // What cannot be written is lost with its reader, and that ends the run.
            if into.write_all(&chunk).and_then(|()| into.flush()).is_err() {
                theirs.is_broken.store(true, Ordering::Release);
                theirs.broken.notify_one();
                break;
            }
            theirs.waiting.fetch_sub(chunk.len(), Ordering::AcqRel);
        }
        // Whoever waited may have gone.
        let _ = is_done.send(());
    });
    (Pipe { chunk: Vec::new(), room, to, shared: Arc::clone(&shared) }, Drain { shared, done })
}

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.chunk.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    /// Hands over what was written since; an error when there is no room for it, and then it is gone.
    fn flush(&mut self) -> io::Result<()> {
        let chunk = std::mem::take(&mut self.chunk);
        if self.shared.is_broken.load(Ordering::Acquire) {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        if self.shared.waiting.load(Ordering::Acquire) + chunk.len() > self.room {
            return Err(io::Error::new(io::ErrorKind::WouldBlock, "whoever reads the output is too slow"));
        }
        self.shared.waiting.fetch_add(chunk.len(), Ordering::AcqRel);
        self.to.send(chunk).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

impl Drain {
    /// Waits until the reader has gone.
    pub async fn broken(&self) {
        self.shared.broken.notified().await;
    }

    /// Waits a moment for what is still to be written, once the pipe is gone; the bytes that then are not.
    pub fn finish(self) -> usize {
        let _ = self.done.recv_timeout(PATIENCE);
        if self.shared.is_broken.load(Ordering::Acquire) { 0 } else { self.shared.waiting.load(Ordering::Acquire) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Four chunks of a reader who reads nothing.
    const ROOM: usize = 4 << 20;

    #[test]
    fn what_is_written_arrives_in_order() {
        let (mut reader, writer) = io::pipe().expect("a pipe");
        let (mut pipe, drain) = pipe(writer, ROOM);
        for line in ["one\n", "two\n"] {
            pipe.write_all(line.as_bytes()).and_then(|()| pipe.flush()).expect("there is room");
        }
        drop(pipe);
        assert_eq!(drain.finish(), 0);
        let mut text = String::new();
        io::Read::read_to_string(&mut reader, &mut text).expect("text");
        assert_eq!(text, "one\ntwo\n");
    }

    #[test]
    fn a_reader_that_reads_nothing_costs_what_does_not_fit_and_no_time() {
        let (reader, writer) = io::pipe().expect("a pipe");
        let (mut pipe, drain) = pipe(writer, ROOM);
        let chunk = vec![b'x'; 1 << 20];
        let fits = (0..10).take_while(|_| pipe.write_all(&chunk).and_then(|()| pipe.flush()).is_ok()).count();
        assert_eq!(fits, 4);
        drop(pipe);
        assert!(drain.finish() > 0);
        drop(reader);
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_reader_that_goes_away_is_noticed_at_once() {
        let (reader, writer) = io::pipe().expect("a pipe");
        drop(reader);
        let (mut pipe, drain) = pipe(writer, ROOM);
        pipe.write_all(b"x").and_then(|()| pipe.flush()).expect("there is room");
        drain.broken().await;
        let error = pipe.write_all(b"x").and_then(|()| pipe.flush()).expect_err("nobody reads");
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
    }
}
