//! Another network namespace.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::os::fd::AsFd as _;
use std::process::{Child, Command, Stdio};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// A namespace and a process that keeps it; both end together.
pub(crate) struct Stranger {
    child: Child,
}

impl Stranger {
    /// Makes the namespace and waits until its loopback is up.
    pub(crate) fn new() -> Self {
        let mut command = Command::new("unshare");
        command.args(["-n", "sh", "-c", "ip link set lo up; echo there; exec cat"]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("unshare runs as root");
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().expect("a pipe")).read_line(&mut line).expect("it says so");
        Self { child }
    }

    /// The process that keeps it.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Does something in it.
    pub(crate) fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let door = File::open(format!("/proc/{}/ns/net", self.id())).expect("it lives");
        let visit = || {
            move_into_link_name_space(door.as_fd(), Some(LinkNameSpaceType::Network)).expect("root may");
            work()
        };
        std::thread::scope(|scope| scope.spawn(visit).join().expect("the visit ends"))
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
