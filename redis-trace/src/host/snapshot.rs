//! The host as it is at one moment, so that what was there before us is known.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use super::unix_sockets::{self, UnixSocket};
use super::{Dump, Host, inodes, netns, process, sockets, told, unix};
use crate::trace::fact::{Process, What};
use crate::trace::flow::Netns;

/// What one namespace showed.
struct Look {
    netns: Netns,
    tcp: Dump,
    unix: Vec<UnixSocket>,
}

impl Host {
    /// The namespaces of this host, their listeners and their servers' unix sockets, as they are now.
    pub fn snapshot(&mut self) -> Vec<What> {
        let pids = process::ids();
        self.look(&pids);
        let looks = self.look_everywhere();
        // Owners are looked for after the sockets, so that no socket is younger than the search for its owner.
        let tcp = looks.iter().filter_map(|look| look.tcp.as_ref().ok()).flat_map(|(sockets, _)| inodes(sockets));
        let unix = looks.iter().flat_map(|look| look.unix.iter().map(|socket| socket.inode));
        let owners = self.owners.of_all(&tcp.chain(unix).collect(), &pids);
        let names = netns::names();
        let namespaces = self.places.keys().map(|netns| self.name(*netns, &names));
        namespaces.chain(looks.into_iter().flat_map(|look| facts(look, &owners))).collect()
    }

    /// The listeners of these namespaces with what waits in their queues, and without their owners.
    pub fn listeners(&mut self, namespaces: &BTreeSet<Netns>, now: u64) -> Vec<What> {
        for netns in namespaces {
            self.find(*netns, now);
        }
        let look = |netns: &Netns| {
            let dump = self.inside(*netns, || sockets::bound(*netns, None)).flatten();
            told(*netns, None, self.or_by_proc(*netns, None, dump))
        };
        namespaces.iter().map(look).collect()
    }

    /// A look into every namespace; unix sockets that cannot be listed are not there.
    fn look_everywhere(&self) -> Vec<Look> {
        let seen = netns::inside_each(&self.places, |netns| {
            (sockets::bound(netns, None), unix_sockets::listeners().unwrap_or_default())
        });
        let look = |(netns, seen): (Netns, Result<(_, Vec<UnixSocket>), String>)| {
            let (tcp, unix) = seen.unwrap_or_else(|why| (Err(why), Vec::new()));
            Look { netns, tcp: self.or_by_proc(netns, None, tcp), unix }
        };
        seen.into_iter().map(look).collect()
    }
}

/// What a look into a namespace is worth telling.
fn facts(look: Look, owners: &HashMap<u64, Arc<Process>>) -> [What; 2] {
    let Look { netns, mut tcp, unix } = look;
    for socket in tcp.iter_mut().flat_map(|(sockets, _)| sockets) {
        socket.owner = owners.get(&socket.socket.inode).cloned();
    }
    [told(netns, None, tcp), What::UnixListeners { netns, listeners: unix::of_servers(unix, owners) }]
}
