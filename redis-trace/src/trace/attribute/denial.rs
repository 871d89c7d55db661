//! A call was denied: by whom. Who was seen to say no did it; where nobody was, whoever alone can have.

use crate::trace::cause::Confidence;
use crate::trace::denied::{By, Denied, Failed};
use crate::trace::errno::{self, EACCES, EPERM};
use crate::trace::fact::{Audited, Call, ConnectFailed, Denial, Module, Said, Task};
use crate::trace::known::{FailedBind, FailedSocket, FailedStart, Known};
use crate::trace::question::Question;
use crate::trace::text::Text;
use crate::trace::verdict::{Cause, Verdict};

use super::{Judged, client};

/// A call that failed, and what may have said no to it.
struct Failure<'a> {
    call: Call,
    pid: u32,
    errno: u32,
    /// When it ended, boottime nanoseconds.
    time: u64,
    denial: &'a Denial,
}

/// A bind or listen that failed: who denied it, when anybody did.
pub(super) fn of_bind(failed: &FailedBind, known: &Known) -> Option<(Denied, Confidence)> {
    let (denied, confidence) = judge(&failure_of_bind(failed)?, known)?;
    Some((Denied { failed: Some(Failed::Bind(failed.clone())), ..denied }, confidence))
}

/// What must be asked before it is judged.
pub(super) fn question_of_bind(failed: &FailedBind, known: &Known) -> Option<Question> {
    question(&failure_of_bind(failed)?, known)
}

fn failure_of_bind(failed: &FailedBind) -> Option<Failure<'_>> {
    let call = if failed.listen { Call::Listen } else { Call::Bind };
    let FailedBind { process, errno, time, denial, .. } = failed;
    Some(Failure { call, pid: process.pid, errno: *errno, time: *time, denial: denial.as_ref()? })
}

/// A server that could not make a socket to listen on: who denied it, when anybody did.
pub(super) fn of_start(failed: &FailedStart, known: &Known) -> Option<(Denied, Confidence)> {
    let FailedSocket { errno, time, denial } = failed.socket.as_ref()?;
    let failure =
        Failure { call: Call::Create, pid: failed.process.pid, errno: *errno, time: *time, denial: denial.as_ref()? };
    let (denied, confidence) = judge(&failure, known)?;
    Some((Denied { failed: Some(Failed::Start(failed.clone())), ..denied }, confidence))
}

/// A connect that failed before a SYN was sent.
pub(super) fn of_dial(time: u64, failed: &ConnectFailed, known: &Known) -> Judged {
    let Some(denial) = known.denials.of(failed.task.tid, time) else { return client::no_way(time, failed, known) };
    let failure = Failure { call: Call::Connect, pid: failed.task.pid, errno: failed.errno, time, denial };
    if let Some(question) = question(&failure, known) {
        return Judged::Ask(vec![question]);
    }
    let Some((denied, confidence)) = judge(&failure, known) else { return client::no_way(time, failed, known) };
    if confidence == Confidence::Certain {
        return verdict(denied, confidence);
    }
    // A route of type prohibit gives the same errno, and so does an IPsec policy.
    let (netns, to) = (failed.flow.netns, failed.flow.server);
    let question = Question::Route { netns, to };
    if !known.is_answered(&question, time) {
        return Judged::Ask(vec![question]);
    }
    match known.route(netns, to) {
        Some(errno) if errno == failed.errno => client::no_way(time, failed, known),
        Some(_) => verdict(denied, confidence),
        None => verdict(denied, Confidence::Possible),
    }
}

/// A call of a thread's that got this errno, which is nobody else's: of socket, or of accept.
pub(super) fn of_call(call: Call, time: u64, task: &Task, errno: u32, known: &Known) -> Judged {
    let Some(denial) = known.denials.of(task.tid, time) else { return unknown(call, errno) };
    let failure = Failure { call, pid: task.pid, errno, time, denial };
    if let Some(question) = question(&failure, known) {
        return Judged::Ask(vec![question]);
    }
    match judge(&failure, known) {
        Some((denied, confidence)) => verdict(denied, confidence),
        None => unknown(call, errno),
    }
}

