//! Boots a kernel under QEMU and says how the command in it ended.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use super::archive;
use super::kernel::Kernel;

/// How long a kernel may take to its first process; a quiet machine needs 2 to 4 seconds.
const TO_INIT: Duration = Duration::from_secs(90);
/// How long the command may say nothing: what hangs is ended, what is slow is not.
const TO_SPEAK: Duration = Duration::from_mins(5);
/// How much longer anything may take where instructions are counted.
const COUNTING: u32 = 8;
/// How often a kernel that never reaches its first process is booted: emulation resets some boots of Debian's 6.12.
const BOOTS: u32 = 3;

/// What the kernel is told besides: to audit more than 64 denials at a time.
const PARAMETERS: &str = "console=ttyS0 quiet loglevel=4 panic=-1 selinux=1 enforcing=0 audit_backlog_limit=8192";
/// TOMOYO's policy is loaded by a program, when another one is begun; where costs are measured it has none, as on most hosts.
const TOMOYO: &str = "TOMOYO_loader=/t/tomoyo TOMOYO_trigger=/usr/bin/true";

/// What time is in a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Clock {
    /// The host's.
    Host,
    /// A nanosecond an instruction: two runs differ hardly, whatever else the host does.
    Instructions,
}

impl Clock {
    /// How QEMU is told.
    fn arguments(self) -> &'static [&'static str] {
        match self {
            Self::Host => &["-accel", "tcg,thread=multi,tb-size=256"],
            // Nobody waits in real time while the guest sleeps.
            Self::Instructions => &["-accel", "tcg,thread=single,tb-size=256", "-icount", "shift=0,sleep=off"],
        }
    }

    /// How long something may take that may take so long by the host's clock.
    fn patience(self, patience: Duration) -> Duration {
        match self {
            Self::Host => patience,
            Self::Instructions => patience * COUNTING,
        }
    }
}

/// Whose policy a machine has: it cannot have both.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Policy {
    /// Profiles that the demo loads.
    Apparmor,
    /// Debian's own policy, enforcing.
    Selinux,
}

impl Policy {
    /// Its name, as the kernel has it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Apparmor => "apparmor",
            Self::Selinux => "selinux",
        }
    }

    /// The security modules that are at work for it. TOMOYO, which stands beside others, allows everything to everybody until a
    /// scenario asks for more.
    fn modules(self) -> &'static str {
        match self {
            Self::Apparmor => "apparmor,tomoyo",
            Self::Selinux => "selinux",
        }
    }
}

/// What runs in a machine, beside its kernel.
#[derive(Clone, Debug)]
pub(crate) struct Load {
    /// Whose policy it has.
    pub(crate) policy: Policy,
    /// Archives of the file system after the first, the command's among them.
    pub(crate) archives: Vec<PathBuf>,
}

/// How the command in one kernel ended.
pub(crate) struct Outcome {
    /// What `--kernel` calls its series.
    pub(crate) series: &'static str,
    /// Whose policy it had.
    pub(crate) policy: Policy,
    /// The release that the guest told.
    pub(crate) release: String,
    /// How QEMU ended and what the kernel logged, unless QEMU and the guest both said that the command succeeded.
    pub(crate) failure: Option<String>,
    /// How long it took from the first boot to the end.
    pub(crate) seconds: f64,
    /// How many boots never reached the first process.
    pub(crate) false_starts: u32,
    /// Everything the command printed.
    pub(crate) output: String,
}

