//! Network namespaces: which there are, what they are called, and how to look around inside one.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::trace::flow::Netns;
use crate::trace::text::Text;

/// Where `ip netns` keeps its names.
const NAMED: [&str; 2] = ["/run/netns/", "/var/run/netns/"];

/// At most so many threads visit namespaces at once.
const VISITORS: usize = 4;

/// A namespace and the ways into it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Place {
    /// A process that lives in it, the one with the lowest id.
    pub(crate) pid: Option<u32>,
    /// Files that lead into it, the most lasting first.
    doors: Vec<PathBuf>,
}

impl Place {
    /// An open door: it leads there whoever ends meanwhile.
    pub(crate) fn open(&self, netns: Netns) -> Result<File, String> {
        self.doors.iter().find_map(|path| open(path, netns)).ok_or_else(|| {
            format!(
                "Network namespace {} could not be entered: no process in it and no name of it can be opened.",
                netns.0
            )
        })
    }
}

/// Every namespace that has a process or a mounted name.
pub(crate) fn all(pids: &[u32]) -> BTreeMap<Netns, Place> {
    let mut places = BTreeMap::<Netns, Place>::new();
    for (netns, root, path) in mounted() {
        places.entry(netns).or_default().doors.push(PathBuf::from(format!("{root}{path}")));
    }
    for &pid in pids {
        let door = format!("/proc/{pid}/ns/net");
        let Some(netns) = read(Path::new(&door)) else { continue };
        let place = places.entry(netns).or_default();
        if place.pid.is_none() {
            place.pid = Some(pid);
            place.doors.push(PathBuf::from(door));
        }
    }
    places
}

/// Their `ip netns` names. Read whenever one is wanted: a namespace may get its name long after the way to it was found.
pub(crate) fn names() -> BTreeMap<Netns, Text> {
    let mut names = BTreeMap::new();
    for (netns, _, path) in mounted() {
        if let Some(name) = NAMED.iter().find_map(|dir| path.strip_prefix(dir)) {
            names.entry(netns).or_insert_with(|| Text::from(name));
        }
    }
    names
}

/// Adds namespaces that only a single thread of some process is in: nothing but a walk over all threads finds them.
pub(crate) fn add_of_threads(places: &mut BTreeMap<Netns, Place>, pids: &[u32]) {
    let threads = pids.iter().filter_map(|pid| std::fs::read_dir(format!("/proc/{pid}/task")).ok()).flatten().flatten();
    for door in threads.map(|thread| thread.path().join("ns/net")) {
        if let Some(netns) = read(&door) {
            places.entry(netns).or_insert_with(|| Place { pid: None, doors: vec![door] });
        }
    }
}

/// The namespace of the calling thread.
pub(crate) fn current() -> Option<Netns> {
    read(Path::new("/proc/thread-self/ns/net"))
}

/// What `work` finds in a namespace. A thread of its own goes there, so that no other ever has to come back.
pub(crate) fn inside<T: Send>(netns: Netns, door: &File, work: impl FnOnce() -> T + Send) -> Result<T, String> {
    if current() == Some(netns) {
        return Ok(work());
    }
    std::thread::scope(|scope| {
        let visitor = scope.spawn(|| enter(netns, door).map(|()| work()));
        visitor.join().unwrap_or_else(|_| Err("the look into another namespace panicked".to_owned()))
    })
}

/// What `work` finds in each of many namespaces. The kernel walks the sockets of the whole host for every one, so a few
/// threads share the visits.
pub(crate) fn inside_each<T: Send>(
    places: &BTreeMap<Netns, Place>,
    work: impl Fn(Netns) -> T + Sync,
) -> Vec<(Netns, Result<T, String>)> {
    let visit = |(netns, place): &(&Netns, &Place)| {
        let is_here = current() == Some(**netns);
        let there = if is_here { Ok(()) } else { place.open(**netns).and_then(|door| enter(**netns, &door)) };
        (**netns, there.map(|()| work(**netns)))
    };
    let visits: Vec<_> = places.iter().collect();
    let visitors = std::thread::available_parallelism().map_or(1, |cores| cores.get().min(VISITORS));
    std::thread::scope(|scope| {
        let shares = visits.chunks(visits.len().div_ceil(visitors).max(1));
        let visitors: Vec<_> =
            shares.map(|share| scope.spawn(|| share.iter().map(visit).collect::<Vec<_>>())).collect();
        visitors.into_iter().flat_map(|visitor| visitor.join().unwrap_or_default()).collect()
    })
}

/// Moves the calling thread into a namespace, for good.
fn enter(netns: Netns, door: &File) -> Result<(), String> {
    move_into_link_name_space(door.as_fd(), Some(LinkNameSpaceType::Network)).map_err(|error| {
        format!(
            "Network namespace {} could not be entered: setns failed with {error}; CAP_SYS_ADMIN is needed.",
            netns.0
        )
    })
}

/// A door that leads to this namespace and no other.
fn open(door: &Path, netns: Netns) -> Option<File> {
    let file = File::open(door).ok()?;
    (file.metadata().ok()?.ino() == u64::from(netns.0)).then_some(file)
}

