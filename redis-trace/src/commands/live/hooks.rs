//! What the hooks let us see: for the banner, the summary, and the facts.

use std::collections::BTreeSet;

use redis_trace_common::hook::{Hook, Role, Tier};

use crate::host;
use crate::kernel::{self, HookState, State};
use crate::trace::cause::Code;
use crate::trace::fact::{Call, Module, Sight};
use crate::trace::flow::Netns;
use crate::trace::report::HooksReport;
use crate::trace::text::Text;

/// What can be seen with these hooks, from this moment on.
pub(super) fn sight(hooks: &[HookState], since: u64) -> Sight {
    let sees = |role: Role| serves(hooks, role);
    let modules = kernel::judges();
    Sight {
        kernel: release(),
        version: Text::from(env!("CARGO_PKG_VERSION")),
        since,
        resets: sees(Role::Resets),
        connects: sees(Role::States),
        drops: sees(Role::Drops),
        binds: sees(Role::Binds),
        unix: sees(Role::Connects),
        module_hooks: is_whole(hooks, Role::Modules),
        capabilities: sees(Role::Capabilities),
        unheard: unheard(hooks, modules.as_deref().unwrap_or_default()),
        modules: modules.map(|modules| modules.into_iter().map(Text::from).collect()),
        netns: own_netns(),
    }
}

/// What these modules may say no to without being heard.
fn unheard(hooks: &[HookState], modules: &[String]) -> Vec<(Module, Call)> {
    let is_heard = |module: Module, call: Call| {
        let is_on_it = |hook: &Hook| hook.module() == Some(module.listed()) && hook.target.ends_with(call.name());
        hooks.iter().any(|state| state.state == State::Up && is_on_it(state.hook))
    };
    let at_work = Module::ALL.into_iter().filter(|module| modules.iter().any(|listed| listed == module.listed()));
    let calls = at_work.flat_map(|module| Call::ALL.map(|call| (module, call)));
    calls.filter(|(module, call)| !is_heard(*module, *call)).collect()
}

/// The hooks of a role that are wanted here: of the tier that tells what it is for.
fn wanted(hooks: &[HookState], role: Role) -> impl Iterator<Item = &HookState> {
    let of_role = hooks.iter().filter(move |state| state.hook.role == role);
    let up = of_role.clone().find(|state| state.state == State::Up);
    // What only trampolines can tell has no hooks of the other tier.
    let tier = up.or(of_role.clone().next_back()).map_or(Tier::T2, HookState::tier);
    of_role.filter(move |state| state.tier() == tier && state.state != State::Spare)
}

/// All hooks that are wanted here, up or not.
pub fn all_wanted(hooks: &[HookState]) -> impl Iterator<Item = &HookState> {
    Role::ALL.iter().flat_map(|role| wanted(hooks, *role))
}

/// How many hooks are up of those wanted, and which causes the others hide.
pub fn report(hooks: &[HookState]) -> HooksReport {
    let mut report = HooksReport::default();
    let mut hidden = BTreeSet::new();
    for role in Role::ALL {
        let (up, all) =
            wanted(hooks, *role).fold((0, 0), |(up, all), state| (up + u32::from(state.state == State::Up), all + 1));
        report.up += up;
        report.expected += all;
        if up < all {
            hidden.extend(role.causes().iter().filter_map(|code| code.parse::<Code>().ok()));
        }
    }
    report.degraded = hidden.into_iter().collect();
    report
}

/// The lines that tell a user what is watched and what is not.
pub fn banner(hooks: &[HookState], listeners: usize, namespaces: usize) -> String {
    let report = report(hooks);
    let mut lines = vec![format!(
        "redis-trace {} · kernel {} · hooks {}/{}",
        env!("CARGO_PKG_VERSION"),
        release(),
        report.up,
        report.expected
    )];
    if report.up == 0 {
        lines.push(
            "degraded: without probes full queues alone are told, by the kernel's counters once a second".to_owned(),
        );
    } else if !report.degraded.is_empty() {
        let codes: Vec<&str> = report.degraded.iter().map(|code| code.as_str()).collect();
        lines.push(format!("degraded: {} (redis-trace check says why)", codes.join(" ")));
    }
    if !host::all_are_seen() {
        lines.push(
            "this is a pid namespace of its own: who listens is told of its processes alone, by their numbers in it \
             (docker run --pid=host, hostPID: true)"
                .to_owned(),
        );
    }
    if hooks.iter().any(|state| state.state == State::Up && state.hook.kind == redis_trace_common::hook::Kind::Syscall)
    {
        lines.push(
            "system call tracepoints are on: every system call costs some 30 ns more; --no-syscall-hooks leaves them out"
                .to_owned(),
        );
    }
    if hooks.iter().any(|state| state.state == State::Up && state.hook.role == Role::Filters) {
        lines.push(
            "a hook on seccomp filters is on: processes that have one pay a little at every system call; \
             --no-syscall-hooks leaves it out"
                .to_owned(),
        );
    }
    let plural = if namespaces == 1 { "" } else { "s" };
    lines.push(format!("watching {listeners} listeners in {namespaces} network namespace{plural}; Ctrl-C ends"));
    lines.join("\n")
}

/// Whether nothing that a role's first tier could tell is missing.
fn is_whole(hooks: &[HookState], role: Role) -> bool {
    let mut of_role = hooks.iter().filter(|state| state.hook.role == role && state.tier() == Tier::T1);
    of_role.all(|state| !matches!(state.state, State::Down(_)))
}

fn serves(hooks: &[HookState], role: Role) -> bool {
    hooks.iter().any(|state| state.hook.role == role && state.state == State::Up)
}

/// `uname -r`.
fn release() -> Text {
    Text::new(rustix::system::uname().release().to_bytes())
}

fn own_netns() -> Netns {
    use rustix::fs::{CWD, statat};
    let inode = statat(CWD, "/proc/self/ns/net", rustix::fs::AtFlags::empty()).map(|stat| stat.st_ino);
    Netns(inode.ok().and_then(|inode| u32::try_from(inode).ok()).unwrap_or_default())
}
