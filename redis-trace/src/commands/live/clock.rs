//! The wall clock, and the kernel's word that it was set.

use std::io;
use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use tokio::sync::mpsc;

use super::sandbox::{self, Part};
use crate::cli::Sandbox;
use crate::failure::{Exit, Failure};
use crate::host;
use crate::trace::fact::{Fact, What};

/// What it reads now.
pub(super) fn reading() -> Fact {
    Fact { time: host::boottime(), what: What::Clock { unix_ns: host::wall() } }
}

/// Hears when it is set: by hand, by NTP's steps, at a leap second, after a suspend. Drift moves the boot clock as well.
pub(super) struct Clock(mpsc::UnboundedReceiver<Fact>);

impl Clock {
    /// Begins to listen, on a thread of its own: when it was set must be known to the moment, whatever else is to be done.
    pub(super) fn listen(sandbox: Sandbox) -> Result<Self, Failure> {
        let cannot = |why| Failure::new(Exit::Bug, format!("cannot hear when the wall clock is set: {why}"));
        let timer = timer().map_err(cannot)?;
        let (told, settings) = mpsc::unbounded_channel();
        sandbox::thread(Part::Teller(None), sandbox, move || while is_set(&timer) && told.send(reading()).is_ok() {})?;
        Ok(Self(settings))
    }

    /// Waits until it is set; what it read then. May be dropped while it waits without losing any.
    pub(super) async fn set(&mut self) -> Fact {
        match self.0.recv().await {
            Some(setting) => setting,
            None => std::future::pending().await,
        }
    }
}

/// A timer that never ends, and is cancelled when the clock is set.
fn timer() -> io::Result<OwnedFd> {
    let timer = timerfd_create(TimerfdClockId::Realtime, TimerfdFlags::CLOEXEC)?;
    let never = Timespec { tv_sec: i64::MAX, tv_nsec: 0 };
    let once = Timespec { tv_sec: 0, tv_nsec: 0 };
    let flags = TimerfdTimerFlags::ABSTIME | TimerfdTimerFlags::CANCEL_ON_SET;
    timerfd_settime(&timer, flags, &Itimerspec { it_interval: once, it_value: never })?;
    Ok(timer)
}

/// Waits until the clock is set; false when the kernel will not say so any more.
fn is_set(timer: &OwnedFd) -> bool {
    loop {
        match rustix::io::read(timer, &mut [0_u8; 8]) {
            Err(Errno::CANCELED) => return true,
            Err(Errno::INTR) => {}
            Ok(_) | Err(_) => return false,
        }
    }
}
