//! The ring of records, waited for by the runtime.
#![expect(unsafe_code, reason = "registering a file descriptor with the runtime is unsafe since tokio 1.53.3")]

use std::io;

use aya::maps::{MapData, RingBuf};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Records handed out before others may have their turn: a flood must not keep Ctrl-C waiting.
const TURN: usize = 4096;

/// The ring, and the runtime's watch on it.
pub(super) struct Ring {
    ring: AsyncFd<RingBuf<MapData>>,
}

impl Ring {
    /// Registers the ring with the runtime this is called in.
    pub(super) fn new(ring: RingBuf<MapData>) -> io::Result<Self> {
        // SAFETY: a RingBuf owns its map's file descriptor and gives the same one as long as it lives; the AsyncFd takes it.
        let ring = unsafe { AsyncFd::register_with_interest(ring, Interest::READABLE) }?;
        Ok(Self { ring })
    }

    /// Waits until there are records and hands out some.
    pub(super) async fn read(&mut self, mut each: impl FnMut(&[u8])) -> io::Result<()> {
        let mut ready = self.ring.readable_mut().await?;
        let ring = ready.get_inner_mut();
        for _ in 0..TURN {
            let Some(record) = ring.next() else {
                // The kernel wakes a reader that has read all there was: only then may the readiness be taken back.
                ready.clear_ready();
                break;
            };
            each(&record);
        }
        Ok(())
    }
}
