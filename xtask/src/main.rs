//! redis-trace's own tasks: everything that is done to this repository, as `cargo xtask TASK`.

mod alerts;
mod apt;
mod bench;
mod deb;
mod demo;
mod dist;
mod ebpf;
mod functions;
#[path = "../../redis-trace/bpf/lock.rs"]
mod lock;
mod run;
mod servers;
mod setup;
mod soak;
mod test;
mod vm;

use std::process::ExitCode;

use clap::Parser;

/// The tasks of this repository.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
enum Task {
    /// Install what the other tasks need (Debian and Ubuntu, as root)
    Setup,
    /// Build the eBPF object and its lock file
    Ebpf {
        /// Change nothing: fail unless the committed object is what its sources give
        #[arg(long)]
        check: bool,
    },
    /// Build the program and let it show real refusals, explained (uses sudo when not root)
    Demo {
        /// Arguments for `redis-trace demo`
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Build the program as one file that runs on any host: static, stripped
    Dist,
    /// Build the Debian package, judge its unit, install, run and purge it (as root)
    Deb,
    /// Run redis-trace in machines with other kernels
    Vm(vm::Options),
    /// Run all tests: format, lints, object, unit, replay, native (as root), every kernel
    Test,
    /// Measure what watching costs, how soon a refusal is told and what is lost (as root)
    Bench(bench::Options),
    /// Watch under churn for long: nothing may grow, be missing or be wrong (as root)
    Soak(soak::Options),
    /// The measurements that `bench` makes
    #[command(hide = true)]
    Measure(bench::Measure),
    /// A load that `bench` measures with
    #[command(hide = true)]
    Load(bench::Load),
}

fn main() -> ExitCode {
    let done = match Task::parse() {
        Task::Setup => setup::everything().and_then(|()| servers::fetch()),
        Task::Ebpf { check: false } => ebpf::build(),
        Task::Ebpf { check: true } => ebpf::check(),
        Task::Demo { arguments } => demo::demo(&arguments),
        Task::Dist => dist::dist(),
        Task::Deb => deb::deb(),
        Task::Vm(options) => vm::vm(&options),
        Task::Test => test::test(),
        Task::Bench(options) => bench::bench(&options),
        Task::Soak(options) => soak::soak(&options),
        Task::Measure(options) => bench::measure(&options),
        Task::Load(options) => bench::load(&options),
    };
    // What failed is the last that is said: no backtrace of ours hides it.
    done.map_or_else(
        |why| {
            eprintln!("error: {why:#}");
            ExitCode::FAILURE
        },
        |()| ExitCode::SUCCESS,
    )
}