/// Boots the kernel with the archives and waits for the end of the command.
pub(crate) fn boot(kernel: &Kernel, base: &Path, load: &Load, work: &Path, clock: Clock) -> Result<Outcome> {
    let start = Instant::now();
    let initrd = work.join(format!("{}-{}.initrd", kernel.name, load.policy.name()));
    let others = load.archives.iter().map(PathBuf::as_path);
    archive::concatenate(&[base, &kernel.modules].into_iter().chain(others).collect::<Vec<_>>(), &initrd)?;
    let mut false_starts = 0;
    loop {
        let machine = Machine::start(kernel, &initrd, load.policy, clock)?;
        let (status, output, console) = machine.wait()?;
        // A boot that never got to its first process tested nothing and may be tried again; a command that ran, never.
        if !output.contains("VMTEST-INIT ") && false_starts + 1 < BOOTS {
            false_starts += 1;
            continue;
        }
        // Only both together are a pass: a guest that panics or reboots ends QEMU with status 0.
        let passed = status.is_some_and(|status| status.code() == Some(1)) && output.contains("\nVMTEST-RC 0\n");
        let release = output
            .lines()
            .find_map(|line| line.strip_prefix("VMTEST-INIT "))
            .unwrap_or("never reached init")
            .to_owned();
        fs::remove_file(&initrd).with_context(|| format!("cannot remove {}", initrd.display()))?;
        return Ok(Outcome {
            series: kernel.name,
            policy: load.policy,
            release,
            failure: (!passed).then(|| explain(&console, status)),
            seconds: start.elapsed().as_secs_f64(),
            false_starts,
            output,
        });
    }
}

/// What helps to understand a failure.
fn explain(console: &str, status: Option<ExitStatus>) -> String {
    let end = status.map_or_else(
        || "was ended: it had said nothing for too long".to_owned(),
        |status| format!("ended with {status}"),
    );
    format!("QEMU {end}. The kernel's log:\n{console}")
}

/// A running QEMU.
struct Machine {
    /// The process.
    qemu: Child,
    /// What time is in it.
    clock: Clock,
    /// What the guest's command prints.
    output: PathBuf,
    /// What the kernel logs.
    console: PathBuf,
}

impl Machine {
    /// Starts QEMU with emulation: hardware help is not there on every host, and on some only seems to be.
    fn start(kernel: &Kernel, initrd: &Path, policy: Policy, clock: Clock) -> Result<Self> {
        let (output, console) = (initrd.with_extension("out"), initrd.with_extension("console"));
        let modules = format!("landlock,lockdown,yama,integrity,{},bpf", policy.modules());
        File::create(&output)?;
        let qemu = Command::new("qemu-system-x86_64")
            .args(["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"])
            .args(clock.arguments())
            .args(["-machine", "pc", "-cpu", "max", "-m", "512", "-smp", "1"])
            .arg("-kernel")
            .arg(&kernel.image)
            .arg("-initrd")
            .arg(initrd)
            .args([
                "-append",
                &format!("{PARAMETERS} lsm={modules} {}", if clock == Clock::Host { TOMOYO } else { "" }),
            ])
            .args(["-chardev", &format!("file,id=c0,path={}", console.display()), "-serial", "chardev:c0"])
            .args(["-chardev", &format!("file,id=c1,path={}", output.display()), "-serial", "chardev:c1"])
            .args(["-device", "isa-debug-exit,iobase=0xf4,iosize=0x04"])
            .stdin(Stdio::null())
            .spawn()
            .context("cannot start qemu-system-x86_64: run `cargo xtask setup`")?;
        Ok(Self { qemu, clock, output, console })
    }

    /// Waits for the end, or for a silence that is too long: QEMU's status, the command's output, the kernel's log.
    fn wait(mut self) -> Result<(Option<ExitStatus>, String, String)> {
        let (mut said, mut since) = (0, Instant::now());
        let status = loop {
            if let Some(status) = self.qemu.try_wait()? {
                break Some(status);
            }
            let output = fs::metadata(&self.output)?.len();
            if output > said {
                (said, since) = (output, Instant::now());
            }
            let limit = if said == 0 { TO_INIT } else { TO_SPEAK };
            if since.elapsed() > self.clock.patience(limit) {
                self.qemu.kill()?;
                self.qemu.wait()?;
                break None;
            }
            std::thread::sleep(Duration::from_millis(50));
        };
        let read = |path: &Path| fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).replace('\r', ""));
        Ok((status, read(&self.output)?, read(&self.console)?))
    }
}
