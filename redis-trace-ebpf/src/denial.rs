//! Who may have said no to a call on a socket: what was seen of them during the call, and how they stand at its end.

use core::ffi::c_void;
use core::ptr::read_volatile;

use aya_ebpf::helpers::bpf_get_current_pid_tgid;
use aya_ebpf::helpers::generated::{bpf_get_current_task_btf, bpf_probe_read_kernel_str};
use redis_trace_common::denial::{ATTACH_POINTS, Asked, LANDLOCK_RIGHTS, Said};
use redis_trace_common::hook::TASK_PT_REGS;
use redis_trace_common::member::{
    ABSENT, BPF_PROGRAMS, CGROUP_EFFECTIVE, CRED_SECURITY, CSS_SET_CGROUP, DOMAIN_NAME, DOMAIN_PATH, LABEL_NAME,
    LANDLOCK_DOMAIN, LANDLOCK_HIERARCHY, LANDLOCK_ID, LANDLOCK_LAYERS, LANDLOCK_MASKS, LANDLOCK_NET, PROGRAM_AUX,
    PROGRAM_ID, PROGRAM_NAME, SMACK_LABEL, SMACK_TASK, TASK_CGROUPS, TASK_CRED, TASK_PID, TASK_SECCOMP, TASK_SECURITY,
    TOMOYO_DOMAIN,
};
use redis_trace_common::record::{CONTEXT_LEN, Denial, Dropped};
use redis_trace_common::tally::{End, Key};

use crate::emit::{now, reserve};
use crate::kernel::{arguments, copy, current, has, load, peek, place, read, read_into, word};
use crate::maps::{HINT, HINTS, PACKET};
use crate::probes::who;
use crate::tally;

/// Where Landlock keeps its part beside a task's credentials, from the program; absent where that is not known.
#[unsafe(no_mangle)]
static LANDLOCK_AT: u32 = ABSENT;

/// Where AppArmor keeps its part, likewise.
#[unsafe(no_mangle)]
static APPARMOR_AT: u32 = ABSENT;

/// Where TOMOYO keeps its part beside a task itself, likewise.
#[unsafe(no_mangle)]
static TOMOYO_AT: u32 = ABSENT;

/// Where Smack keeps its part beside a task's credentials, likewise.
#[unsafe(no_mangle)]
static SMACK_AT: u32 = ABSENT;

/// Places in the running kernel's table of a cgroup's programs, in the order of [`ATTACH_POINTS`].
#[unsafe(no_mangle)]
static ATTACH_PLACES: [u32; ATTACH_POINTS.len()] = [ABSENT; ATTACH_POINTS.len()];

/// Bytes from one program of an array to the next, from the program.
#[unsafe(no_mangle)]
static PROGRAM_STRIDE: u32 = 0;

/// `SECCOMP_MODE_FILTER`, include/uapi/linux/seccomp.h.
const SECCOMP_MODE_FILTER: u32 = 2;
/// `LANDLOCK_MAX_NUM_LAYERS`, security/landlock/limits.h.
const LANDLOCK_MOST_LAYERS: u32 = 16;
/// Programs that are counted at most.
const MANY: u64 = 4;
/// What was seen longer ago is of another call, nanoseconds.
const CALL: u64 = 1_000_000_000;

/// What was seen so long ago is of another packet: on a machine that shares its processors one may be kept waiting.
const PACKET_STAYS: u64 = 100_000_000;

/// What was seen of a call under way, or of a packet.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Hint {
    /// When.
    time: u64,
    /// Who said no, [`Said`].
    said: u32,
    /// What became of a question for a capability, [`Asked`].
    capability: u32,
    /// Bytes of `subject` that count.
    subject_length: u32,
    /// Bytes of `object` that count.
    object_length: u32,
    /// The number of a packet's context.
    label: u32,
    /// Zero.
    reserved: u32,
    /// The caller's context or profile, or the listener's.
    subject: [u8; CONTEXT_LEN],
    /// The context of what it wanted, or of the packet.
    object: [u8; CONTEXT_LEN],
}

