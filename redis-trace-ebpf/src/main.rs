//! The probes: what runs in the kernel, from 5.10 on, in one object.
//!
//! A probe reads kernel memory only through [`kernel::read`], with offsets that the running kernel's BTF gave, and tells what
//! it saw only through [`emit::send`]. None of them changes anything.
#![no_std]
#![no_main]
#![feature(asm_experimental_arch)]
#![expect(unsafe_code, reason = "reading kernel memory and filling records in place is what probes do")]

mod claim;
mod denial;
mod dials;
mod emit;
mod heard;
mod kernel;
mod maps;
mod packet;
mod said;
mod tally;
mod probes {
    pub(crate) mod accept;
    pub(crate) mod bind;
    pub(crate) mod connect;
    pub(crate) mod denied;
    pub(crate) mod distance;
    pub(crate) mod dropped;
    pub(crate) mod filter;
    pub(crate) mod icmp;
    pub(crate) mod ledger;
    pub(crate) mod listen;
    pub(crate) mod process;
    pub(crate) mod queue;
    pub(crate) mod rejected;
    pub(crate) mod reset;
    pub(crate) mod rings;
    pub(crate) mod security;
    pub(crate) mod signal;
    pub(crate) mod silence;
    pub(crate) mod state;
    pub(crate) mod syscall;
    pub(crate) mod unix;
    pub(crate) mod who;
    pub(crate) mod words;
}

/// GPL-compatible, which the kernel demands of whoever reads its memory.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    // Nothing here can panic: the verifier would refuse the endless loop.
    loop {}
}
