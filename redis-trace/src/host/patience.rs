//! Looks that a hostile host can make last for ever: at a file system whose server does not answer (FUSE, NFS), or at the
//! memory of a process that is kept on one. They are made on threads of their own, and waited for only so long.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

/// So many looks may be stuck at once; beyond that nothing more is looked at in this way.
const STUCK_MAX: usize = 16;

/// Looks that are under way, stuck ones among them. The kernel's waits end with the process, whoever holds it.
static UNDER_WAY: AtomicUsize = AtomicUsize::new(0);

/// One of the looks that are under way.
struct Turn;

impl Turn {
    /// A turn, while there are not too many.
    fn take() -> Option<Self> {
        let turn = Self;
        (UNDER_WAY.fetch_add(1, Ordering::Relaxed) < STUCK_MAX).then_some(turn)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        UNDER_WAY.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What a look finds within this time; nothing when it takes longer, or too many others do.
pub(super) fn within<T: Send + 'static>(patience: Duration, look: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    let turn = Turn::take()?;
    let (tell, told) = mpsc::sync_channel(1);
    let work = move || {
        let found = look();
        drop(turn);
        // Whoever asked may have stopped waiting.
        let _ = tell.send(found);
    };
    thread::Builder::new().name("look".to_owned()).spawn(work).ok()?;
    told.recv_timeout(patience).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_found_in_time_is_told_and_what_hangs_is_left_behind() {
        assert_eq!(within(Duration::from_mins(1), || 7), Some(7));
        let (release, held) = mpsc::channel::<()>();
        assert_eq!(within(Duration::from_millis(10), move || held.recv().is_err()), None);
        drop(release);
    }
}
