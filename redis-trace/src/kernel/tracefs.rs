//! The file system that numbers the tracepoints of system calls.

use std::io;
use std::path::Path;

use rustix::mount::{MountFlags, mount as mount_at};

/// Where it belongs, and where it was before Linux 4.1.
const PLACES: [&str; 2] = ["/sys/kernel/tracing", "/sys/kernel/debug/tracing"];

/// Mounts it where it belongs unless it is mounted, as systemd does at boot; it stays mounted, for others may use it by now.
pub(super) fn mount() -> io::Result<()> {
    if PLACES.iter().any(|place| Path::new(place).join("events").is_dir()) {
        return Ok(());
    }
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    mount_at("tracefs", PLACES[0], "tracefs", flags, None)
        .map_err(|error| io::Error::new(error.kind(), format!("tracefs is not mounted, and cannot be: {error}")))
}
