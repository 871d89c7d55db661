//! What the program gives up once its probes are attached, thread by thread: the one that tells needs next to nothing, those
//! that ask the host need what their questions need, and who dials a server that was named has no privilege at all. What was
//! to be given up and is not ends the program.
//!
//! All threads share one memory, so this is no wall between them: it takes from the whole program what nobody in it needs.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;

use caps::{CapSet, Capability, CapsHashSet};
use landlock::{
    ABI, Access as _, AccessFs, AccessNet, NetPort, PathBeneath, PathFd, Ruleset, RulesetAttr as _,
    RulesetCreatedAttr as _, RulesetStatus,
};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    TargetArch, apply_filter,
};

use crate::cli::Sandbox;
use crate::failure::{Exit, Failure};

/// A part of the program, which is a thread and those that it starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// Reads records, judges and tells; writes to this directory when it must open its recording anew.
    Teller(Option<PathBuf>),
    /// Asks the host: other processes, namespaces, files, firewalls; starts nft and its like.
    Asker,
    /// Dials those whom the administrator has named, at these ports and no other.
    Dialler(Vec<u16>),
}

impl Part {
    /// The capabilities that it keeps, of those it has.
    fn keeps(&self) -> &'static [Capability] {
        match self {
            // Before Linux 5.19 bpf(2) asks for CAP_BPF even to read a map. CAP_SYSLOG shows where functions are.
            Self::Teller(_) => &[Capability::CAP_BPF, Capability::CAP_SYSLOG],
            Self::Asker => &[
                Capability::CAP_BPF,
                Capability::CAP_SYSLOG,
                Capability::CAP_SYS_PTRACE,
                Capability::CAP_DAC_READ_SEARCH,
                Capability::CAP_NET_ADMIN,
                Capability::CAP_NET_RAW,
                Capability::CAP_SYS_ADMIN,
            ],
            Self::Dialler(_) => &[],
        }
    }
}

/// Starts a thread that is this part and does this work, once it has given up what it does not need.
pub fn thread(part: Part, wish: Sandbox, work: impl FnOnce() + Send + 'static) -> Result<(), Failure> {
    let (ready, entered) = mpsc::channel();
    thread::spawn(move || {
        let outcome = enter(&part, wish);
        let is_free_to_work = outcome.is_ok();
        if ready.send(outcome).is_ok() && is_free_to_work {
            work();
        }
    });
    entered.recv().unwrap_or_else(|_| Err(Failure::new(Exit::Bug, "a thread ended before it began")))
}

/// Gives up what this part, which the calling thread is, does not need.
pub fn enter(part: &Part, wish: Sandbox) -> Result<(), Failure> {
    if wish == Sandbox::Off {
        return Ok(());
    }
    let cannot = |what: &str, why: &dyn std::fmt::Display| {
        Failure::new(Exit::Forbidden, format!("cannot give up {what}: {why}"))
            .attempt("--sandbox off, which keeps all privileges")
    };
    rustix::thread::set_no_new_privs(true).map_err(|why| cannot("new privileges", &why))?;
    if *part != Part::Asker {
        let status = landlock(part).map_err(|why| cannot("files and ports, by Landlock", &why))?;
        if status == RulesetStatus::NotEnforced && wish == Sandbox::Strict {
            let what = "cannot give up files: this kernel has no Landlock, or it is not at work";
            return Err(Failure::new(Exit::Unsupported, what).attempt("--sandbox auto, which does without"));
        }
    }
    capabilities(part).map_err(|why| cannot("capabilities", &why))?;
    seccomp(part).map_err(|why| cannot("system calls, by seccomp", &why))
}

/// Keeps few capabilities, and hands them to the programs that the asker starts.
fn capabilities(part: &Part) -> Result<(), String> {
    let had = caps::read(None, CapSet::Permitted).map_err(|why| why.to_string())?;
    let kept: CapsHashSet = part.keeps().iter().copied().filter(|capability| had.contains(capability)).collect();
    for set in [CapSet::Effective, CapSet::Permitted, CapSet::Inheritable] {
        caps::set(None, set, &kept).map_err(|why| why.to_string())?;
    }
    if *part == Part::Asker {
        // Where that is forbidden, nft may read less, and its failure is told.
        let _ = caps::set(None, CapSet::Ambient, &kept);
    }
    let has = caps::read(None, CapSet::Permitted).map_err(|why| why.to_string())?;
    if has == kept { Ok(()) } else { Err(format!("{has:?} are left")) }
}

/// What a resolver reads: its configuration, and what the C library loads to act on it.
const RESOLVER: [&str; 5] = ["/etc", "/lib", "/lib64", "/usr/lib", "/run"];
/// The port of a name server that has much to say.
const DNS: u16 = 53;

