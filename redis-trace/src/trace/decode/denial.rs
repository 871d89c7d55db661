//! What the record of a denial says.

use redis_trace_common::{denial, record};

use super::taken;
use crate::trace::fact::{Asked, BpfProgram, Denial, Module, Said};
use crate::trace::text::Text;

/// Who may have said no, to whom, of what.
pub(super) fn denial(r: &record::Denial) -> Denial {
    Denial {
        tid: r.tid,
        said: said(r.said),
        capability: match r.capability {
            lacked if lacked == denial::Asked::Lacked as u32 => Some(Asked::Lacked),
            denied if denied == denial::Asked::Denied as u32 => Some(Asked::Denied),
            _ => None,
        },
        seccomp: r.seccomp != 0,
        landlock: r.landlock == 1,
        domain: (r.domain != 0).then_some(r.domain),
        programs: r.programs,
        program: program(r.programs, r.program, &r.program_name),
        subject: context(&r.subject, r.subject_length),
        object: context(&r.object, r.object_length),
    }
}

/// A context, when there is one.
pub(super) fn context(bytes: &[u8], length: u32) -> Option<Text> {
    (length > 0).then(|| Text::new(taken(bytes, length)))
}

/// The first of so many programs.
pub(super) fn program(programs: u32, id: u32, name: &[u8]) -> Option<BpfProgram> {
    (programs > 0).then(|| BpfProgram { id, name: Text::until_nul(name) })
}

/// Who said no, by its number.
pub(super) fn said(number: u32) -> Option<Said> {
    let said = denial::Said::ALL.into_iter().find(|said| *said as u32 == number)?;
    Some(Said::Module(match said {
        denial::Said::Nobody => return None,
        denial::Said::CgroupBpf => return Some(Said::CgroupBpf),
        denial::Said::Filter => return Some(Said::Filter),
        denial::Said::Landlock => Module::Landlock,
        denial::Said::Selinux => Module::Selinux,
        denial::Said::AppArmor => Module::Apparmor,
        denial::Said::Tomoyo => Module::Tomoyo,
        denial::Said::Smack => Module::Smack,
        denial::Said::BpfLsm => Module::Bpf,
    }))
}