/// Remembers until the end of the call who said no, and to whom: `subject` and `object` are the kernel's strings, or 0.
#[inline(always)]
pub(crate) fn saw(said: Said, capability: Asked, subject: u64, object: u64) {
    let Some(hint) = HINT.get_ptr_mut(0) else { return };
    unsafe {
        note(hint, said, subject, object);
        (*hint).capability = capability as u32;
        let _ = HINTS.insert(&bpf_get_current_pid_tgid(), &*hint, 0);
    }
}

/// Remembers who said no to the packet of this label that this processor has at hand: it is dropped next.
#[inline(always)]
pub(crate) fn saw_packet(said: Said, label: u32, subject: u64, object: u64) {
    let Some(hint) = PACKET.get_ptr_mut(0) else { return };
    unsafe {
        note(hint, said, subject, object);
        (*hint).label = label;
    }
}

#[inline(always)]
unsafe fn note(hint: *mut Hint, said: Said, subject: u64, object: u64) {
    unsafe {
        (*hint).time = now();
        (*hint).said = said as u32;
        (*hint).subject_length = string(&raw mut (*hint).subject, subject);
        (*hint).object_length = string(&raw mut (*hint).object, object);
    }
}

/// What was seen of a packet of this label, when it is the one that this processor has at hand.
#[inline(always)]
fn of_packet(label: u32) -> Option<&'static Hint> {
    let hint = PACKET.get(0)?;
    if hint.label == label && now() - hint.time < PACKET_STAYS { Some(hint) } else { None }
}

/// Whether anybody was seen to say no to it.
#[inline(always)]
pub(crate) fn is_denied(label: u32) -> bool {
    of_packet(label).is_some()
}

/// The processor has another one at hand.
#[inline(always)]
pub(crate) fn forget_packet() {
    if let Some(hint) = PACKET.get_ptr_mut(0) {
        unsafe { (*hint).time = 0 };
    }
}

/// Adds who said no to the packet.
#[inline(always)]
pub(crate) fn fill_packet(record: *mut Dropped, label: u32) {
    let hint = of_packet(label);
    unsafe {
        (&raw mut (*record).said).write(hint.map_or(Said::Nobody as u32, |hint| hint.said));
        (&raw mut (*record).reserved).write(0);
        let lengths = [&raw mut (*record).subject_length, &raw mut (*record).object_length];
        fill_contexts(lengths, [&raw mut (*record).subject, &raw mut (*record).object], hint);
    }
}

/// Writes whose context was seen and that of what was wanted, and how long each is; zeroes where nothing was.
#[inline(always)]
unsafe fn fill_contexts(lengths: [*mut u32; 2], contexts: [*mut [u8; CONTEXT_LEN]; 2], hint: Option<&Hint>) {
    // What lies at address 0 reads as zero.
    let (subject, object) = hint.map_or((0, 0), |hint| (&raw const hint.subject as u64, &raw const hint.object as u64));
    let seen = hint.map_or([0; 2], |hint| [hint.subject_length, hint.object_length]);
    unsafe {
        lengths[0].write(seen[0]);
        lengths[1].write(seen[1]);
    }
    copy(contexts[0], subject);
    copy(contexts[1], object);
}

/// The same of a module that may have been seen to say it before, and then to whom.
#[inline(always)]
pub(crate) fn saw_unless_known(said: Said, capability: Asked, subject: u64) {
    let known = unsafe { HINTS.get(&bpf_get_current_pid_tgid()) };
    if !known.is_some_and(|hint| hint.said == said as u32 && now() - hint.time < CALL) {
        saw(said, capability, subject, 0);
    }
}

/// Copies a string; its length without the NUL.
#[inline(always)]
unsafe fn string(into: *mut [u8; CONTEXT_LEN], from: u64) -> u32 {
    if from == 0 {
        return 0;
    }
    let into = into.cast::<c_void>();
    let written = unsafe { bpf_probe_read_kernel_str(into, CONTEXT_LEN as u32, from as *const c_void) };
    if written > 0 { written as u32 - 1 } else { 0 }
}

