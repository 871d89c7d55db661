//! The file system that numbers the tracepoints of system calls, seen without changing what others see.

use std::io;
use std::path::Path;
use std::thread;

use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_change};
use rustix::thread::UnshareFlags;

/// Where it belongs, and where it was before Linux 4.1.
const PLACES: [&str; 2] = ["/sys/kernel/tracing", "/sys/kernel/debug/tracing"];

/// Does `work` where tracefs is mounted: here when it is, else in a thread with a mount namespace of its own, which ends with
/// the thread. Where that is not allowed, `work` finds no tracefs.
pub(super) fn within<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    if PLACES.iter().any(|place| Path::new(place).join("events").is_dir()) {
        return work();
    }
    thread::scope(|scope| {
        let apart = scope.spawn(|| {
            // Only system call hooks need it, and each says for itself what it lacks.
            let _ = mount_apart("tracefs", PLACES[0]);
            work()
        });
        apart.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// Mounts one of the kernel's file systems for this thread alone.
pub(super) fn mount_apart(kind: &str, place: &str) -> io::Result<()> {
    #[expect(deprecated, reason = "the newer name is unsafe for UnshareFlags::FILES alone")]
    rustix::thread::unshare(UnshareFlags::NEWNS)?;
    mount_change("/", MountPropagationFlags::REC | MountPropagationFlags::PRIVATE)?;
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    Ok(mount(kind, place, kind, flags, None)?)
}
