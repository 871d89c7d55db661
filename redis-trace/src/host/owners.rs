//! Who holds a socket: the processes whose file descriptors name its inode.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::mem::MaybeUninit;

use rustix::fs::{CWD, Mode, OFlags, RawDir, openat, readlinkat_raw};

use super::process::{self, Stat};
use crate::trace::fact::Process;

/// So many descriptors are read for one question before it stays unanswered: a third of a second's work.
const DESCRIPTORS_PER_QUESTION: usize = 200_000;

/// Processes that were seen to hold a listener, and so will probably hold the next one asked about.
#[derive(Debug, Default)]
pub(crate) struct Owners {
    /// Their ids.
    known: BTreeSet<u32>,
}

impl Owners {
    /// The owner of each of these sockets, after a look at every descriptor of every process.
    pub(crate) fn of_all(&mut self, inodes: &HashSet<u64>, pids: &[u32]) -> HashMap<u64, Process> {
        self.forget_others_than(pids);
        let mut eldest = HashMap::<u64, (u32, u64)>::new();
        for &pid in pids {
            let mut start = None;
            each_socket(pid, |inode| {
                if inodes.contains(&inode)
                    && let Some(start) = *start.get_or_insert_with(|| process::stat(pid).map(|stat| stat.start))
                {
                    let first = eldest.entry(inode).or_insert((pid, start));
                    if (is_manager(pid), start) < (is_manager(first.0), first.1) {
                        *first = (pid, start);
                    }
                }
                true
            });
        }
        self.describe(eldest.into_iter().map(|(inode, (pid, _))| (inode, pid)))
    }

    /// The owner of each of these few sockets: known owners are asked first, and the search ends with the last socket.
    pub(crate) fn of_few(&mut self, inodes: &HashSet<u64>, pids: &[u32]) -> HashMap<u64, Process> {
        self.forget_others_than(pids);
        let mut missing = inodes.clone();
        let mut holders = HashMap::new();
        let mut budget = DESCRIPTORS_PER_QUESTION;
        let strangers = pids.iter().filter(|pid| !self.known.contains(pid));
        // Init holds the sockets of every unit that systemd starts on demand: it is the owner when nobody else is.
        let (managers, others): (Vec<u32>, Vec<u32>) =
            self.known.iter().chain(strangers).partition(|pid| is_manager(**pid));
        for pid in others.into_iter().chain(managers) {
            if missing.is_empty() || budget == 0 {
                break;
            }
            each_socket(pid, |inode| {
                budget = budget.saturating_sub(1);
                if missing.remove(&inode) {
                    holders.insert(inode, pid);
                }
                !missing.is_empty() && budget > 0
            });
        }
        let eldest: Vec<_> = holders.into_iter().map(|(inode, pid)| (inode, eldest_holder(inode, pid))).collect();
        self.describe(eldest.into_iter())
    }

    /// What is gone owns nothing.
    fn forget_others_than(&mut self, pids: &[u32]) {
        self.known.retain(|pid| pids.binary_search(pid).is_ok());
    }

    /// Looks each process up once, and remembers it.
    fn describe(&mut self, holders: impl Iterator<Item = (u64, u32)>) -> HashMap<u64, Process> {
        let mut seen = HashMap::<u32, Option<Process>>::new();
        let mut owners = HashMap::new();
        for (inode, pid) in holders {
            if let Some(process) = seen.entry(pid).or_insert_with(|| process::describe(pid)) {
                owners.insert(inode, process.clone());
            }
        }
        self.known.extend(seen.into_iter().filter_map(|(pid, process)| process.map(|_| pid)));
        owners
    }
}

/// The process that a fork (a background save, a worker) has its socket from.
fn eldest_holder(inode: u64, pid: u32) -> u32 {
    let mut eldest = pid;
    while let Some(Stat { parent, .. }) = process::stat(eldest)
        && parent != 0
        && !is_manager(parent)
        && holds(parent, inode)
    {
        eldest = parent;
    }
    eldest
}

/// Whether a process has this socket open.
pub(crate) fn holds(pid: u32, wanted: u64) -> bool {
    let mut found = false;
    each_socket(pid, |inode| {
        found |= inode == wanted;
        !found
    });
    found
}

/// Init, which opens sockets on behalf of others.
fn is_manager(pid: u32) -> bool {
    pid == 1
}

/// Hands out the inode of every socket a process has open, until told to stop. A process that is gone has none.
fn each_socket(pid: u32, mut more: impl FnMut(u64) -> bool) {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let Ok(directory) = openat(CWD, format!("/proc/{pid}/fd"), flags, Mode::empty()) else { return };
    let mut buffer = [MaybeUninit::uninit(); 16 << 10];
    let mut entries = RawDir::new(&directory, &mut buffer);
    while let Some(Ok(entry)) = entries.next() {
        let mut link = [MaybeUninit::uninit(); 32];
        let Ok((target, _)) = readlinkat_raw(&directory, entry.file_name(), &mut link) else { continue };
        if let Some(inode) = socket_inode(target)
            && !more(inode)
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