/// The call is over: what was seen of it does not concern the next.
#[inline(always)]
pub(crate) fn forget() {
    let _ = HINTS.remove(&bpf_get_current_pid_tgid());
}

/// Whether a security module, a program or a capability gives such an errno: EPERM and EACCES.
#[inline(always)]
pub(crate) fn is_denial(errno: u32) -> bool {
    matches!(errno, 1 | 13)
}

/// Whether system calls of the current task go through a seccomp filter.
#[inline(always)]
pub(crate) fn has_filter() -> bool {
    let mode = if arguments(TASK_PT_REGS) == ABSENT {
        read(current(), TASK_SECCOMP)
    } else {
        // Since Linux 5.11: what the verifier knows the type of is read without a call.
        unsafe { load(bpf_get_current_task_btf() as u64, TASK_SECCOMP) }
    };
    mode == SECCOMP_MODE_FILTER
}

/// A call on a socket has failed: whether that is told, and then everything that is told before it.
#[inline(always)]
pub(crate) fn is_told(task: u64, key: &Key, point: usize, errno: u32, is_entered: bool) -> bool {
    let end = if key.end == End::Listen as u32 { End::Listen } else { End::Client };
    if end == End::Listen {
        who::keep_watched(task);
    }
    if !tally::is_sample(end, key) {
        return false;
    }
    who::introduce(task);
    if is_denial(errno) || !is_entered {
        tell(task, point, is_entered);
    }
    true
}

/// Tells who may have said no to the call that its caller now gets an error for. `point` is its place in [`ATTACH_POINTS`],
/// and a call that was not entered never came past the filter.
#[inline(always)]
fn tell(task: u64, point: usize, is_entered: bool) {
    let Some(mut slot) = reserve::<Denial>() else { return };
    let record = slot.record();
    unsafe {
        read_into(&raw mut (*record).tid, task, TASK_PID);
        (&raw mut (*record).seccomp).write(u32::from(!is_entered));
        (&raw mut (*record).reserved).write(0);
        fill_hint(record);
        fill_profile(record, task);
        fill_domain(record, task, LANDLOCK_RIGHTS.get(point).copied().unwrap_or(0));
        let (programs, first) = programs(read(read(task, TASK_CGROUPS), CSS_SET_CGROUP), point);
        (&raw mut (*record).programs).write(programs);
        fill_program(&raw mut (*record).program, &raw mut (*record).program_name, first);
    }
    slot.submit();
}

/// What was seen during the call.
#[inline(always)]
unsafe fn fill_hint(record: *mut Denial) {
    let hint = unsafe { HINTS.get(&bpf_get_current_pid_tgid()) }.filter(|hint| now() - hint.time < CALL);
    unsafe {
        (&raw mut (*record).said).write(hint.map_or(Said::Nobody as u32, |hint| hint.said));
        (&raw mut (*record).capability).write(hint.map_or(Asked::Unseen as u32, |hint| hint.capability));
        let lengths = [&raw mut (*record).subject_length, &raw mut (*record).object_length];
        fill_contexts(lengths, [&raw mut (*record).subject, &raw mut (*record).object], hint);
    }
}

/// The name of the caller's TOMOYO domain, 0 where it is not known: tomoyo_task(), security/tomoyo/common.h.
#[inline(always)]
pub(crate) fn tomoyo_domain() -> u64 {
    let at = unsafe { read_volatile(&raw const TOMOYO_AT) };
    if at == ABSENT {
        return 0;
    }
    let own = read(current(), TASK_SECURITY) + u64::from(at);
    read(read(read(own, TOMOYO_DOMAIN), DOMAIN_NAME), DOMAIN_PATH)
}

/// The caller's Smack label, 0 where it is not known: smk_of_task(), security/smack/smack.h.
#[inline(always)]
pub(crate) fn smack_label() -> u64 {
    let at = unsafe { read_volatile(&raw const SMACK_AT) };
    if at == ABSENT {
        return 0;
    }
    let own = read(read(current(), TASK_CRED), CRED_SECURITY) + u64::from(at);
    read(read(own, SMACK_TASK), SMACK_LABEL)
}

