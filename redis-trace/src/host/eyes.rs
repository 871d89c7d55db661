//! The file system as another process sees it: its root, its working directory, its permissions. Every step is taken by
//! hand and no symbolic link is followed by the kernel, so a hostile root leads nowhere but into itself.

use std::collections::VecDeque;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use rustix::fs::{CWD, FileType, Mode, OFlags, Stat, fstat, getxattr_query, major, minor, openat, readlinkat};
use rustix::io::Errno;

use super::process::{self, Identity};
use super::unix_sockets::FileId;
use crate::trace::fact::Forbidden;
use crate::trace::text::Text;

/// As many symbolic links as the kernel follows (MAXSYMLINKS of include/linux/namei.h).
const MAX_LINKS: u32 = 40;

/// A process's view of the file system.
#[derive(Debug)]
pub(crate) struct Eyes {
    /// Its root.
    root: OwnedFd,
    /// Its working directory; absent when the process is gone.
    cwd: Option<OwnedFd>,
    /// What it may do; absent when that is not known well enough to say that it may not.
    who: Who,
}

/// Whose permissions count.
#[derive(Clone, Debug)]
struct Who {
    /// User.
    user: u32,
    /// Groups; absent when not known.
    groups: Option<Vec<u32>>,
    /// Permission bits do not bind it.
    overrides: bool,
}

/// What stands behind a path.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    /// Something exists there; absent when that could not be found out.
    pub(crate) exists: Option<bool>,
    /// It is a socket.
    pub(crate) is_socket: Option<bool>,
    /// Which file it is.
    pub(crate) file: Option<FileId>,
    /// The first part that may not be searched or written.
    pub(crate) forbidden: Option<Forbidden>,
}

impl Eyes {
    /// Those of a process that lives and runs as this user.
    pub(crate) fn of(pid: u32, uid: u32) -> Option<Self> {
        let Identity { fsuid, groups, overrides, .. } =
            process::identity(pid).filter(|identity| identity.uid == uid)?;
        let root = directory(&format!("/proc/{pid}/root"))?;
        let cwd = directory(&format!("/proc/{pid}/cwd"));
        Some(Self { root, cwd, who: Who { user: fsuid, groups: Some(groups), overrides } })
    }

    /// Those of a user whose process is gone, and that saw the same root as this path leads to.
    pub(crate) fn of_user(root: &str, uid: u32) -> Option<Self> {
        let who = Who { user: uid, groups: None, overrides: uid == 0 };
        Some(Self { root: directory(root)?, cwd: None, who })
    }

    /// What stands behind a path that this process would dial.
    pub(crate) fn look(&self, path: &[u8]) -> Seen {
        let start = if path.starts_with(b"/") { Some(&self.root) } else { self.cwd.as_ref() };
        start.and_then(|start| Walk::new(self, start, path)).and_then(Walk::run).unwrap_or_default()
    }
}

/// A path on its way to the file behind it.
struct Walk<'a> {
    eyes: &'a Eyes,
    /// The directory reached.
    here: OwnedFd,
    /// Its path, for people.
    shown: Vec<Vec<u8>>,
    /// What is still to go.
    ahead: VecDeque<Vec<u8>>,
    links: u32,
    forbidden: Option<Forbidden>,
}

impl<'a> Walk<'a> {
    fn new(eyes: &'a Eyes, start: &OwnedFd, path: &[u8]) -> Option<Self> {
        let shown = if path.starts_with(b"/") { vec![Vec::new()] } else { vec![b".".to_vec()] };
        Some(Self { eyes, here: start.try_clone().ok()?, shown, ahead: parts(path), links: 0, forbidden: None })
    }

    /// Goes to the end; absent when something is in the way that says nothing of the path.
    fn run(mut self) -> Option<Seen> {
        while let Some(part) = self.ahead.pop_front() {
            self.check(&fstat(&self.here).ok()?, self.here.as_raw_fd(), None);
            if part == b".." {
                self.up()?;
                continue;
            }
            let next = match openat(
                &self.here,
                part.as_slice(),
                OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC,
                Mode::empty(),
            ) {
                Ok(next) => next,
                Err(Errno::NOENT | Errno::NOTDIR) => return Some(self.end(Some(false), None, None)),
                Err(_) => return Some(self.end(None, None, None)),
            };
            let stat = fstat(&next).ok()?;
            match FileType::from_raw_mode(stat.st_mode) {
                FileType::Symlink => self.follow(&next)?,
                FileType::Directory => {
                    self.here = next;
                    self.shown.push(part);
                }
                _ if !self.ahead.is_empty() => return Some(self.end(Some(false), None, None)),
                kind => {
                    self.check(&stat, next.as_raw_fd(), Some(&part));
                    return Some(self.end(Some(true), Some(kind == FileType::Socket), Some(file_id(&stat))));
                }
            }
        }
        Some(self.end(Some(true), Some(false), None))
    }

