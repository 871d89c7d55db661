//! Who holds a socket: the processes whose file descriptors name its inode.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::mem::MaybeUninit;
use std::sync::Arc;

use rustix::fs::{CWD, Mode, OFlags, RawDir, openat, readlinkat, readlinkat_raw};

use super::process::{self, Stat};
use crate::trace::fact::Process;

/// So many descriptors are read for one question before it stays unanswered: a third of a second's work.
const DESCRIPTORS_PER_QUESTION: usize = 200_000;

/// So many sockets are remembered with who holds them.
const PLACES: usize = 100_000;

/// Processes that were seen to hold a listener, and so will probably hold the next one asked about.
#[derive(Debug, Default)]
pub(crate) struct Owners {
    /// Their ids.
    known: BTreeSet<u32>,
    /// Where sockets were found, by inode: one look there tells whether that still holds.
    places: HashMap<u64, Place>,
}

/// A file descriptor of a process.
#[derive(Clone, Copy, Debug)]
struct Place {
    pid: u32,
    fd: u32,
}

impl Place {
    /// Whether this socket is there.
    fn has(self, inode: u64) -> bool {
        let link = format!("/proc/{}/fd/{}", self.pid, self.fd);
        readlinkat(CWD, link, Vec::new()).is_ok_and(|target| socket_inode(target.as_bytes()) == Some(inode))
    }
}

impl Owners {
    /// The owner of each of these sockets, after a look at every descriptor of every process.
    pub(crate) fn of_all(&mut self, inodes: &HashSet<u64>, pids: &[u32]) -> HashMap<u64, Arc<Process>> {
        self.forget_others_than(pids);
        let mut eldest = HashMap::<u64, (u64, Place)>::new();
        for &pid in pids {
            let mut start = None;
            each_socket(pid, |inode, fd| {
                if inodes.contains(&inode)
                    && let Some(start) = *start.get_or_insert_with(|| process::stat(pid).map(|stat| stat.start))
                {
                    let place = Place { pid, fd };
                    let first = eldest.entry(inode).or_insert((start, place));
                    if (is_manager(pid), start) < (is_manager(first.1.pid), first.0) {
                        *first = (start, place);
                    }
                }
                true
            });
        }
        self.describe(eldest.into_iter().map(|(inode, (_, place))| (inode, place)))
    }

    /// The owner of each of these few sockets: known places and owners are looked at first, and the search ends with the
    /// last socket.
    pub(crate) fn of_few(&mut self, inodes: &HashSet<u64>, pids: &[u32]) -> HashMap<u64, Arc<Process>> {
        self.forget_others_than(pids);
        let still_there = |inode: &u64| Some((*inode, *self.places.get(inode).filter(|place| place.has(*inode))?));
        let mut holders: HashMap<u64, Place> = inodes.iter().filter_map(still_there).collect();
        let mut missing: HashSet<u64> = inodes.iter().filter(|inode| !holders.contains_key(inode)).copied().collect();
        let mut budget = DESCRIPTORS_PER_QUESTION;
        let strangers = pids.iter().filter(|pid| !self.known.contains(pid));
        // Init holds the sockets of every unit that systemd starts on demand: it is the owner when nobody else is.
        let (managers, others): (Vec<u32>, Vec<u32>) =
            self.known.iter().chain(strangers).partition(|pid| is_manager(**pid));
        for pid in others.into_iter().chain(managers) {
            if missing.is_empty() || budget == 0 {
                break;
            }
            each_socket(pid, |inode, fd| {
                budget = budget.saturating_sub(1);
                if missing.remove(&inode) {
                    holders.insert(inode, eldest_holder(inode, Place { pid, fd }));
                }
                !missing.is_empty() && budget > 0
            });
        }
        self.describe(holders.into_iter())
    }

    /// What is gone owns nothing.
    fn forget_others_than(&mut self, pids: &[u32]) {
        self.known.retain(|pid| pids.binary_search(pid).is_ok());
    }

    /// Looks each process up once, and remembers it and what it holds.
    fn describe(&mut self, holders: impl Iterator<Item = (u64, Place)>) -> HashMap<u64, Arc<Process>> {
        let mut seen = HashMap::<u32, Option<Arc<Process>>>::new();
        let mut owners = HashMap::new();
        for (inode, place) in holders {
            let described = seen.entry(place.pid).or_insert_with(|| process::describe(place.pid).map(Arc::new));
            if let Some(process) = described {
                owners.insert(inode, Arc::clone(process));
                self.remember(inode, place);
            }
        }
        self.known.extend(seen.into_iter().filter_map(|(pid, process)| process.map(|_| pid)));
        owners
    }

    /// Remembers where a socket is. What init holds may any time be somebody else's too, who then owns it.
    fn remember(&mut self, inode: u64, place: Place) {
        if self.places.len() >= PLACES {
            self.places.clear();
        }
        if !is_manager(place.pid) {
            self.places.insert(inode, place);
        }
    }
}

/// Where the process has a socket that a fork (a background save, a worker) has it from.
fn eldest_holder(inode: u64, place: Place) -> Place {
    let mut eldest = place;
    while let Some(Stat { parent, .. }) = process::stat(eldest.pid)
        && parent != 0
        && !is_manager(parent)
        && let Some(fd) = descriptor(parent, inode)
    {
        eldest = Place { pid: parent, fd };
    }
    eldest
}

/// Whether a process has this socket open.
pub(crate) fn holds(pid: u32, wanted: u64) -> bool {
    descriptor(pid, wanted).is_some()
}

/// A descriptor by which a process has this socket open.
fn descriptor(pid: u32, wanted: u64) -> Option<u32> {
    let mut found = None;
    each_socket(pid, |inode, fd| {
        found = (inode == wanted).then_some(fd);
        found.is_none()
    });
    found
}

/// Init, which opens sockets on behalf of others.
fn is_manager(pid: u32) -> bool {
    pid == 1
}

/// Hands out the inode and the descriptor of every socket a process has open, until told to stop. A process that is gone
/// has none.
fn each_socket(pid: u32, mut more: impl FnMut(u64, u32) -> bool) {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let Ok(directory) = openat(CWD, format!("/proc/{pid}/fd"), flags, Mode::empty()) else { return };
    let mut buffer = [MaybeUninit::uninit(); 16 << 10];
    let mut entries = RawDir::new(&directory, &mut buffer);
    while let Some(Ok(entry)) = entries.next() {
        let mut link = [MaybeUninit::uninit(); 32];
        let Ok((target, _)) = readlinkat_raw(&directory, entry.file_name(), &mut link) else { continue };
        if let Some(inode) = socket_inode(target)
            && let Some(fd) = entry.file_name().to_str().ok().and_then(|name| name.parse().ok())
            && !more(inode, fd)
        {
            return;
        }
    }
}

/// The number in `socket:[12345]`.
fn socket_inode(link: &[u8]) -> Option<u64> {
    let number = link.strip_prefix(b"socket:[")?.strip_suffix(b"]")?;
    std::str::from_utf8(number).ok()?.parse().ok()
}
