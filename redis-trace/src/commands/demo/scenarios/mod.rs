//! Every situation that redis-trace explains, one scenario each.

use anyhow::Result;

use super::cgroup::{has_bpf_lsm, has_chosen_errno};
use super::confine::{has_apparmor, has_landlock, has_selinux};
use super::process::is_installed;
use super::rules::{can_reject, has_ipvs};
use super::stage::Stage;
use super::tomoyo::has_tomoyo;
use crate::kernel::{self, has_drop_reasons, has_drop_receivers};
use crate::trace::cause::Code;

mod address;
mod answer;
mod client;
mod denial;
mod filtered;
mod firewall;
mod history;
mod hooks;
mod inbound;
mod iptables;
mod ipvs;
mod links;
mod queue;
mod quiet;
mod rejected;
mod remote;
mod route;
mod sets;
mod start;
mod tls;
mod tomoyo;
mod unix;

/// One thing that is done on the stage.
pub(crate) type Step = fn(&mut Stage) -> Result<()>;

/// One situation, made to happen for real.
pub(crate) struct Scenario {
    /// A sentence that names it.
    pub(crate) name: &'static str,
    /// The cause that must be told; `None` when nothing must.
    pub(crate) code: Option<Code>,
    /// Who watches.
    pub(crate) agent: Agent,
    /// What happened before anybody watched.
    pub(crate) before: Option<Step>,
    /// What it takes.
    pub(crate) needs: Needs,
    /// What happens then; what each step expects is told before the next begins.
    pub(crate) steps: &'static [Step],
}

/// What a scenario takes that not every kernel has; without it there is nothing to stage, or nothing to see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Needs {
    /// Nothing.
    Nothing,
    /// Landlock with a say in TCP ports.
    Landlock,
    /// Hooks on functions.
    Trampolines,
    /// AppArmor, and its parser.
    AppArmor,
    /// The same, and hooks on its functions: what its rules keep from the log is heard there alone.
    AppArmorHeard,
    /// Landlock, and programs of cgroups that choose the errno.
    LandlockAndChosenErrno,
    /// SELinux, enforcing a policy that knows Redis.
    Selinux,
    /// The same, and hooks on its functions.
    SelinuxHeard,
    /// TOMOYO, a policy that it lets us write, and hooks on its functions: no record of a denial names it.
    Tomoyo,
    /// BPF programs on the hooks of security modules.
    BpfLsm,
    /// The same, and hooks on functions.
    BpfLsmHeard,
    /// A kernel that gives reasons for what it drops.
    DropReasons,
    /// One that tells for which socket a packet came that it drops.
    DropReceivers,
    /// A table of conntrack, which is the whole host's, that a scenario can fill in a moment.
    SmallConntrack,
    /// A limit of open files, which is the whole host's, that a scenario can reach in a moment.
    FewFiles,
    /// A kernel that keeps what a thread sent last where a probe can read it, or hooks on functions.
    LastWords,
    /// haproxy.
    Haproxy,
    /// Rules of an interface that reject.
    RejectionAtInterface,
    /// Rules of a bridge that reject.
    RejectionAtBridge,
    /// Virtual services of IPVS.
    Ipvs,
}

impl Needs {
    /// Whether this kernel has it; of hooks the agent knows.
    pub(crate) fn are_met(self) -> bool {
        match self {
            Self::Nothing | Self::Trampolines | Self::LastWords => true,
            Self::Landlock => has_landlock(),
            Self::Haproxy => is_installed("haproxy"),
            Self::RejectionAtInterface => can_reject("netdev"),
            Self::RejectionAtBridge => can_reject("bridge"),
            Self::Ipvs => has_ipvs(),
            Self::AppArmor | Self::AppArmorHeard => has_apparmor(),
            Self::LandlockAndChosenErrno => has_landlock() && has_chosen_errno(),
            Self::Tomoyo => has_tomoyo(),
            Self::BpfLsm | Self::BpfLsmHeard => has_bpf_lsm(),
            Self::DropReasons => has_drop_reasons(),
            Self::DropReceivers => has_drop_receivers(),
            Self::FewFiles => queue::has_few_files(),
            Self::SmallConntrack => filtered::has_small_conntrack(),
            Self::Selinux | Self::SelinuxHeard => has_selinux(),
        }
    }

    /// Whether only an agent with hooks on functions can see it on this kernel.
    pub(crate) fn take_trampolines(self) -> bool {
        match self {
            Self::Trampolines | Self::AppArmorHeard | Self::SelinuxHeard | Self::Tomoyo | Self::BpfLsmHeard => true,
            Self::LastWords => !kernel::keeps_last_words(),
            _ => false,
        }
    }
}

/// Who watches a scenario.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Agent {
    /// The one that watches the whole run, and tells of every refusal.
    Shared,
    /// The one that counts repeats, and is stopped before its lines are judged.
    Counting,
    /// One of its own, started after what comes before where there is such; it counts repeats too.
    Own,
}

impl Scenario {
    /// A scenario for the shared agent.
    const fn new(name: &'static str, code: Code, steps: &'static [Step]) -> Self {
        Self { name, code: Some(code), agent: Agent::Shared, before: None, needs: Needs::Nothing, steps }
    }

    /// The same, for kernels that have what it takes.
    const fn needing(self, needs: Needs) -> Self {
        Self { needs, ..self }
    }

    /// The name of its recording.
    pub(crate) fn slug(&self) -> String {
        self.name
            .to_ascii_lowercase()
            .split(|c: char| !c.is_ascii_alphanumeric())
            .filter(|word| !word.is_empty())
            .collect::<Vec<_>>()
            .join("-")
    }

    /// True when `--only` means this one: its code, the code's name, or a part of its own name.
    pub(crate) fn is_called(&self, wanted: &str) -> bool {
        self.code.is_some_and(|code| wanted.parse() == Ok(code)) || self.name.contains(wanted) || self.slug() == wanted
    }
}

/// All scenarios, in the order of their causes.
pub(crate) fn all() -> impl Iterator<Item = &'static Scenario> {
    [
        history::SCENARIOS,
        address::SCENARIOS,
        start::SCENARIOS,
        unix::SCENARIOS,
        client::SCENARIOS,
        denial::SCENARIOS,
        tomoyo::SCENARIOS,
        inbound::SCENARIOS,
        queue::SCENARIOS,
        firewall::SCENARIOS,
        hooks::SCENARIOS,
        sets::SCENARIOS,
        links::SCENARIOS,
        answer::SCENARIOS,
        iptables::SCENARIOS,
        ipvs::SCENARIOS,
        filtered::SCENARIOS,
        route::SCENARIOS,
        remote::SCENARIOS,
        tls::SCENARIOS,
        rejected::SCENARIOS,
        quiet::SCENARIOS,
    ]
    .into_iter()
    .flatten()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_cause_that_exists_is_staged() {
        let staged: BTreeSet<Code> = all().filter_map(|scenario| scenario.code).collect();
        let missing: Vec<_> =
            Code::ALL.iter().filter(|code| **code != Code::RT0000 && !staged.contains(code)).collect();
        assert!(missing.is_empty(), "no scenario stages {missing:?}");
    }

    #[test]
    fn every_name_is_a_name_of_one_scenario_alone() {
        let names: BTreeSet<String> = all().map(Scenario::slug).collect();
        assert_eq!(names.len(), all().count());
    }
}