    fn end(self, exists: Option<bool>, is_socket: Option<bool>, file: Option<FileId>) -> Seen {
        Seen { exists, is_socket, file, forbidden: self.forbidden }
    }

    /// To the parent; the root is its own.
    fn up(&mut self) -> Option<()> {
        let (here, root) = (fstat(&self.here).ok()?, fstat(&self.eyes.root).ok()?);
        if (here.st_dev, here.st_ino) != (root.st_dev, root.st_ino) {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            self.here = openat(&self.here, "..", flags, Mode::empty()).ok()?;
            if self.shown.len() > 1 {
                self.shown.pop();
            } else {
                self.shown.insert(0, b"..".to_vec());
            }
        }
        Some(())
    }

    /// Along a symbolic link, which counts from the process's own root.
    fn follow(&mut self, link: &OwnedFd) -> Option<()> {
        self.links += 1;
        let target = readlinkat(link, "", Vec::new()).ok().filter(|_| self.links <= MAX_LINKS)?;
        let target = target.as_bytes();
        if target.starts_with(b"/") {
            self.here = self.eyes.root.try_clone().ok()?;
            self.shown = vec![Vec::new()];
        }
        for part in parts(target).into_iter().rev() {
            self.ahead.push_front(part);
        }
        Some(())
    }

    /// Remembers the first place where this user's permission ends: a directory must be searched, what is dialled (it
    /// has a name yet) must be written.
    fn check(&mut self, stat: &Stat, file: RawFd, name: Option<&Vec<u8>>) {
        let need = if name.is_some() { Mode::WUSR } else { Mode::XUSR };
        if self.forbidden.is_none() && !self.eyes.who.may(stat, need) && !has_acl(file) {
            let path = self.shown.iter().chain(name).cloned().collect::<Vec<_>>().join(&b'/');
            let path = if path.is_empty() { Text::from("/") } else { Text::new(&path) };
            self.forbidden = Some(Forbidden { path, mode: stat.st_mode & 0o7777, uid: stat.st_uid, gid: stat.st_gid });
        }
    }
}

impl Who {
    /// Whether the permission bits let this user search or write. Where its groups are not known, the better of group and
    /// others counts: nothing is forbidden on suspicion.
    fn may(&self, stat: &Stat, need: Mode) -> bool {
        let allows = |shift: u32| (stat.st_mode << shift) & need.as_raw_mode() != 0;
        let (owner, group, others) = (allows(0), allows(3), allows(6));
        match &self.groups {
            _ if self.overrides => true,
            _ if stat.st_uid == self.user => owner,
            Some(groups) if groups.contains(&stat.st_gid) => group,
            Some(_) => others,
            None => group || others,
        }
    }
}

/// An access control list may allow what the bits do not.
fn has_acl(file: RawFd) -> bool {
    getxattr_query(format!("/proc/self/fd/{file}"), "system.posix_acl_access").is_ok_and(|size| size > 0)
}

/// A directory, by a link of `/proc/PID` or a path.
fn directory(path: &str) -> Option<OwnedFd> {
    openat(CWD, path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).ok()
}

/// The parts of a path that lead somewhere.
fn parts(path: &[u8]) -> VecDeque<Vec<u8>> {
    path.split(|byte| *byte == b'/').filter(|part| !part.is_empty() && *part != b".").map(<[u8]>::to_vec).collect()
}

