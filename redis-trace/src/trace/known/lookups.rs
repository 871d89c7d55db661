//! What is known, for whoever asks; what is old is not.

use std::net::IpAddr;

use super::{FRESH, Known, Namespace};
use crate::firewall::Wanted;
use crate::trace::fact::{
    BoundSocket, Files, Ports, Process, ProcessKey, Queues, Standing, Suspected, Task, UnixListener, UnixPath,
    UnixState, Way,
};
use crate::trace::flow::{Endpoint, Netns};
use crate::trace::question::Question;
use crate::trace::refusal::Connect;

impl Known {
    /// What is known of the process that this task belongs to.
    pub fn process_of(&self, task: &Task) -> Process {
        let mut process = Process {
            pid: task.pid,
            start: task.start,
            comm: task.comm.clone(),
            uid: Some(task.uid),
            ..Process::default()
        };
        if let Some(told) = self.process(task.key()) {
            process.parent = told.parent;
            process.exe.clone_from(&told.exe);
            process.cgroup.clone_from(&told.cgroup);
            process.cmdline.clone_from(&told.cmdline);
        }
        process
    }

    /// What is known of a process, when this very one is known.
    pub fn process(&self, key: ProcessKey) -> Option<&Process> {
        self.processes.get(&key.pid).filter(|process| process.key() == key)
    }

    /// What is known of a namespace.
    pub fn namespace(&self, netns: Netns) -> Option<&Namespace> {
        self.namespaces.get(&netns)
    }

    /// Sockets bound to a port, as the host showed them; absent when it could not, or has not in time.
    pub fn sockets_at(&self, netns: Netns, port: u16, now: u64) -> Option<&[BoundSocket]> {
        let (time, ()) = self.answered.get_with_time(&Question::Sockets { netns, port })?;
        let shown = self.sockets.get(&(netns, port))?;
        (time.saturating_add(FRESH) > now).then_some(shown.as_slice())
    }

    /// The queues of the listeners on a port, as the host showed them of late.
    pub fn queues(&self, netns: Netns, port: u16, now: u64) -> Option<&Queues> {
        let (time, queues) = self.queues.get_with_time(&(netns, port))?;
        (time.saturating_add(FRESH) > now).then_some(queues)
    }

    /// The files of a process, as the host showed them of late.
    pub fn files(&self, process: ProcessKey, now: u64) -> Option<&Files> {
        let (time, files) = self.files.get_with_time(&process)?;
        (time.saturating_add(FRESH) > now).then_some(files)
    }

    /// How a server stands on a port, as the host showed of late.
    pub fn standing(&self, process: ProcessKey, port: u16, now: u64) -> Option<&Standing> {
        let (time, standing) = self.standings.get_with_time(&(process, port))?;
        (time.saturating_add(FRESH) > now).then_some(standing)
    }

    /// The errno of a process's last accept that failed for want of a file, if that was of late.
    pub fn failed_accept(&self, process: ProcessKey, now: u64) -> Option<u32> {
        let (time, errno) = self.failed_accepts.get_with_time(&process)?;
        (time.saturating_add(FRESH) > now).then_some(*errno)
    }

    /// The way to an address, as the host said of late.
    pub fn way(&self, netns: Netns, to: IpAddr) -> Option<&Way> {
        self.ways.get(&(netns, to))
    }

    /// The ports that a server may be dialled from, as the host said of late.
    pub fn ports(&self, netns: Netns, to: Endpoint) -> Option<&Ports> {
        self.ports.get(&(netns, to))
    }

    /// What stands behind a unix path that a process dialled.
    pub fn unix_state(&self, pid: u32, path: &UnixPath) -> Option<&UnixState> {
        self.unix_states.get(&(pid, path.clone()))
    }

    /// The firewall's rules that can have done this to that SYN, as far as the host said.
    pub fn suspected(&self, netns: Netns, isn: u32, wanted: Wanted) -> Option<&Suspected> {
        self.suspected.get(&(netns, isn, wanted))
    }

    /// Who dialled, where the host found that out because its answer was dropped.
    pub fn dialler(&self, connect: &Connect) -> Option<Process> {
        let dropped = connect.dropped.as_ref()?;
        let found = self.suspected(dropped.flow.netns, dropped.isn, Wanted::Refusal)?.dialler.as_ref()?;
        Some(self.process(found.key()).unwrap_or(found).clone())
    }

    /// The unix sockets that servers listen on in a namespace.
    pub fn unix_listeners(&self, netns: Netns) -> &[UnixListener] {
        self.unix_listeners.get(&netns).map_or(&[], Vec::as_slice)
    }

    /// Whether this very process lives, as far as the host said.
    pub fn is_alive(&self, key: ProcessKey) -> Option<bool> {
        self.alive.get(&key).copied()
    }

    /// Whether a process still holds a socket, as far as the host said.
    pub fn holds(&self, process: ProcessKey, inode: u64) -> bool {
        self.held.get(&(process, inode)).copied().unwrap_or(false)
    }

    /// Whether the host has answered of late, or will not.
    pub fn is_answered(&self, question: &Question, now: u64) -> bool {
        let fresh = |time: u64| time.saturating_add(FRESH) > now;
        let is_there = match question {
            // Asked anew for each dial and each start: `learn` forgets the state of the dial before.
            Question::Unix { pid, path, .. } => self.unix_state(*pid, path).is_some(),
            Question::Files { process, .. } => self.files(*process, now).is_some(),
            Question::Standing { process, port, .. } => self.standing(*process, *port, now).is_some(),
            Question::Firewall { flow, isn, wanted, .. } => self.suspected(flow.netns, *isn, *wanted).is_some(),
            Question::LastWords { process, .. } => {
                self.servers.failed_start(*process).is_some_and(|failed| failed.heard)
            }
            Question::Way { netns, to, .. } => {
                self.ways.get_with_time(&(*netns, to.ip)).is_some_and(|(time, _)| fresh(time))
            }
            Question::Ports { netns, to } => {
                self.ports.get_with_time(&(*netns, *to)).is_some_and(|(time, _)| fresh(time))
            }
            other => self.answered.get_with_time(other).is_some_and(|(time, ())| fresh(time)),
        };
        let unreadable = question.netns().and_then(|netns| self.unreadable.get_with_time(&netns));
        let given_up = self.given_up.get_with_time(question).is_some_and(|(time, ())| fresh(time));
        is_there || given_up || unreadable.is_some_and(|(time, _)| fresh(time))
    }

    /// The host has not answered in time: do without, until it answers.
    pub fn give_up(&mut self, question: Question) {
        self.given_up.insert(self.now, question, ());
    }

    /// What somebody finds who does without these answers for once.
    pub fn without<T>(&mut self, questions: &[Question], find: impl FnOnce(&Self) -> T) -> T {
        let waits = |question: &&Question| self.given_up.get(question).is_none();
        let waiting: Vec<Question> = questions.iter().filter(waits).cloned().collect();
        for question in &waiting {
            self.give_up(question.clone());
        }
        let found = find(self);
        for question in &waiting {
            self.given_up.remove(question);
        }
        found
    }

    /// Whether a process descends from the command that the tool runs.
    pub fn is_family(&self, pid: u32) -> bool {
        self.family.get(&pid).is_some()
    }
}
