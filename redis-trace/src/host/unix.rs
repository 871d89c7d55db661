//! What stands behind a unix socket's path or name, and where servers listen on one.

use std::collections::{BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::eyes::{Eyes, Seen};
use super::patience::within;
use super::unix_sockets::{self, FileId, UnixSocket};
use super::{Host, netns, process};
use crate::redis::kin;
use crate::trace::fact::{Process, UnixListener, UnixPath, UnixQueue, UnixState, What};
use crate::trace::flow::Netns;
use crate::trace::text::Text;

/// How long the file systems behind a path may take to answer.
const PATIENCE: Duration = Duration::from_secs(2);

impl Host {
    /// What a process that dialled a unix socket would find.
    pub(super) fn unix(&mut self, pid: u32, uid: u32, netns: Netns, path: &UnixPath) -> What {
        let (seen, listening) = match path {
            UnixPath::Abstract(_) => self.behind_name(netns, path),
            UnixPath::File(file) => self.behind_file(pid, uid, netns, file),
        };
        let queue = if listening == Some(true) { self.unix_queue(netns, path, seen.file) } else { None };
        let Seen { exists, is_socket, forbidden, .. } = seen;
        What::UnixState(UnixState { pid, path: path.clone(), exists, is_socket, listening, queue, forbidden })
    }

    /// What waits for whoever listens behind a name or a file.
    fn unix_queue(&mut self, netns: Netns, path: &UnixPath, file: Option<FileId>) -> Option<UnixQueue> {
        let look = || (unix_sockets::listeners(), super::queues::sysctl("core/somaxconn"));
        let (sockets, somaxconn) = self.inside(netns, look).ok()?;
        let is_it = |socket: &UnixSocket| match (path, file) {
            (UnixPath::File(path), Some(file)) => is_behind(socket, path, file),
            _ => socket.name == *path,
        };
        let socket = sockets.ok()?.into_iter().find(is_it)?;
        let (queued, limit) = socket.queue?;
        let owners = self.owners.of_few(&std::iter::once(socket.inode).collect(), &process::ids());
        let owner = owners.get(&socket.inode).map(|owner| Process::clone(owner));
        let serving = owner.as_ref().filter(|_| queued > limit).and_then(|owner| super::serving::of(owner.pid));
        Some(UnixQueue { queued, limit, owner, somaxconn, serving })
    }

    /// The unix sockets that servers of a namespace listen on.
    pub(super) fn unix_listeners(&mut self, netns: Netns) -> What {
        match self.inside(netns, unix_sockets::listeners).flatten() {
            Ok(sockets) => {
                let inodes = sockets.iter().map(|socket| socket.inode).collect();
                let owners = self.owners.of_few(&inodes, &process::ids());
                What::UnixListeners { netns, listeners: of_servers(sockets, &owners) }
            }
            Err(why) => What::Unreadable { netns, why: why.into() },
        }
    }

    /// An abstract name exists as long as its socket.
    fn behind_name(&mut self, netns: Netns, name: &UnixPath) -> (Seen, Option<bool>) {
        let Ok(sockets) = self.inside(netns, unix_sockets::named).flatten() else { return Default::default() };
        let bound: Vec<_> = sockets.into_iter().filter(|socket| socket.name == *name).collect();
        let exists = Some(!bound.is_empty());
        (Seen { exists, is_socket: exists, ..Seen::default() }, Some(bound.iter().any(|socket| socket.listening)))
    }

    /// A path, with the eyes of the process that dialled it or, when that is gone, of its user.
    fn behind_file(&mut self, pid: u32, uid: u32, netns: Netns, path: &Text) -> (Seen, Option<bool>) {
        let wanted = path.to_bytes();
        let look = move || {
            let eyes = Eyes::of(pid, uid).or_else(|| Eyes::of_user(&root_shared_by_all(netns)?, uid));
            eyes.map(|eyes| eyes.look(&wanted))
        };
        let seen = within(PATIENCE, look).flatten().unwrap_or_default();
        let listening = match (seen.is_socket, seen.file) {
            (Some(true), Some(file)) => self.listens(netns, path, file),
            (Some(false), _) => Some(false),
            _ => seen.exists.filter(|exists| !exists),
        };
        (seen, listening)
    }

    /// Whether anybody listens on a socket file. A file leads to its socket from every network namespace, so all of them
    /// are searched before nobody does.
    fn listens(&mut self, netns: Netns, path: &Text, file: FileId) -> Option<bool> {
        let behind = |sockets: &Vec<UnixSocket>| sockets.iter().any(|socket| is_behind(socket, path, file));
        if self.inside(netns, unix_sockets::listeners).flatten().is_ok_and(|sockets| behind(&sockets)) {
            return Some(true);
        }
        let everywhere = netns::inside_each(&netns::all(&process::ids()), |_| unix_sockets::listeners());
        let mut unread = Vec::new();
        for (netns, sockets) in everywhere {
            match sockets.flatten() {
                Ok(sockets) if behind(&sockets) => return Some(true),
                Ok(_) => {}
                Err(_) => unread.push(netns),
            }
        }
        // Nobody listens in a namespace that ended while we looked.
        let is_read = unread.is_empty() || {
            let left = netns::all(&process::ids());
            !unread.iter().any(|netns| left.contains_key(netns))
        };
        is_read.then_some(false)
    }
}

/// A socket is behind a file when it is bound to that inode. Overlay file systems show another device than the kernel
/// uses, so there the last part of the name stands in for the device.
fn is_behind(socket: &UnixSocket, path: &Text, file: FileId) -> bool {
    let last = |path: &Text| path.as_str().rsplit('/').next().map(str::to_owned);
    let same_name = matches!(&socket.name, UnixPath::File(name) if last(name) == last(path));
    socket.file.is_some_and(|bound| bound.inode == file.inode && (bound.device == file.device || same_name))
}

/// The root that every process of a namespace sees: our own for our own namespace, and for another when its processes
/// share one mount namespace.
fn root_shared_by_all(netns: Netns) -> Option<String> {
    if netns::current() == Some(netns) {
        return Some("/".to_owned());
    }
    let link = |pid: &u32, kind: &str| std::fs::read_link(format!("/proc/{pid}/ns/{kind}")).ok();
    let wanted = PathBuf::from(format!("net:[{}]", netns.0));
    let pids: Vec<u32> = process::ids().into_iter().filter(|pid| link(pid, "net").as_ref() == Some(&wanted)).collect();
    let mounts: BTreeSet<_> = pids.iter().map(|pid| link(pid, "mnt")).collect();
    (mounts.len() == 1).then(|| format!("/proc/{}/root", pids[0]))
}

/// Those stream sockets that a Redis-like server listens on.
pub(super) fn of_servers(sockets: Vec<UnixSocket>, owners: &HashMap<u64, Arc<Process>>) -> Vec<UnixListener> {
    let streams = sockets.into_iter().filter(|socket| socket.stream);
    let owned = streams.filter_map(|socket| Some((socket.name, owners.get(&socket.inode)?)));
    let served = owned.filter(|(_, owner)| kin::is_server(owner.comm.as_str(), owner.exe.as_ref().map(Text::as_str)));
    served.map(|(path, owner)| UnixListener { path, owner: Process::clone(owner) }).collect()
}
