//! What is said where probes may not be loaded. A process of its own: what the kernel can do is found out once a process.

use caps::{CapSet, Capability};
use redis_trace::kernel::{self, Error, Fault, Options};

/// Attaches in a thread without these capabilities, which each thread has for itself; gives what is said.
fn attach_without(missing: &'static [Capability]) -> Option<Error> {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: only root has capabilities to do without");
        return None;
    }
    let attach = move || {
        for capability in missing {
            caps::drop(None, CapSet::Effective, *capability).expect("a capability can be given up");
        }
        kernel::attach(&Options::default()).err()
    };
    Some(std::thread::spawn(attach).join().expect("no panic").expect("the kernel refuses"))
}

#[test]
fn without_capabilities_those_that_are_missing_are_named() {
    let Some(error) = attach_without(&[Capability::CAP_SYS_ADMIN, Capability::CAP_BPF, Capability::CAP_PERFMON]) else {
        return;
    };
    assert_eq!(error.fault, Fault::Permission);
    assert_eq!(error.headline, "cannot load probes: CAP_BPF and CAP_PERFMON are missing (have neither)");
    let text = error.to_string();
    assert!(
        text.contains("\n  facts kernel ") && text.contains("\n  try   sudo redis-trace watch\n  or    "),
        "{text}"
    );
}

#[test]
fn a_capability_that_is_there_is_not_asked_for() {
    let Some(error) = attach_without(&[Capability::CAP_SYS_ADMIN, Capability::CAP_PERFMON]) else { return };
    assert_eq!(error.fault, Fault::Permission);
    assert!(error.headline.ends_with("CAP_PERFMON is missing (have CAP_BPF)"), "{error}");
}