/// The namespace that a link of `/proc/PID/ns` names, as in `net:[4026531840]`.
fn read(link: &Path) -> Option<Netns> {
    parse(std::fs::read_link(link).ok()?.to_str()?)
}

/// `net:[4026531840]`.
fn parse(text: &str) -> Option<Netns> {
    text.strip_prefix("net:[")?.strip_suffix(']')?.parse().ok().map(Netns)
}

/// Namespaces that are mounted somewhere (`ip netns`, Docker, CNI), and the root to find that path under: our own mount
/// table's, and that of init, which is another when the tool runs in a container.
fn mounted() -> Vec<(Netns, &'static str, String)> {
    let table = |file: &str, root: &'static str| {
        let text = std::fs::read(file).unwrap_or_default();
        let mounts = parse_mountinfo(&String::from_utf8_lossy(&text));
        mounts.into_iter().map(move |(netns, path)| (netns, root, path))
    };
    table("/proc/thread-self/mountinfo", "").chain(table("/proc/1/mountinfo", "/proc/1/root")).collect()
}

/// Lines like `44 32 0:4 net:[4026532300] /run/netns/blue rw shared:1 - nsfs nsfs rw`.
fn parse_mountinfo(text: &str) -> Vec<(Netns, String)> {
    text.lines()
        .filter_map(|line| {
            let mut fields = line.split(' ').skip(3);
            let netns = parse(fields.next()?)?;
            Some((netns, unescape_octal(fields.next()?)))
        })
        .collect()
}

/// Mount tables write space, tab, newline and backslash as `\040`.
fn unescape_octal(path: &str) -> String {
    let mut plain = String::with_capacity(path.len());
    let mut rest = path;
    while let Some(at) = rest.find('\\') {
        plain.push_str(&rest[..at]);
        let code = rest.get(at + 1..at + 4).and_then(|octal| u8::from_str_radix(octal, 8).ok());
        plain.push(code.map_or('\\', char::from));
        rest = &rest[at + if code.is_some() { 4 } else { 1 }..];
    }
    plain + rest
}

#[cfg(test)]
#[expect(dead_code, reason = "here it is visited as the program does that")]
#[path = "../../../tests/support/stranger.rs"]
pub(crate) mod stranger;

#[cfg(test)]
mod tests {
    use super::stranger::Stranger;
    use super::*;

    impl Stranger {
        /// Its number.
        pub(crate) fn netns(&self) -> Netns {
            read(Path::new(&format!("/proc/{}/ns/net", self.id()))).expect("it has a namespace")
        }

        /// The way to it.
        pub(crate) fn place(&self) -> Place {
            all(&[self.id()]).remove(&self.netns()).expect("its namespace is found")
        }

        /// The door to it.
        pub(crate) fn door(&self) -> File {
            self.place().open(self.netns()).expect("an open door")
        }
    }

    #[test]
    fn a_namespace_is_found_by_its_process_and_can_be_visited() {
        let stranger = Stranger::new();
        let place = stranger.place();
        assert_eq!(place.pid, Some(stranger.id()));
        let before = current();
        assert_eq!(inside(stranger.netns(), &stranger.door(), current), Ok(Some(stranger.netns())));
        assert_eq!(current(), before, "the visitor went alone");
        let visited = inside_each(&BTreeMap::from([(stranger.netns(), place)]), |netns| (netns, current()));
        assert_eq!(visited, [(stranger.netns(), Ok((stranger.netns(), Some(stranger.netns()))))]);
    }

    #[test]
    fn a_namespace_of_a_single_thread_is_found() {
        let stranger = Stranger::new();
        let found = || {
            let mut places = BTreeMap::new();
            add_of_threads(&mut places, &[std::process::id()]);
            places.remove(&stranger.netns())
        };
        let visited = inside(stranger.netns(), &stranger.door(), found).expect("a visit");
        assert!(visited.is_some_and(|place| place.pid.is_none()));
        assert_eq!(found(), None, "the visitor is gone");
    }

    #[test]
    fn a_namespace_that_is_gone_is_a_sentence() {
        let stranger = Stranger::new();
        let (netns, place) = (stranger.netns(), stranger.place());
        drop(stranger);
        let error = place.open(netns).expect_err("nobody lives there");
        assert!(error.ends_with('.') && error.contains(&netns.0.to_string()), "{error}");
    }

    #[test]
    fn an_open_door_leads_there_though_who_lived_there_has_ended() {
        let stranger = Stranger::new();
        let (netns, door) = (stranger.netns(), stranger.door());
        drop(stranger);
        assert_eq!(inside(netns, &door, current), Ok(Some(netns)));
    }

    #[test]
    fn mounted_namespaces_are_read_with_their_spaces() {
        let table = "22 1 0:21 / /proc rw - proc proc rw\n\
                     44 32 0:4 net:[4026532300] /run/netns/a\\040b rw shared:1 - nsfs nsfs rw\n\
                     45 32 0:4 mnt:[4026532301] /run/x rw - nsfs nsfs rw\n";
        assert_eq!(parse_mountinfo(table), [(Netns(4_026_532_300), "/run/netns/a b".to_owned())]);
        assert_eq!(unescape_octal("a\\"), "a\\");
        assert_eq!(unescape_octal("a\\0é"), "a\\0é");
    }
}
