//! Who may have said no to the calls of late.

use std::collections::VecDeque;

use crate::trace::errno::EACCES;
use crate::trace::fact::{Asked, Audited, Bind, BpfProgram, Denial, Task, What};
use crate::trace::flow::{Endpoint, Netns};
use crate::trace::question::Question;

use super::{FailedBind, FailedSocket, Known};

/// As many as are remembered: they are looked at while their call is judged, and kept with what came of it.
const KEPT: usize = 1_024;
/// A call's own fact comes so soon after, nanoseconds, or never: both are told at its end, one right after the other, but the
/// thread may lose its processor between the two.
const WITH: u64 = 1_000_000_000;

/// What may have said no to calls, the newest last.
#[derive(Debug, Default)]
pub struct Denials(VecDeque<Told>);

/// What may have said no to a call.
#[derive(Debug)]
struct Told {
    time: u64,
    denial: Denial,
    /// When the end of its call was told.
    call: Option<u64>,
}

impl Denials {
    /// One was told.
    pub fn told(&mut self, time: u64, denial: &Denial) {
        if self.0.len() == KEPT {
            self.0.pop_front();
        }
        self.0.push_back(Told { time, denial: denial.clone(), call: None });
    }

    /// The end of a thread's call was told: what was told of the thread last concerns this call, unless it concerned one before.
    pub fn call_ended(&mut self, tid: u32, time: u64) {
        let newest = self.0.iter_mut().rev().find(|told| told.denial.tid == tid);
        if let Some(told) = newest.filter(|told| time.saturating_sub(told.time) < WITH) {
            told.call.get_or_insert(time);
        }
    }

    /// What may have said no to the call of a thread whose end was told at this time.
    pub fn of(&self, tid: u32, time: u64) -> Option<&Denial> {
        let belongs = |told: &&Told| told.denial.tid == tid && told.call == Some(time);
        self.0.iter().rev().find(belongs).map(|told| &told.denial)
    }
}

impl Known {
    /// What a dial gets for want of a route, 0 when there is one; absent when the host did not say.
    pub fn route(&self, netns: Netns, to: Endpoint) -> Option<u32> {
        self.routes.get(&(netns, to)).copied()
    }

    /// The BPF programs on hooks of security modules; absent when the host did not say.
    pub fn lsm_programs(&self) -> Option<&[BpfProgram]> {
        self.lsm_programs.as_deref()
    }

    /// What the kernel's audit recorded of a call of this process that ended then.
    pub fn audited(&self, pid: u32, time: u64) -> Option<&Audited> {
        self.audited.get(&(pid, time))?.as_ref()
    }

    /// A bind or listen that failed, with all that is known of why.
    pub fn failed(&self, time: u64, bind: &Bind) -> FailedBind {
        let denial = self.denials.of(bind.task.tid, time).cloned();
        FailedBind {
            socket: bind.socket.clone(),
            process: self.process_of(&bind.task),
            errno: bind.errno,
            time,
            listen: bind.listen,
            privileged: self.is_privileged(bind, denial.as_ref()),
            denial,
        }
    }

    /// Whether a bind failed for want of CAP_NET_BIND_SERVICE: the kernel said so, or where it cannot be heard, nothing
    /// else stands against it.
    fn is_privileged(&self, bind: &Bind, denial: Option<&Denial>) -> bool {
        if bind.errno != EACCES || bind.listen {
            return false;
        }
        let port = bind.socket.local.port;
        let wants = port != 0 && u32::from(port) < bind.unprivileged && !bind.net_bind_service;
        match denial {
            Some(Denial { said: Some(_), .. }) => false,
            Some(Denial { capability: Some(asked), .. }) => *asked == Asked::Lacked,
            Some(Denial { seccomp: true, .. }) => false,
            // Security modules are asked first.
            Some(Denial { landlock, .. }) => wants && !self.sight.capabilities && !landlock,
            None => wants,
        }
    }

    /// A call that may have been denied has ended.
    pub(super) fn call_ended(&mut self, time: u64, task: &Task) {
        self.meet(time, task);
        self.denials.call_ended(task.tid, time);
    }

    /// A socket could not be made: what wanted it cannot listen by it.
    pub(super) fn socket_denied(&mut self, time: u64, task: &Task, errno: u32) {
        self.call_ended(time, task);
        let denial = self.denials.of(task.tid, time).cloned();
        self.servers.socket_failed(task.key(), FailedSocket { errno, time, denial });
    }

    /// What was asked of a denial was answered.
    pub(super) fn denials_asked_about(&mut self, time: u64, what: &What) {
        let question = match what {
            What::Route { netns, to, errno } => {
                self.routes.insert(time, (*netns, *to), *errno);
                Question::Route { netns: *netns, to: *to }
            }
            What::LsmPrograms { programs } => {
                self.lsm_programs = Some(programs.clone());
                Question::LsmPrograms
            }
            What::Audited { pid, call, time: ended, denial } => {
                self.audited.insert(time, (*pid, *ended), denial.clone());
                Question::Audited { pid: *pid, call: *call, time: *ended }
            }
            _ => return,
        };
        self.answered.insert(time, question, ());
    }
}