fn verdict(denied: Denied, confidence: Confidence) -> Judged {
    Verdict { cause: Cause::Denied(Box::new(denied)), confidence }.into()
}

fn unknown(call: Call, got: u32) -> Judged {
    let (call, got) = (call.name(), errno::name(got));
    let missing = format!("{call} failed with {got}, and nothing that was seen says who refused it");
    Verdict::possible(Cause::Unknown { missing }).into()
}

/// What must be asked before a call is judged to which nobody was heard to say no: whether there is a BPF LSM program that may
/// have, and what the kernel's audit recorded where a module that has it record denials is a suspect.
fn question(failure: &Failure<'_>, known: &Known) -> Option<Question> {
    let &Failure { call, pid, errno, time, denial } = failure;
    if denial.said.is_some() {
        return None;
    }
    let is_open = |question: &Question| !known.is_answered(question, time);
    let may_be_a_program = errno == EPERM && !known.sight.hears(Module::Bpf, call);
    let programs = Some(Question::LsmPrograms).filter(|question| may_be_a_program && is_open(question));
    programs.or_else(|| {
        let is_suspected = suspects(failure, known).iter().any(is_recorded);
        Some(Question::Audited { pid, call, time }).filter(|question| is_suspected && is_open(question))
    })
}

/// Whether the kernel's audit records what this one denies.
fn is_recorded(by: &By) -> bool {
    matches!(by, By::Module { module: Module::Apparmor | Module::Selinux, .. })
}

/// Who denied a call, and how sure that is.
fn judge(failure: &Failure<'_>, known: &Known) -> Option<(Denied, Confidence)> {
    let denial = failure.denial;
    let denied = |by, others| Denied { call: failure.call, by, others, recorded: false, failed: None };
    let certainly = |by| Some((denied(by, Vec::new()), Confidence::Certain));
    match denial.said {
        Some(Said::Filter) => return certainly(By::Filter { heard: true }),
        Some(Said::Module(module)) => return certainly(by_module(module, denial, denial.capability.is_some())),
        Some(Said::CgroupBpf) => return certainly(by_program(denial)),
        None => {}
    }
    let suspects = suspects(failure, known);
    if let Some(Audited { module, capability, subject, object }) = known.audited(failure.pid, failure.time).cloned() {
        // The record may be of another such call of this process: who else can have denied this one makes it less sure.
        let confidence = if suspects.iter().all(is_recorded) { Confidence::Certain } else { Confidence::Likely };
        let denied = denied(By::Module { module, subject, object, capability }, Vec::new());
        return Some((Denied { recorded: true, ..denied }, confidence));
    }
    let mut suspects = suspects.into_iter();
    let first = suspects.next()?;
    let others: Vec<By> = suspects.collect();
    let confidence = if others.is_empty() { Confidence::Likely } else { Confidence::Possible };
    Some((denied(first, others), confidence))
}

/// Those that can have denied it without being heard, the most likely first.
fn suspects(failure: &Failure<'_>, known: &Known) -> Vec<By> {
    let &Failure { call, errno, denial, .. } = failure;
    // Who is heard, and was not, did not.
    let is_silent = |module: Module| known.sight.has_module(module.listed()) && !known.sight.hears(module, call);
    let mut suspects = Vec::new();
    if denial.seccomp && !known.sight.module_hooks {
        suspects.push(By::Filter { heard: false });
    }
    // Its rules are about TCP ports to bind and to connect to: security/landlock/net.c.
    let is_of_ports = errno == EACCES && matches!(call, Call::Bind | Call::Connect);
    if is_of_ports && denial.landlock && !known.sight.hears(Module::Landlock, call) {
        suspects.push(by_module(Module::Landlock, denial, false));
    }
    // It gives EPERM unless it chooses another errno.
    if denial.programs > 0 && !known.sight.module_hooks {
        suspects.push(by_program(denial));
    }
    let others: &[Module] = match errno {
        EACCES => &[Module::Apparmor, Module::Selinux, Module::Smack],
        EPERM => &[Module::Tomoyo, Module::Bpf],
        _ => &[],
    };
    // On the hooks of BPF LSM nobody says no unless a program is there.
    let has_voice = |module: Module| match module {
        Module::Bpf => known.lsm_programs().is_none_or(|all| !all.is_empty()),
        Module::Apparmor => denial.subject.as_ref().is_none_or(|profile| profile.as_str() != "unconfined"),
        // It is not asked for others: security/tomoyo/tomoyo.c.
        Module::Tomoyo => matches!(call, Call::Bind | Call::Listen | Call::Connect),
        Module::Smack => call == Call::Connect,
        Module::Landlock | Module::Selinux => true,
    };
    let others = others.iter().filter(|module| is_silent(**module) && has_voice(**module));
    suspects.extend(others.map(|module| by_module(*module, denial, false)));
    suspects
}

