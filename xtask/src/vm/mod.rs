//! `cargo xtask vm`: runs redis-trace as root in machines with other kernels.

mod archive;
mod boot;
mod guest;
mod kernel;
mod modules;
mod selinux;
mod table;

use std::path::{Path, PathBuf};
use std::sync::Mutex;

use anyhow::{Context as _, Result, bail};
use clap::Args;

use crate::run::{cargo, run, workspace};
use crate::setup;
use boot::{Clock, Load, Outcome, Policy};
pub(crate) use kernel::Cache;
use kernel::{Kernel, SERIES, Series};
use table::Table;

/// How many machines run at once.
const AT_ONCE: usize = 2;
/// How many lines of a failed machine's output and of its log the summary repeats.
const LAST_LINES: usize = 20;
/// How many characters of such a line.
const LAST_WIDTH: usize = 300;
/// The program's target in the machines.
const TARGET: &str = "x86_64-unknown-linux-gnu";

/// What runs where.
#[derive(Args)]
pub(crate) struct Options {
    /// Kernel series: 5.10, 6.1, 6.12, 6.18, 7.x or all
    #[arg(long, default_value = "all")]
    kernel: String,
    /// Run this shell script in the machine instead of redis-trace (which is in its PATH)
    #[arg(long, value_name = "FILE", conflicts_with = "arguments")]
    script: Option<PathBuf>,
    /// Whose policy the machines have [default: AppArmor's, and SELinux's for its own situations]
    #[arg(long, value_enum)]
    policy: Option<Policy>,
    /// Keep the table of causes and kernels in docs/kernels.md
    #[arg(long, conflicts_with_all = ["kernel", "script", "arguments"])]
    keep: bool,
    /// Arguments for redis-trace in the machine [default: demo -o json]
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

/// Runs the command in every machine that was asked for; an error unless all of them pass.
pub(crate) fn vm(options: &Options) -> Result<()> {
    setup::everything()?;
    let outcomes = run_in_machines(options)?;
    let table = tabulate(&outcomes);
    if options.keep {
        table.keep(&workspace()?)?;
    }
    summarize(&outcomes)
}

/// What the demo does not do, one after the other: calls through io_uring; and what no test may do to the host: the agent is
/// killed by the kernel, the machine sleeps and its clock is stepped, and at last the kernel is locked down, from which there is
/// no way back.
const SCRIPTS: [&str; 4] = [
    include_str!("../../../tests/machines/rings.sh"),
    include_str!("../../../tests/machines/killed.sh"),
    include_str!("../../../tests/machines/clock.sh"),
    include_str!("../../../tests/machines/lockdown.sh"),
];
/// The agent itself is confined.
const SELINUX: &str = include_str!("../../../tests/machines/selinux.sh");

/// Runs the demo with every kernel, and what else only a machine may do; an error unless all pass and the table that is kept is
/// what they showed.
pub(crate) fn test() -> Result<()> {
    let options = Options { kernel: "all".into(), script: None, policy: None, keep: false, arguments: Vec::new() };
    let outcomes = run_in_machines(&options)?;
    let compared = tabulate(&outcomes).compare(&workspace()?);
    summarize(&outcomes)?;
    compared
}

/// Builds what the machines need and boots them.
fn run_in_machines(options: &Options) -> Result<Vec<Outcome>> {
    let program = build(&workspace()?.join("target/vm"))?;
    run_programs(&options.kernel, &[&program], &commands(options)?, Clock::Host)
}

/// Boots the kernels of a `--kernel` argument with a clock that counts instructions, each with these static programs and a
/// shell command to run.
pub(crate) fn count_instructions(kernel: &str, programs: &[&Path], command: &str) -> Result<Vec<Outcome>> {
    run_programs(kernel, programs, &[(Policy::Apparmor, command.to_owned())], Clock::Instructions)
}

/// Boots the kernels of a `--kernel` argument, all of them with each policy and command.
fn run_programs(kernel: &str, programs: &[&Path], commands: &[(Policy, String)], clock: Clock) -> Result<Vec<Outcome>> {
    let series = choose(kernel)?;
    let root = workspace()?;
    let work = root.join("target/vm");
    let cache = Cache::open(&root)?;
    let kernels = cache.kernels(&series)?;
    let base = guest::pack_base(&work)?;
    let servers = guest::pack_servers(cache.directory(), &work)?;
    let mut machines = Vec::new();
    for (policy, command) in commands {
        let mut archives = vec![guest::pack_command(&work, policy.name(), programs, command)?];
        archives.push(match policy {
            Policy::Apparmor => servers.clone(),
            Policy::Selinux => selinux::pack(cache.directory())?,
        });
        let load = Load { policy: *policy, archives };
        machines.extend(kernels.iter().map(|kernel| (kernel.clone(), load.clone())));
    }
    boot_all(machines, &base, &work, clock)
}

/// The table of what the demo showed, printed if it ran.
fn tabulate(outcomes: &[Outcome]) -> Table {
    let mut table = Table::default();
    for outcome in outcomes {
        table.add(outcome.series, &outcome.output);
    }
    if !table.is_empty() {
        println!("{}", table.markdown());
        table.wrong().iter().for_each(|wrong| println!("not as expected on {wrong}"));
    }
    table
}

/// The series that a `--kernel` argument names.
fn choose(name: &str) -> Result<Vec<Series>> {
    let chosen: Vec<Series> = SERIES.into_iter().filter(|series| name == "all" || series.name == name).collect();
    if chosen.is_empty() {
        let known = SERIES.map(|series| series.name).join(", ");
        bail!("no kernel series is called {name}: there are {known} and all");
    }
    Ok(chosen)
}

/// The shell commands that the machines run, and with whose policy.
fn commands(options: &Options) -> Result<Vec<(Policy, String)>> {
    let policy = options.policy.unwrap_or(Policy::Apparmor);
    if let Some(file) = &options.script {
        let script = std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
        return Ok(vec![(policy, script)]);
    }
    if !options.arguments.is_empty() {
        return Ok(vec![(policy, command(&options.arguments))]);
    }
    // A machine has one policy: what is SELinux's takes a machine of its own, in which the rest needs no second showing.
    // Without hooks on functions a module is known by what it has recorded. On old kernels a closed port's end is not seen then.
    let recorded = |module: &str| {
        let demo = format!("redis-trace demo -o json --tier t2 --only {module}");
        format!("case $(uname -r) in 5.* | 6.1.*) ;; *) {demo} ;; esac\n")
    };
    let [demo, json, only, selinux] = ["demo", "-o=json", "--only", "SELinux"].map(String::from);
    let all = [
        (Policy::Apparmor, command(&[demo.clone(), json.clone()]) + &recorded("AppArmor") + &SCRIPTS.concat()),
        (Policy::Selinux, command(&[demo, json, only, selinux]) + &recorded("SELinux") + SELINUX),
    ];
    Ok(all.into_iter().filter(|(policy, _)| options.policy.is_none_or(|wanted| wanted == *policy)).collect())
}

/// The shell command that gives redis-trace these arguments.
fn command(arguments: &[String]) -> String {
    let quoted = arguments.iter().map(|word| format!("'{}'", word.replace('\'', r"'\''")));
    // The check tells which hooks there are, hence the tier; that it finds some missing is for the demo to judge.
    format!("redis-trace check -o json\nset -e\nredis-trace {}\n", quoted.collect::<Vec<_>>().join(" "))
}

/// Builds a program that needs no libraries of the machine it runs on.
fn build(work: &Path) -> Result<PathBuf> {
    // With --target the flags reach the program alone: procedural macros cannot be static.
    run(cargo()?
        .args(["build", "--locked", "--release", "--package", "redis-trace", "--target", TARGET, "--target-dir"])
        .arg(work)
        .env("RUSTFLAGS", "-C target-feature=+crt-static")
        // Half the time to build, and no difference that a test could see.
        .env("CARGO_PROFILE_RELEASE_LTO", "off")
        .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16"))?;
    Ok(work.join(TARGET).join("release/redis-trace"))
}

/// Boots the machines, some at once, and prints what each said as soon as it is done.
fn boot_all(machines: Vec<(Kernel, Load)>, base: &Path, work: &Path, clock: Clock) -> Result<Vec<Outcome>> {
    let waiting = Mutex::new(machines.into_iter().enumerate());
    let done = Mutex::new(Vec::new());
    let next = || waiting.lock().ok().and_then(|mut machines| machines.next());
    let boot_in_turn = || -> Result<()> {
        while let Some((place, (kernel, load))) = next() {
            let outcome = boot::boot(&kernel, base, &load, work, clock)
                .with_context(|| format!("kernel {} did not run", kernel.name))?;
            let Outcome { series, policy, release, output, failure, .. } = &outcome;
            println!("---- kernel {series} with {}: {release}\n{output}", policy.name());
            if let Some(failure) = failure {
                println!("{failure}");
            }
            if let Ok(mut done) = done.lock() {
                done.push((place, outcome));
            }
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..AT_ONCE).map(|_| scope.spawn(boot_in_turn)).collect();
        threads
            .into_iter()
            .try_for_each(|thread| thread.join().unwrap_or_else(|_| bail!("a thread that booted kernels panicked")))
    })?;
    let mut done = done.into_inner().unwrap_or_default();
    done.sort_by_key(|(place, _)| *place);
    Ok(done.into_iter().map(|(_, outcome)| outcome).collect())
}

/// How a failed machine's output and log ended, then one line a kernel and the count; an error unless all passed.
fn summarize(outcomes: &[Outcome]) -> Result<()> {
    for Outcome { series, policy, output, failure, .. } in outcomes {
        if let Some(failure) = failure {
            println!("---- the end of kernel {series} with {}:\n{}\n{}", policy.name(), end(output), end(failure));
        }
    }
    println!("kernels:");
    for outcome in outcomes {
        let result = if outcome.failure.is_none() { "passed" } else { "FAILED" };
        let again = match outcome.false_starts {
            0 => String::new(),
            n => format!("; {n} boots before it never reached init"),
        };
        let Outcome { series, policy, release, seconds, .. } = outcome;
        println!("  {series:5} {:8} {release:28} {seconds:6.1} s  {result}{again}", policy.name());
    }
    let failed = outcomes.iter().filter(|outcome| outcome.failure.is_some()).count();
    println!("{} passed, {failed} failed", outcomes.len() - failed);
    if failed > 0 {
        bail!("{failed} of {} kernels failed", outcomes.len());
    }
    Ok(())
}

/// The last lines of a long text, none of them long: what a log that is cut short must still have.
fn end(text: &str) -> String {
    let lines: Vec<String> = text.lines().map(|line| line.chars().take(LAST_WIDTH).collect()).collect();
    lines[lines.len().saturating_sub(LAST_LINES)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::{LAST_LINES, LAST_WIDTH, end};

    #[test]
    fn the_end_of_a_log_is_its_last_lines_each_cut() {
        let lines: Vec<String> = (0..LAST_LINES + 3).map(|nth| format!("{nth} {}", "é".repeat(LAST_WIDTH))).collect();
        let text = end(&lines.join("\n"));
        let kept: Vec<&str> = text.lines().collect();
        assert_eq!(kept.len(), LAST_LINES);
        assert!(kept[0].starts_with("3 é"), "{}", kept[0]);
        assert!(kept.iter().all(|line| line.chars().count() == LAST_WIDTH));
        assert_eq!(end("one\ntwo"), "one\ntwo");
    }
}
