//! A SYN was dropped on its way: by the firewall, or for another reason that the kernel gave.

use crate::trace::fact::Dropped;
use crate::trace::known::Known;
use crate::trace::refusal::Connect;
use crate::trace::verdict::{Cause, Verdict};

use super::Judged;

pub(super) fn attribute(_time: u64, _connect: &Connect, dropped: &Dropped, _known: &Known) -> Judged {
    let reason = dropped.reason.as_deref().unwrap_or("for no reason that it names");
    let function = dropped.function.as_deref().unwrap_or("an unknown place");
    let missing = format!("the kernel dropped the SYN in {function} ({reason}), and nothing that was seen says why");
    Verdict::possible(Cause::Unknown { missing }).into()
}
