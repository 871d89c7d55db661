//! The files of a process that is gone: through its parent, which most often shares its root and working directory, or
//! through another process of its container.

use std::fs::File;
use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::time::{Duration, UNIX_EPOCH};

use glob::{MatchOptions, Pattern};
use rustix::fs::{CWD, Dir, FileType, Mode, OFlags, ResolveFlags, fstat, openat, openat2};

use super::{clock, process};
use crate::trace::container::{self, Container};
use crate::trace::fact::ProcessKey;
use crate::trace::text::Text;

/// A root, and a directory below it.
#[derive(Debug)]
pub(crate) struct Scene {
    root: OwnedFd,
    /// Relative paths count from here; absent when nobody knows.
    pub(crate) cwd: Option<Vec<u8>>,
    /// What the process was called inside its own process namespace.
    pub(super) inner_pid: u32,
    /// systemd started it, perhaps with a `/tmp` of its own.
    of_systemd: bool,
    /// What lies below it is shown without it.
    base: Option<Vec<u8>>,
}

impl Scene {
    /// Where a process that is gone lived. Nothing, when it lived in a container of which nobody is left.
    pub(super) fn of(process: ProcessKey, cgroup: Option<&Text>, parent: u32) -> Option<Self> {
        // An id that was given to somebody younger is no parent.
        let parent = process::stat(parent).filter(|stat| stat.start <= process.start()).map(|_| parent);
        let inherited = parent.and_then(process::cgroup);
        match container_of(cgroup.or(inherited.as_ref())) {
            None => {
                let root = parent.and_then(root_of).or_else(|| root("/"))?;
                // systemd starts its units in the root directory.
                let of_systemd = parent == Some(1);
                let cwd = if of_systemd { Some(b"/".to_vec()) } else { parent.and_then(cwd_of) };
                Some(Self { root, cwd, inner_pid: process.pid, of_systemd, base: None })
            }
            Some(home) => {
                let lives_there = |pid: &u32| container_of(process::cgroup(*pid).as_ref()).as_ref() == Some(&home);
                let witness = parent.filter(lives_there).or_else(|| process::ids().into_iter().find(lives_there))?;
                // The one process of a container is its number one.
                Some(Self {
                    root: root_of(witness)?,
                    cwd: cwd_of(witness),
                    inner_pid: 1,
                    of_systemd: false,
                    base: None,
                })
            }
        }
    }

    /// Where this very process lives.
    pub(crate) fn here() -> std::io::Result<Self> {
        let root = root("/").ok_or(ErrorKind::PermissionDenied)?;
        let cwd = std::env::current_dir().ok().map(|cwd| cwd.into_os_string().into_vec());
        let base = cwd.clone();
        Ok(Self { root, cwd, inner_pid: std::process::id(), of_systemd: false, base })
    }

    /// The paths that fit a pattern of a shell, in the order of their names.
    pub(super) fn matches(&self, pattern: &[u8], most: usize) -> Vec<Vec<u8>> {
        let mut paths = vec![Vec::new()];
        for part in pattern.split(|byte| *byte == b'/').filter(|part| !part.is_empty()) {
            let below = paths.iter().flat_map(|path: &Vec<u8>| {
                let names = if part.iter().any(|byte| b"*?[".contains(byte)) {
                    self.names(path, part)
                } else {
                    vec![part.to_vec()]
                };
                names.into_iter().map(move |name| [path.as_slice(), b"/", &name].concat())
            });
            paths = below.take(most).collect();
        }
        paths
    }

    /// The names in a directory that fit a pattern.
    fn names(&self, directory: &[u8], pattern: &[u8]) -> Vec<Vec<u8>> {
        let Ok(pattern) = Pattern::new(&String::from_utf8_lossy(pattern)) else { return Vec::new() };
        let options = MatchOptions { require_literal_leading_dot: true, ..MatchOptions::new() };
        let directory = if directory.is_empty() { b"/" } else { directory };
        let opened = self.resolve(directory, OFlags::RDONLY | OFlags::DIRECTORY).and_then(|fd| Ok(Dir::read_from(fd)?));
        let entries = opened.into_iter().flatten().filter_map(Result::ok);
        let names = entries.map(|entry| entry.file_name().to_bytes().to_vec());
        let fits = |name: &Vec<u8>| pattern.matches_with(&String::from_utf8_lossy(name), options);
        let mut names: Vec<Vec<u8>> = names.filter(|name| name != b"." && name != b"..").filter(fits).collect();
        names.sort_unstable();
        names
    }

