//! The ring of records, waited for by the runtime.
#![expect(unsafe_code, reason = "registering a file descriptor with the runtime is unsafe since tokio 1.53.3")]

use std::io;
use std::time::Duration;

use aya::maps::{MapData, RingBuf};
use redis_trace_common::record::WAKE_EVERY;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::task::yield_now;
use tokio::time::{Instant, sleep_until};

/// Records handed out before others may have their turn: a flood must not keep Ctrl-C waiting.
const TURN: usize = 256;
/// Probes do not wake us again so soon after they did: what came meanwhile is found by looking once more.
const LOOK_AGAIN: Duration = Duration::from_nanos(2 * WAKE_EVERY);

/// The ring, and the runtime's watch on it.
pub(super) struct Ring {
    records: AsyncFd<RingBuf<MapData>>,
    /// When to look although nobody woke us.
    look_at: Option<Instant>,
    /// More was there than could be handed out in one turn.
    is_behind: bool,
}

impl Ring {
    /// Registers the ring with the runtime this is called in.
    pub(super) fn new(ring: RingBuf<MapData>) -> io::Result<Self> {
        // SAFETY: a RingBuf owns its map's file descriptor and gives the same one as long as it lives; the AsyncFd takes it.
        let ring = unsafe { AsyncFd::register_with_interest(ring, Interest::READABLE) }?;
        Ok(Self { records: ring, look_at: None, is_behind: false })
    }

    /// Waits until there are records and hands out some.
    pub(super) async fn read(&mut self, mut each: impl FnMut(&[u8])) -> io::Result<()> {
        let is_woken = self.wait().await?;
        let mut count = 0;
        while count < TURN
            && let Some(record) = self.records.get_mut().next()
        {
            each(&record);
            count += 1;
        }
        self.is_behind = count == TURN;
        // After a wake-up, and as long as something comes, more may lie there soon without another.
        self.look_at = (is_woken || count > 0).then(|| Instant::now() + LOOK_AGAIN);
        Ok(())
    }

    /// Waits until the kernel wakes us, or it is time to look again; whether it was the kernel.
    async fn wait(&mut self) -> io::Result<bool> {
        if self.is_behind {
            // The runtime looks for signals, and for what else there is, when nothing keeps it busy.
            yield_now().await;
            return Ok(false);
        }
        let look_at = self.look_at;
        let timer = async {
            match look_at {
                Some(at) => sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            ready = self.records.readable() => {
                // The kernel wakes a reader anew for what comes after this.
                ready?.clear_ready();
                Ok(true)
            }
            () = timer => Ok(false),
        }
    }
}
