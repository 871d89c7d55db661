//! A unix socket could not be dialled.

use crate::trace::errno::{self, EACCES, ECONNREFUSED};
use crate::trace::fact::{Task, UnixPath};
use crate::trace::known::Known;
use crate::trace::question::Question;
use crate::trace::verdict::{Cause, Verdict};

use super::Judged;

const ENOENT: u32 = 2;
const EAGAIN: u32 = 11;
const ENOTDIR: u32 = 20;

pub(super) fn attribute(task: &Task, errno: u32, path: &UnixPath, known: &Known) -> Judged {
    match errno {
        ENOENT | ENOTDIR => missing(task, path, known),
        EAGAIN => full(task, path, known),
        ECONNREFUSED | EACCES => behind(task, errno, path, known),
        other => {
            let missing = format!("connect failed with {}, and nothing that was seen says why", errno::name(other));
            Verdict::possible(Cause::Unknown { missing }).into()
        }
    }
}

fn missing(task: &Task, path: &UnixPath, known: &Known) -> Judged {
    // Servers' sockets are looked up in the caller's namespace: where a file lies does not depend on it.
    let question = Question::UnixListeners(task.netns);
    if !known.is_answered(&question, known.now) {
        return Judged::Ask(vec![question]);
    }
    let real = known.unix_listeners(task.netns).to_vec();
    Verdict::certain(Cause::UnixSocketMissing { path: path.clone(), real }).into()
}

fn behind(task: &Task, errno: u32, path: &UnixPath, known: &Known) -> Judged {
    let question = Question::Unix { pid: task.pid, uid: task.uid, netns: task.netns, path: path.clone() };
    if !known.is_answered(&question, known.now) {
        return Judged::Ask(vec![question]);
    }
    let state = known.unix_state(task.pid, path);
    let path = path.clone();
    if errno == EACCES {
        return match state.and_then(|state| state.forbidden.clone()) {
            Some(forbidden) => Verdict::certain(Cause::UnixSocketPermission { path, forbidden }),
            None => Verdict::possible(Cause::Unknown {
                missing: "file permissions allow it, so a security module or a mount must have refused it".to_owned(),
            }),
        }
        .into();
    }
    let is_socket = matches!(path, UnixPath::Abstract(_)) || state.is_none_or(|state| state.is_socket != Some(false));
    match state.map(|state| state.listening) {
        Some(Some(true)) => Verdict::possible(Cause::Unknown {
            missing: "somebody listens there now; the refusal came before, or the socket was shut down".to_owned(),
        }),
        Some(_) => Verdict::certain(Cause::UnixSocketStale { path, is_socket }),
        // The errno alone: what lies there was not seen.
        None => Verdict::likely(Cause::UnixSocketStale { path, is_socket }),
    }
    .into()
}

/// The queue was full: a stream socket's connect gets EAGAIN for nothing else (unix_stream_connect(), net/unix/af_unix.c).
fn full(task: &Task, path: &UnixPath, known: &Known) -> Judged {
    let question = Question::Unix { pid: task.pid, uid: task.uid, netns: task.netns, path: path.clone() };
    if !known.is_answered(&question, known.now) {
        return Judged::Ask(vec![question]);
    }
    let shown = known.unix_state(task.pid, path).and_then(|state| state.queue.as_ref());
    Verdict::certain(Cause::UnixBacklogFull { queue: super::queue::of_unix(path, shown, known) }).into()
}
