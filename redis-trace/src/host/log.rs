//! What the kernel and the audit daemon log.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::OpenOptionsExt as _;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::OFlags;

/// As much as is kept of what is read, the newest of it.
const BYTES: usize = 1 << 20;

/// The longest record that any `/dev/kmsg` gives (CONSOLE_EXT_LOG_MAX, later PRINTK_MESSAGE_MAX, of linux/printk.h).
const RECORD: usize = 8192;

/// So many records are read at a time; a kernel's log holds fewer.
const RECORDS: usize = 100_000;

/// The audit daemon's log.
const AUDIT: &str = "/var/log/audit/audit.log";

/// The kernel's log.
pub(super) struct KernelLog(File);

impl KernelLog {
    /// From its beginning; the error is a sentence.
    pub(super) fn open() -> Result<Self, String> {
        let flags = i32::try_from((OFlags::NONBLOCK | OFlags::CLOEXEC).bits()).unwrap_or_default();
        let log = OpenOptions::new().read(true).custom_flags(flags).open("/dev/kmsg");
        log.map(Self).map_err(|error| format!("the kernel's log may not be read: {error}"))
    }

    /// The records that it has and that were not read before: of more than a mebibyte the newest. Each is a line, and more of
    /// it may follow on lines that begin with a blank.
    pub(super) fn read(&mut self) -> String {
        let (mut text, mut record) = (Vec::new(), [0; RECORD]);
        for _ in 0..RECORDS {
            match self.0.read(&mut record) {
                Ok(0) => break,
                Ok(length) => text.extend_from_slice(&record[..length]),
                // EPIPE: the record was overwritten while we read; the next one is there.
                Err(error) if matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::InvalidInput) => {}
                // The log never ends: what is there is enough.
                Err(_) => break,
            }
            if text.len() > 2 * BYTES {
                text.drain(..text.len() - BYTES);
            }
        }
        String::from_utf8_lossy(&text).into_owned()
    }

    /// Waits for one more, so long at most; false when none came.
    pub(super) fn waits(&self, patience: Duration) -> bool {
        let patience = Timespec::try_from(patience).ok();
        poll(&mut [PollFd::new(&self.0, PollFlags::IN)], patience.as_ref()).is_ok_and(|ready| ready > 0)
    }
}

/// The end of the audit daemon's log; the error is a sentence.
pub(super) fn audit() -> Result<String, String> {
    let failed = |error| format!("{AUDIT} may not be read: {error}");
    let mut log = File::open(AUDIT).map_err(failed)?;
    let length = log.metadata().map_err(failed)?.len();
    log.seek(SeekFrom::Start(length.saturating_sub(BYTES as u64))).map_err(failed)?;
    let mut text = Vec::new();
    log.take(BYTES as u64).read_to_end(&mut text).map_err(failed)?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}