/// Who tells reads nothing but `/proc` and time zones, makes none but a recording, and no TCP connection. Who dials reads what
/// resolves a name, and connects to the ports that were named.
fn landlock(part: &Part) -> Result<RulesetStatus, landlock::RulesetError> {
    let read = AccessFs::ReadFile | AccessFs::ReadDir;
    let make = AccessFs::MakeReg | AccessFs::WriteFile | AccessFs::Truncate;
    let (readable, writes, ports): (&[&str], Option<&Path>, &[u16]) = match part {
        Part::Teller(writes) => (&["/proc", "/usr/share/zoneinfo"], writes.as_deref(), &[]),
        Part::Dialler(ports) => (&RESOLVER, None, ports),
        Part::Asker => return Ok(RulesetStatus::NotEnforced),
    };
    let mut ruleset = Ruleset::default()
        .handle_access(AccessFs::from_all(ABI::V5))?
        .handle_access(AccessNet::from_all(ABI::V5))?
        .create()?;
    let allowed = readable.iter().map(|place| (Path::new(place), read));
    for (place, access) in allowed.chain(writes.map(|place| (place, make))) {
        // What is not there need not be allowed.
        if let Ok(place) = PathFd::new(place) {
            ruleset = ruleset.add_rule(PathBeneath::new(place, access))?;
        }
    }
    if !ports.is_empty() {
        for port in ports.iter().chain([&DNS]) {
            ruleset = ruleset.add_rule(NetPort::new(*port, AccessNet::ConnectTcp))?;
        }
    }
    Ok(ruleset.restrict_self()?.ruleset)
}

/// What no part ever does, nor any program that it starts: to change the host.
const NEVER: &[i64] = &[
    // Mounts, roots and namespaces.
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_move_mount,
    libc::SYS_open_tree,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_mount_setattr,
    libc::SYS_unshare,
    // The kernel, its modules, its clock, its name.
    libc::SYS_reboot,
    libc::SYS_kexec_load,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_acct,
    libc::SYS_quotactl,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_clock_adjtime,
    libc::SYS_adjtimex,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
    // Other processes' memory, keys, files by handle.
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
    libc::SYS_open_by_handle_at,
    // What exploits of kernels begin with.
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_io_uring_setup,
    // Files that are there.
    libc::SYS_fchmod,
    libc::SYS_fchmodat,
    libc::SYS_fchown,
    libc::SYS_fchownat,
    libc::SYS_setxattr,
    libc::SYS_lsetxattr,
    libc::SYS_fsetxattr,
    libc::SYS_removexattr,
    libc::SYS_mknodat,
    libc::SYS_linkat,
    libc::SYS_symlinkat,
    libc::SYS_truncate,
];

/// What the teller never does besides: it starts nothing and opens no socket.
const NEVER_TELLER: &[i64] = &[
    libc::SYS_execve,
    libc::SYS_execveat,
    libc::SYS_socket,
    libc::SYS_connect,
    libc::SYS_bind,
    libc::SYS_listen,
    libc::SYS_setns,
    libc::SYS_unlinkat,
    libc::SYS_mkdirat,
];

/// What a dialler never does besides: it starts nothing, listens nowhere, and has nothing to do with the kernel's programs.
const NEVER_DIALLER: &[i64] = &[
    libc::SYS_execve,
    libc::SYS_execveat,
    libc::SYS_listen,
    libc::SYS_setns,
    libc::SYS_bpf,
    libc::SYS_unlinkat,
    libc::SYS_mkdirat,
];

/// Commands of bpf(2) that read maps or say what programs there are, and that change an element of a map of ours: enum bpf_cmd
/// of include/uapi/linux/bpf.h.
const BPF_COMMANDS: &[u64] = &[
    1,  // BPF_MAP_LOOKUP_ELEM
    2,  // BPF_MAP_UPDATE_ELEM
    3,  // BPF_MAP_DELETE_ELEM
    4,  // BPF_MAP_GET_NEXT_KEY
    11, // BPF_PROG_GET_NEXT_ID
    13, // BPF_PROG_GET_FD_BY_ID
    15, // BPF_OBJ_GET_INFO_BY_FD
    21, // BPF_MAP_LOOKUP_AND_DELETE_ELEM
    24, // BPF_MAP_LOOKUP_BATCH
    25, // BPF_MAP_LOOKUP_AND_DELETE_BATCH
];

/// Answers EPERM to all this.
fn seccomp(part: &Part) -> Result<(), String> {
    let filter = filter(part).map_err(|why| why.to_string())?;
    apply_filter(&filter).map_err(|why| why.to_string())
}

