//! Whether the run before this one came to its end. That is noted only where whoever starts the program gives it a directory
//! for it, as systemd does (`RuntimeDirectory=`); nothing is written anywhere else.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::Path;

use jiff::Timestamp;

/// What names the directory, or several: systemd.exec(5).
const DIRECTORY: &str = "RUNTIME_DIRECTORY";
/// The file there.
const FILE: &str = "run";
/// How it begins while a run lasts, and when it is over: of one length, so that one can be written over the other.
const LASTS: &str = "lasts";
const ENDED: &str = "ended";
/// A file that is longer is none of ours.
const LONGEST: u64 = 128;

/// A run that has begun; its end is noted when this goes, which it does however the program ends by itself.
pub struct Run(Option<File>);

impl Run {
    /// Notes that a run begins, and says so when the one before never came to its end.
    pub fn begin() -> io::Result<(Self, Option<String>)> {
        let directories = std::env::var_os(DIRECTORY).unwrap_or_default();
        match std::env::split_paths(&directories).find(|directory| directory.is_absolute()) {
            Some(directory) => Self::begin_in(&directory),
            None => Ok((Self(None), None)),
        }
    }

    fn begin_in(directory: &Path) -> io::Result<(Self, Option<String>)> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600).custom_flags(libc::O_NOFOLLOW);
        let file = options.open(directory.join(FILE))?;
        let mut before = String::new();
        // What is no text was not written here.
        let _ = (&file).take(LONGEST).read_to_string(&mut before);
        file.set_len(0)?;
        file.write_all_at(format!("{LASTS} {} {}\n", std::process::id(), Timestamp::now()).as_bytes(), 0)?;
        Ok((Self(Some(file)), said_of(&before)))
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        if let Some(file) = &self.0 {
            // Whoever cannot write it is told of an end that there was: better than of none that there was not.
            let _ = file.write_all_at(ENDED.as_bytes(), 0);
        }
    }
}

/// What there is to say of the run that this was noted of.
fn said_of(noted: &str) -> Option<String> {
    let mut words = noted.split_whitespace();
    if words.next()? != LASTS {
        return None;
    }
    let (pid, since): (u32, Timestamp) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    Some(format!(
        "the run before (pid {pid}, since {since}) never came to its end: it was killed, or it crashed. What was refused since \
         then was not seen"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_run_that_never_ended_is_told_of() {
        let directory = tempfile::tempdir().expect("a directory");
        let begin = || Run::begin_in(directory.path()).expect("it is ours");
        let (first, before) = begin();
        assert_eq!(before, None);
        drop(first);
        let (second, before) = begin();
        assert_eq!(before, None);
        std::mem::forget(second);
        let (_, before) = begin();
        let told = before.expect("the second was killed");
        assert!(told.contains(&format!("(pid {}, since 2", std::process::id())), "{told}");
    }

    #[test]
    fn what_somebody_else_wrote_is_no_run() {
        for noted in ["", "lasts", "lasts 7", "lasts \u{1b}[2J 2026-01-01T00:00:00Z", "lasts 7 yesterday", "ended 7"] {
            assert_eq!(said_of(noted), None, "{noted}");
        }
    }

    #[test]
    fn a_link_is_not_followed() {
        let directory = tempfile::tempdir().expect("a directory");
        let elsewhere = directory.path().join("elsewhere");
        std::fs::write(&elsewhere, "untouched").expect("a file");
        std::os::unix::fs::symlink(&elsewhere, directory.path().join(FILE)).expect("a link");
        assert!(Run::begin_in(directory.path()).is_err());
        assert_eq!(std::fs::read_to_string(elsewhere).expect("a file"), "untouched");
    }
}