    /// A path as people of this scene write it.
    pub(crate) fn shown(&self, path: &[u8]) -> Text {
        let below = self.base.as_ref().and_then(|base| path.strip_prefix(base.as_slice())?.strip_prefix(b"/"));
        Text::new(below.unwrap_or(path))
    }

    /// The file as an absolute path of this root.
    pub(crate) fn absolute(&self, path: &[u8]) -> Option<Vec<u8>> {
        join(self.cwd.as_deref(), path)
    }

    /// The beginning of a file.
    pub(crate) fn read(&self, path: &[u8], limit: u64) -> std::io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.open(path, OFlags::empty())?.take(limit).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// The end of a file that was written to since this moment.
    pub(super) fn read_end(&self, path: &[u8], limit: u64, since: u64) -> std::io::Result<Vec<u8>> {
        let mut file = self.open(path, OFlags::NOFOLLOW)?;
        let metadata = file.metadata()?;
        let start = clock::wall() - i64::try_from(clock::boottime().saturating_sub(since)).unwrap_or(i64::MAX);
        let start = UNIX_EPOCH + Duration::from_nanos(u64::try_from(start).unwrap_or_default());
        let mut bytes = Vec::new();
        // A start is known to a tick, and a file system's clock runs a tick late.
        if metadata.modified()? + Duration::from_millis(20) >= start {
            file.seek(SeekFrom::Start(metadata.len().saturating_sub(limit)))?;
            file.take(limit).read_to_end(&mut bytes)?;
        }
        Ok(bytes)
    }

    /// Nothing has this path.
    pub(crate) fn is_missing(&self, path: &[u8]) -> bool {
        self.resolve(path, OFlags::PATH).is_err_and(|error| error.kind() == ErrorKind::NotFound)
    }

    /// A regular file, never anything that could block or that leads out of the root. What it is is seen before it is
    /// opened: a device may do something when it is opened (a watchdog begins to count).
    fn open(&self, path: &[u8], more: OFlags) -> std::io::Result<File> {
        let place = self.resolve(path, OFlags::PATH | more)?;
        if FileType::from_raw_mode(fstat(&place)?.st_mode) != FileType::RegularFile {
            return Err(ErrorKind::InvalidInput.into());
        }
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let itself = format!("/proc/self/fd/{}", place.as_raw_fd());
        Ok(File::from(openat(CWD, itself, flags, Mode::empty())?))
    }

    /// Whatever has this path in this root.
    fn resolve(&self, path: &[u8], flags: OFlags) -> std::io::Result<OwnedFd> {
        if self.of_systemd && (path.starts_with(b"/tmp/") || path.starts_with(b"/var/tmp/")) {
            return Err(ErrorKind::Unsupported.into());
        }
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        Ok(openat2(&self.root, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve)?)
    }
}

/// A path from a directory.
pub(super) fn join(directory: Option<&[u8]>, path: &[u8]) -> Option<Vec<u8>> {
    if path.starts_with(b"/") { Some(path.to_vec()) } else { Some([directory?, b"/", path].concat()) }
}

/// The container of a cgroup.
fn container_of(cgroup: Option<&Text>) -> Option<Container> {
    container::of(cgroup?).0
}

/// The root of a living process.
fn root_of(pid: u32) -> Option<OwnedFd> {
    root(&format!("/proc/{pid}/root"))
}

fn root(path: &str) -> Option<OwnedFd> {
    openat(CWD, path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).ok()
}

/// The working directory of a living process, as a path below its root.
fn cwd_of(pid: u32) -> Option<Vec<u8>> {
    let link = |name: &str| std::fs::read_link(format!("/proc/{pid}/{name}")).ok();
    let (root, cwd) = (link("root")?, link("cwd")?);
    let below = cwd.strip_prefix(&root).map(|path| path.as_os_str().as_bytes().to_vec());
    Some(below.map_or_else(|_| cwd.into_os_string().into_vec(), |below| [b"/", below.as_slice()].concat()))
}