/// The filter of a part.
fn filter(part: &Part) -> Result<BpfProgram, seccompiler::BackendError> {
    let more = match part {
        Part::Teller(_) => NEVER_TELLER,
        Part::Asker => &[],
        Part::Dialler(_) => NEVER_DIALLER,
    };
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = NEVER.iter().chain(more).map(|call| (*call, Vec::new())).collect();
    let other =
        |argument: u8, value: u64| SeccompCondition::new(argument, SeccompCmpArgLen::Dword, SeccompCmpOp::Ne, value);
    if !matches!(part, Part::Dialler(_)) {
        let commands = BPF_COMMANDS.iter().map(|command| other(0, *command)).collect::<Result<_, _>>()?;
        rules.insert(libc::SYS_bpf, vec![SeccompRule::new(commands)?]);
    }
    if *part == Part::Asker {
        // Into network namespaces, and no other.
        let elsewhere = other(1, u64::from(libc::CLONE_NEWNET.unsigned_abs()))?;
        rules.insert(libc::SYS_setns, vec![SeccompRule::new(vec![elsewhere])?]);
    }
    let denied = SeccompAction::Errno(libc::EPERM.unsigned_abs());
    SeccompFilter::new(rules, SeccompAction::Allow, denied, TargetArch::try_from(std::env::consts::ARCH)?)?.try_into()
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::io::ErrorKind;
    use std::net::{Ipv4Addr, TcpListener, TcpStream, ToSocketAddrs as _};
    use std::os::fd::AsFd as _;
    use std::process::Command;
    use std::thread;

    use rustix::io::Errno;
    use rustix::net::{AddressFamily, SocketType, socket};
    use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

    use super::*;

    /// What a thread finds after it has given up what this part does not need.
    fn within<T: Send + 'static>(part: Part, look: impl FnOnce() -> T + Send + 'static) -> T {
        let confined = thread::spawn(move || {
            enter(&part, Sandbox::Auto).expect("privileges can be given up");
            look()
        });
        confined.join().expect("it looks")
    }

    #[test]
    fn the_teller_starts_nothing_opens_no_socket_and_changes_nothing() {
        let place = tempfile::tempdir().expect("a directory");
        let file = place.path().join("there");
        fs::write(&file, "").expect("written");
        within(Part::Teller(None), move || {
            assert_eq!(socket(AddressFamily::INET, SocketType::STREAM, None).err(), Some(Errno::PERM));
            assert!(Command::new("/bin/true").status().is_err_and(|why| why.kind() == ErrorKind::PermissionDenied));
            let mode = std::os::unix::fs::PermissionsExt::from_mode(0o777);
            assert!(File::open("/proc/self/status").and_then(|file| file.set_permissions(mode)).is_err());
            let kept = caps::read(None, CapSet::Effective).expect("capabilities");
            assert!(kept.iter().all(|it| [Capability::CAP_BPF, Capability::CAP_SYSLOG].contains(it)), "{kept:?}");
            assert!(fs::read_to_string("/proc/kallsyms").is_ok());
        });
    }

    #[test]
    fn the_asker_starts_programs_with_no_more_than_it_has_itself_and_enters_network_namespaces_alone() {
        let status = within(Part::Asker, || {
            let (net, mnt) = ["net", "mnt"].map(|kind| File::open(format!("/proc/self/ns/{kind}"))).into();
            let enter = |door: &File, kind| move_into_link_name_space(door.as_fd(), kind);
            if rustix::process::geteuid().is_root() {
                assert_eq!(enter(&net.expect("a door"), Some(LinkNameSpaceType::Network)), Ok(()));
            }
            let mount = enter(&mnt.expect("a door"), Some(LinkNameSpaceType::Mount));
            assert_eq!(mount, Err(Errno::PERM));
            let output = Command::new("/bin/cat").arg("/proc/self/status").output().expect("cat runs");
            String::from_utf8(output.stdout).expect("text")
        });
        let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).expect("a field").trim();
        assert_eq!((field("NoNewPrivs:"), field("Seccomp:")), ("1", "2"));
        let kept: u64 = Part::Asker.keeps().iter().map(Capability::bitmask).sum();
        let has = u64::from_str_radix(field("CapPrm:"), 16).expect("a number");
        assert_eq!(has & !kept, 0, "cat has {has:x}");
    }

    #[test]
    fn a_dialler_reaches_what_was_named_and_nothing_else() {
        let named = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let other = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let [named_at, other_at] = [&named, &other].map(|listener| listener.local_addr().expect("a name"));
        let place = tempfile::tempdir().expect("a directory");
        let file = place.path().join("there");
        fs::write(&file, "").expect("written");
        within(Part::Dialler(vec![named_at.port()]), move || {
            assert!(TcpStream::connect(named_at).is_ok());
            let elsewhere = TcpStream::connect(other_at).expect_err("it was not named");
            assert_eq!(elsewhere.kind(), ErrorKind::PermissionDenied);
            assert!(("localhost", 1).to_socket_addrs().expect("it is resolved").next().is_some());
            assert!(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).is_err() && fs::read(&file).is_err());
            assert!(Command::new("/bin/true").status().is_err_and(|why| why.kind() == ErrorKind::PermissionDenied));
            assert!(caps::read(None, CapSet::Permitted).expect("capabilities").is_empty());
        });
    }

    #[test]
    fn nothing_is_given_up_where_that_is_not_wanted() {
        let kept = thread::spawn(|| {
            let before = caps::read(None, CapSet::Permitted);
            enter(&Part::Teller(None), Sandbox::Off).expect("nothing is done");
            (before.ok(), caps::read(None, CapSet::Permitted).ok())
        });
        let (before, after) = kept.join().expect("it looks");
        assert_eq!(before, after);
    }
}
