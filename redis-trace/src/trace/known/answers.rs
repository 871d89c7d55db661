//! What the host answered, as it is taken in.

use std::collections::BTreeMap;

use super::Known;
use crate::trace::fact::{BoundSocket, Process, ProcessKey, Queues, What};
use crate::trace::flow::Netns;
use crate::trace::question::Question;
use crate::trace::text::Text;

impl Known {
    /// What a process is.
    pub(super) fn describe(&mut self, time: u64, process: &Process) {
        let mut told = process.clone();
        if let Some(before) = self.process(process.key()) {
            told.exe = told.exe.or_else(|| before.exe.clone());
            told.cgroup = told.cgroup.or_else(|| before.cgroup.clone());
            if told.cmdline.is_empty() {
                told.cmdline.clone_from(&before.cmdline);
            }
        }
        self.answered.insert(time, Question::Process(process.key()), ());
        self.processes.insert(time, process.pid, told);
    }

    /// The sockets of a namespace, or those on one port of it.
    pub(super) fn sockets_read(&mut self, time: u64, netns: Netns, port: Option<u16>, sockets: &[BoundSocket]) {
        let owners: BTreeMap<u32, &Process> =
            sockets.iter().filter_map(|bound| bound.owner.as_deref()).map(|owner| (owner.pid, owner)).collect();
        for owner in owners.into_values() {
            self.describe(time, owner);
        }
        match port {
            Some(port) => {
                let question = Question::Sockets { netns, port };
                self.given_up.remove(&question);
                self.answered.insert(time, question, ());
                self.sockets.insert(time, (netns, port), sockets.to_vec());
            }
            None => {
                for bound in sockets.iter().filter(|bound| bound.listening) {
                    self.listeners.up(&bound.socket, bound.backlog, bound.owner.clone(), None);
                }
            }
        }
    }

    /// The host looked whether a process lives.
    pub(super) fn looked_for(&mut self, time: u64, process: ProcessKey, alive: bool) {
        self.alive.insert(time, process, alive);
        self.answered.insert(time, Question::Alive(process), ());
        self.answered.insert(time, Question::Process(process), ());
    }

    /// The host said what a namespace is called, and who lives in it.
    pub(super) fn netns_named(&mut self, time: u64, netns: Netns, name: Option<Text>, pid: Option<u32>) {
        let namespace = self.namespaces.entry(netns).or_default();
        (namespace.name, namespace.pid) = (name, pid);
        self.answered.insert(time, Question::NetnsName(netns), ());
    }

    /// Something about whoever is to accept, or about who waits for that.
    pub(super) fn queues_told(&mut self, time: u64, what: &What) {
        match what {
            What::Queues(queues) => self.queues_read(time, queues),
            What::Files(files) => self.files.insert(time, files.process(), files.clone()),
            What::AcceptFailed(failed) => {
                self.call_ended(time, &failed.task);
                self.failed_accepts.insert(time, failed.task.key(), failed.errno);
            }
            _ => {}
        }
    }

    fn queues_read(&mut self, time: u64, queues: &Queues) {
        for owner in queues.queues.iter().filter_map(|queue| queue.bound.owner.as_deref()) {
            self.describe(time, owner);
        }
        let Queues { netns, port, .. } = *queues;
        self.answered.insert(time, Question::Queues { netns, port }, ());
        self.queues.insert(time, (netns, port), queues.clone());
    }

    /// The host told of the way to a server, or of the ports to start from.
    pub(super) fn way_told(&mut self, time: u64, what: &What) {
        match what {
            What::Way(way) => self.ways.insert(time, (way.netns, way.to), way.way.clone()),
            What::Ports(ports) => self.ports.insert(time, (ports.netns, ports.to), ports.clone()),
            _ => {}
        }
    }
}