fn by_module(module: Module, denial: &Denial, capability: bool) -> By {
    let subject = match (module, denial.domain) {
        (Module::Landlock, Some(domain)) => Some(Text::from(format!("domain {domain:x}").as_str())),
        (Module::Landlock, None) | (Module::Bpf, _) => None,
        // Of a caller of whom nothing was heard the profile of AppArmor is told.
        (Module::Tomoyo | Module::Smack, _) => {
            denial.subject.clone().filter(|_| denial.said == Some(Said::Module(module)))
        }
        (Module::Selinux | Module::Apparmor, _) => denial.subject.clone(),
    };
    By::Module { module, subject, object: denial.object.clone(), capability }
}

fn by_program(denial: &Denial) -> By {
    By::Program { program: denial.program.clone(), programs: denial.programs }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::fact::{Fact, Sight, What};
    use crate::trace::remembered::Bounds;

    /// What is known where modules are heard or are not.
    fn known(module_hooks: bool) -> Known {
        let mut known = Known::new(Bounds::default());
        let modules = Some(vec![Text::from("landlock"), Text::from("apparmor")]);
        known.learn(&Fact { time: 1, what: What::Sight(Sight { module_hooks, modules, ..Sight::default() }) });
        known
    }

    #[test]
    fn a_filter_that_may_have_kept_a_call_out_is_suspected_before_others() {
        let filtered = Denial { seccomp: true, ..Denial::default() };
        let judged = |denial: &Denial| {
            let failure = Failure { call: Call::Bind, pid: 7, errno: EPERM, time: 1, denial };
            judge(&failure, &known(false)).expect("a suspect")
        };
        let (denied, confidence) = judged(&filtered);
        assert_eq!((denied.by, confidence), (By::Filter { heard: false }, Confidence::Likely));

        let programs = Denial { programs: 1, ..filtered };
        let (denied, confidence) = judged(&programs);
        assert_eq!(
            (denied.by, denied.others.len(), confidence),
            (By::Filter { heard: false }, 1, Confidence::Possible)
        );
    }

    #[test]
    fn who_is_heard_and_was_not_is_not_suspected() {
        let in_a_domain = Denial { landlock: true, programs: 1, ..Denial::default() };
        for errno in [EACCES, EPERM] {
            let failure = Failure { call: Call::Bind, pid: 7, errno, time: 1, denial: &in_a_domain };
            assert_eq!(judge(&failure, &known(true)), None);
            let (denied, _) = judge(&failure, &known(false)).expect("a suspect");
            assert_eq!(denied.code().as_str(), if errno == EACCES { "RT3010" } else { "RT3020" });
        }
        // Of connect nothing is heard of this one.
        let mut known = known(true);
        known.sight.unheard.push((Module::Landlock, Call::Connect));
        let judged = |call| {
            let failure = Failure { call, pid: 7, errno: EACCES, time: 1, denial: &in_a_domain };
            judge(&failure, &known).map(|(denied, confidence)| (denied.code().as_str(), confidence))
        };
        assert_eq!(judged(Call::Bind), None);
        assert_eq!(judged(Call::Connect), Some(("RT3012", Confidence::Likely)));
    }
}
