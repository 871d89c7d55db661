//! `cargo xtask test`: everything that must hold before a change is merged, set-up included.

use anyhow::{Result, bail};

use crate::run::{cargo, run};
use crate::{ebpf, setup, vm};

/// Runs every tier in turn and stops at the first that fails; no tier is ever skipped.
pub(crate) fn test() -> Result<()> {
    setup::everything()?;
    if !setup::is_root()? {
        bail!(
            "the native tests load probes and make network namespaces, which only root may.\n  \
             try   sudo env PATH=\"$PATH\" cargo xtask test"
        );
    }
    run(cargo()?.args(["fmt", "--all", "--check"]))?;
    run(cargo()?.args(["clippy", "--locked", "--all-targets", "--", "-D", "warnings"]))?;
    ebpf::check()?;
    // A test that cannot run on this host prints why and, told so here, fails.
    run(cargo()?.args(["test", "--locked"]).env("REDIS_TRACE_NO_SKIP", "1"))?;
    vm::test()
}
