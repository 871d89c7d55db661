//! Who waits for an answer that may not leave its server: on the processor that answers, anyone may have dialled last.

use std::collections::HashSet;

use super::{Host, process, sockets};
use crate::trace::fact::Process;
use crate::trace::flow::Flow;

impl Host {
    /// The process whose socket in the same namespace still waits for the answer to this dial.
    pub(super) fn dialler(&mut self, flow: &Flow) -> Option<Process> {
        let inode = self.inside(flow.netns, || sockets::dialling(flow.client, flow.server)).ok().flatten()?;
        let owners = self.owners.of_few(&HashSet::from([inode]), &process::ids());
        owners.get(&inode).map(|owner| owner.as_ref().clone())
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddr};
    use std::os::fd::OwnedFd;

    use rustix::io::ioctl_fionbio;
    use rustix::net::{AddressFamily, SocketType, bind, connect, getsockname, listen, socket};

    use super::*;
    use crate::host::netns;
    use crate::trace::flow::Endpoint;

    fn stream() -> OwnedFd {
        socket(AddressFamily::INET, SocketType::STREAM, None).expect("a socket")
    }

    fn own(socket: &OwnedFd) -> SocketAddr {
        SocketAddr::try_from(getsockname(socket).expect("a name")).expect("an address")
    }

    #[test]
    fn who_waits_for_an_answer_is_found_and_who_has_it_is_not() {
        let (listener, answered, waits) = (stream(), stream(), stream());
        bind(&listener, &SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).expect("a free port");
        // The queue takes one.
        listen(&listener, 0).expect("it listens");
        let server = own(&listener);
        connect(&answered, &server).expect("an answer");
        ioctl_fionbio(&waits, true).expect("a socket that does not block");
        connect(&waits, &server).expect_err("no answer");
        let end = |address: SocketAddr| Endpoint { ip: address.ip(), port: address.port() };
        let netns = netns::current().expect("/proc");
        let mut host = Host::new();
        host.look(&process::ids());
        let mut dialler =
            |dials| host.dialler(&Flow { netns, client: end(own(dials)), server: end(server), ifindex: 1 });
        assert_eq!(dialler(&waits).map(|process| process.pid), Some(std::process::id()));
        assert_eq!(dialler(&answered), None);
    }
}
