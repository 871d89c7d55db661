//! What the running kernel has of what probes could be put on. Only its types are read, so no privilege is needed.

use std::path::Path;

use redis_trace_common::hook::{HOOKS, Hook, Kind};
use redis_trace_common::member::{MEMBERS, Member, Shape};

use super::btf::Btf;
use super::symbols::List;
use super::{HookState, State};

/// Every hook, none of them attached: what the kernel lacks of it, that it needs none, or that nobody may try it.
pub fn survey() -> Vec<HookState> {
    let btf = std::fs::read("/sys/kernel/btf/vmlinux").ok().and_then(|bytes| Btf::parse(bytes).ok());
    let state = |hook| match &btf {
        Some(btf) if is_needless(btf, hook) => State::Spare,
        btf => {
            let lacks = btf.as_ref().and_then(|btf| lacks(btf, hook));
            State::Down(lacks.unwrap_or_else(|| "it takes a privilege that is missing".to_owned()))
        }
    };
    HOOKS.iter().map(|hook| HookState { hook, state: state(hook) }).collect()
}

/// How many hooks these types have something to put a probe on, after every question that probes have for types was asked.
pub fn described(types: Vec<u8>) -> usize {
    let Ok(btf) = Btf::parse(types) else { return 0 };
    for member in MEMBERS {
        let _ = btf.member(member.paths, member.shape);
    }
    let _ = (btf.enumerators("skb_drop_reason"), btf.structure_size("task_smack"));
    let _ = btf.excerpt(HOOKS.iter().map(|hook| hook.target.to_owned()));
    HOOKS.iter().filter(|hook| lacks(&btf, hook).is_none()).count()
}

/// Where the running kernel has a member in its structure, bytes from the start.
pub fn place_of<T>(member: Member<T>) -> Option<u32> {
    let btf = Btf::parse(std::fs::read("/sys/kernel/btf/vmlinux").ok()?).ok()?;
    MEMBERS.get(member.index()).and_then(|wanted| btf.member(wanted.paths, wanted.shape))
}

/// Whether the running kernel gives reasons for what it drops: since Linux 5.17.
pub fn has_drop_reasons() -> bool {
    drop_arguments() > 2
}

/// Whether it tells for which socket a packet came that it drops: since Linux 6.11.
pub fn has_drop_receivers() -> bool {
    drop_arguments() > 3
}

fn drop_arguments() -> u32 {
    let btf = std::fs::read("/sys/kernel/btf/vmlinux").ok().and_then(|bytes| Btf::parse(bytes).ok());
    btf.and_then(|btf| btf.tracepoint_arguments("kfree_skb")).unwrap_or_default()
}

/// Whether probes can be put on functions by their names, and the kernel itself be asked which rule rejects: some hardened
/// kernels are built without.
pub fn has_kprobes() -> bool {
    Path::new("/sys/bus/event_source/devices/kprobe").exists()
}

/// The functions that probes are to be put on by their names.
pub(super) fn by_name() -> Vec<&'static str> {
    HOOKS.iter().filter(|hook| hook.kind == Kind::Kprobe).map(|hook| hook.target).collect()
}

/// Those of them that the kernel and its modules have now.
pub(super) fn functions(symbols: &List) -> Vec<&'static str> {
    if has_kprobes() { symbols.present(&by_name()) } else { Vec::new() }
}

/// Whether this kernel lets be read without a hook what it would tell.
pub(super) fn is_needless(btf: &Btf, hook: &Hook) -> bool {
    hook.beside().is_some_and(|(function, wanted)| {
        !btf.function_arguments(function).is_some_and(|arguments| wanted.contains(&arguments))
    })
}

/// Why this kernel has nothing to put the probe on.
pub(super) fn lacks(btf: &Btf, hook: &Hook) -> Option<String> {
    if hook.member().is_some_and(|member| btf.member(&[member], Shape::Any).is_none()) {
        return Some("does not tell of what it is called on this kernel".to_owned());
    }
    match hook.kind {
        Kind::RawTracepoint { arguments } | Kind::TypedTracepoint { arguments } => {
            match btf.tracepoint_arguments(hook.target) {
                None => Some("this kernel has no such tracepoint".to_owned()),
                Some(has) if has < arguments => Some(format!(
                    "has {has} arguments on this kernel, and does not tell what is needed without {arguments}"
                )),
                Some(_) => None,
            }
        }
        Kind::Fentry | Kind::Fexit if btf.function_arguments(hook.target).is_none() => {
            Some("this kernel has no such function".to_owned())
        }
        Kind::Kprobe if !has_kprobes() => Some("this kernel is built without kprobes".to_owned()),
        Kind::Fentry | Kind::Fexit | Kind::Kprobe | Kind::Syscall => None,
    }
}
