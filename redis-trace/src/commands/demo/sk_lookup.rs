//! An `sk_lookup` program that turns every connection of a namespace away, as a broken load balancer's would.

use std::fs::File;

use anyhow::{Context as _, Result};
use aya::Ebpf;
use aya::programs::SkLookup;

use super::bytecode::{NO, PROGRAM, object};

/// The attached program; it is gone when this value is.
pub(crate) struct Refuser(#[expect(dead_code, reason = "held for its Drop")] Ebpf);

impl Refuser {
    /// Attaches it to a network namespace.
    pub(crate) fn attach(netns: &File) -> Result<Self> {
        let mut ebpf = Ebpf::load(&object("sk_lookup", PROGRAM, NO)).context("cannot read the sk_lookup program")?;
        let program: &mut SkLookup = ebpf.program_mut(PROGRAM).context("the program is missing")?.try_into()?;
        program.load().context("cannot load the sk_lookup program: CAP_BPF and CAP_NET_ADMIN are needed")?;
        program.attach(netns).context("cannot attach the sk_lookup program")?;
        Ok(Self(ebpf))
    }
}