/// A file as `unix_diag` names it.
fn file_id(stat: &Stat) -> FileId {
    let device = major(stat.st_dev) << 20 | minor(stat.st_dev);
    #[expect(clippy::cast_possible_truncation, reason = "unix_diag tells 32 bits of an inode")]
    let inode = stat.st_ino as u32;
    FileId { device, inode }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::os::unix::net::UnixListener;
    use std::path::Path;

    use super::*;

    /// An ordinary user who sees this directory as the root of all.
    fn nobody_in(root: &Path) -> Eyes {
        let who = Who { user: 65534, groups: Some(vec![65534]), overrides: false };
        Eyes { root: directory(root.to_str().expect("a path")).expect("it exists"), cwd: None, who }
    }

    /// A directory that anybody may search.
    fn open_directory() -> tempfile::TempDir {
        let directory = tempfile::tempdir().expect("a directory");
        fs::set_permissions(&directory, PermissionsExt::from_mode(0o755)).expect("a mode");
        directory
    }

    #[test]
    fn a_socket_a_file_a_directory_and_nothing_are_told_apart() {
        let root = open_directory();
        let _listener = UnixListener::bind(root.path().join("s")).expect("a socket");
        fs::write(root.path().join("f"), "").expect("a file");
        let eyes = nobody_in(root.path());
        let kind = |path: &str| {
            let seen = eyes.look(path.as_bytes());
            (seen.exists, seen.is_socket)
        };
        assert_eq!(kind("/s"), (Some(true), Some(true)));
        assert_eq!(kind("//./s"), (Some(true), Some(true)));
        assert_eq!(kind("/f"), (Some(true), Some(false)));
        assert_eq!(kind("/"), (Some(true), Some(false)));
        assert_eq!(kind("/nothing"), (Some(false), None));
        assert_eq!(kind("/f/s"), (Some(false), None));
        assert_eq!(kind("s"), (None, None), "the working directory of a process that is gone is not known");
    }

    #[test]
    fn no_link_leads_out_of_the_root() {
        let (root, outside) = (open_directory(), open_directory());
        let _listener = UnixListener::bind(outside.path().join("s")).expect("a socket");
        symlink(outside.path().join("s"), root.path().join("out")).expect("a link");
        symlink("../../../../../../../../etc/passwd", root.path().join("up")).expect("a link");
        symlink("loop", root.path().join("loop")).expect("a link");
        fs::create_dir(root.path().join("etc")).expect("a directory");
        let eyes = nobody_in(root.path());
        assert_eq!(eyes.look(b"/out").exists, Some(false));
        assert_eq!(eyes.look(b"/up").exists, Some(false));
        assert_eq!(eyes.look(b"/loop").exists, None);
        symlink("/etc/../s", root.path().join("inside")).expect("a link");
        let _inside = UnixListener::bind(root.path().join("s")).expect("a socket");
        assert_eq!(eyes.look(b"/inside").is_socket, Some(true));
    }

    #[test]
    fn the_first_part_that_is_closed_to_a_user_is_named() {
        let root = open_directory();
        let closed = root.path().join("closed");
        fs::create_dir(&closed).expect("a directory");
        let listener = UnixListener::bind(closed.join("s")).expect("a socket");
        fs::set_permissions(closed.join("s"), PermissionsExt::from_mode(0o777)).expect("a mode");
        let eyes = nobody_in(root.path());
        let forbidden = |mode: u32, socket: u32| {
            fs::set_permissions(&closed, PermissionsExt::from_mode(mode)).expect("a mode");
            fs::set_permissions(closed.join("s"), PermissionsExt::from_mode(socket)).expect("a mode");
            eyes.look(b"/closed/s").forbidden.map(|part| (part.path.as_str().to_owned(), part.mode))
        };
        assert_eq!(forbidden(0o000, 0o777), Some(("/closed".to_owned(), 0o000)));
        assert_eq!(forbidden(0o750, 0o700), Some(("/closed".to_owned(), 0o750)));
        assert_eq!(forbidden(0o755, 0o770), Some(("/closed/s".to_owned(), 0o770)));
        assert_eq!(forbidden(0o755, 0o777), None);
        drop(listener);
    }

    #[test]
    fn a_user_whose_groups_are_not_known_is_not_accused_on_suspicion() {
        let root = open_directory();
        let _listener = UnixListener::bind(root.path().join("s")).expect("a socket");
        let gone = Eyes::of_user(root.path().to_str().expect("a path"), 65534).expect("it exists");
        let forbidden = |mode: u32| {
            fs::set_permissions(root.path().join("s"), PermissionsExt::from_mode(mode)).expect("a mode");
            gone.look(b"/s").forbidden.is_some()
        };
        assert!(!forbidden(0o770));
        assert!(forbidden(0o700));
    }

    #[test]
    fn a_living_process_sees_relative_to_where_it_works() {
        let directory = open_directory();
        let _listener = UnixListener::bind(directory.path().join("s")).expect("a socket");
        let mut command = std::process::Command::new("/bin/cat");
        let mut child = command.current_dir(&directory).stdin(std::process::Stdio::piped()).spawn().expect("cat");
        let uid = rustix::process::getuid().as_raw();
        let eyes = Eyes::of(child.id(), uid).expect("it lives");
        assert_eq!(eyes.look(b"s").is_socket, Some(true));
        assert_eq!(eyes.look(b"../s").exists, Some(false));
        assert!(Eyes::of(child.id(), uid + 1).is_none(), "that is somebody else with the same id");
        drop(child.stdin.take());
        child.wait().expect("cat ends");
    }
}