/// The caller's AppArmor profile, unless somebody was seen to name the caller: cred_label(), security/apparmor/include/cred.h.
#[inline(always)]
unsafe fn fill_profile(record: *mut Denial, task: u64) {
    let at = unsafe { read_volatile(&raw const APPARMOR_AT) };
    let (said, length) = unsafe { ((&raw const (*record).said).read(), (&raw const (*record).subject_length).read()) };
    // What TOMOYO denies it does not deny to a profile.
    if at == ABSENT || length != 0 || said == Said::Tomoyo as u32 {
        return;
    }
    let label = peek::<u64>(read(read(task, TASK_CRED), CRED_SECURITY) + u64::from(at));
    let name = if label == 0 { 0 } else { read(label, LABEL_NAME) };
    unsafe {
        let length = string(&raw mut (*record).subject, name);
        (&raw mut (*record).subject_length).write(length);
    }
}

/// The caller's Landlock domain: landlock_cred(), security/landlock/cred.h.
#[inline(always)]
unsafe fn fill_domain(record: *mut Denial, task: u64, right: u32) {
    let at = unsafe { read_volatile(&raw const LANDLOCK_AT) };
    let (state, domain) = if at == ABSENT {
        (2, 0)
    } else {
        let own = read(read(task, TASK_CRED), CRED_SECURITY) + u64::from(at);
        let domain = read(own, LANDLOCK_DOMAIN);
        let is_asked = domain != 0 && decides(domain, right);
        (u32::from(is_asked), if is_asked { read(read(domain, LANDLOCK_HIERARCHY), LANDLOCK_ID) } else { 0 })
    };
    unsafe {
        (&raw mut (*record).landlock).write(state);
        (&raw mut (*record).domain).write(domain);
    }
}

/// Whether a domain has a say in such calls: landlock_get_applicable_subject(), security/landlock/ruleset.h. None has before
/// Linux 6.7; until 6.11 the masks have another form, and any may have.
#[inline(always)]
fn decides(domain: u64, right: u32) -> bool {
    if right == 0 || !has(LANDLOCK_MASKS) {
        return false;
    }
    if !has(LANDLOCK_NET) {
        return true;
    }
    let layers = read(domain, LANDLOCK_LAYERS);
    let mut handled = 0;
    for layer in 0..LANDLOCK_MOST_LAYERS {
        if layer >= layers {
            break;
        }
        handled |= peek::<u32>(place(domain, LANDLOCK_MASKS) + 4 * u64::from(layer)) >> (word(LANDLOCK_NET) & 31);
    }
    handled & right != 0
}

/// How many programs have a say in such calls or packets in a cgroup, and the first of them: `struct cgroup_bpf`,
/// include/linux/bpf-cgroup-defs.h.
#[inline(always)]
pub(crate) fn programs(cgroup: u64, point: usize) -> (u32, u64) {
    let places = (&raw const ATTACH_PLACES).cast::<u32>();
    let at = unsafe { read_volatile(places.add(point)) };
    let stride = u64::from(unsafe { read_volatile(&raw const PROGRAM_STRIDE) });
    let array = if at == ABSENT || stride == 0 { 0 } else { peek(place(cgroup, CGROUP_EFFECTIVE) + 8 * u64::from(at)) };
    if array == 0 {
        return (0, 0);
    }
    let programs = place(array, BPF_PROGRAMS);
    let first: u64 = peek(programs);
    let (mut count, mut next) = (0, first);
    for nth in 1..=MANY {
        if next == 0 {
            break;
        }
        count += 1;
        next = peek(programs + nth * stride);
    }
    (count, first)
}

/// Writes a program's number and name; zeroes where there is none.
#[inline(always)]
pub(crate) fn fill_program(id: *mut u32, name: *mut [u8; 16], program: u64) {
    let aux = if program == 0 { 0 } else { read(program, PROGRAM_AUX) };
    read_into(id, aux, PROGRAM_ID);
    read_into(name, aux, PROGRAM_NAME);
}
