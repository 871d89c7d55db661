//! What nf_tables tells of itself without a listing: include/uapi/linux/netfilter/nf_tables.h.

use netlink_packet_core::{NLM_F_DUMP, NLM_F_REQUEST};
use netlink_sys::{Socket, SocketAddr};

/// NETLINK_NETFILTER of include/uapi/linux/netlink.h.
const NETFILTER: isize = 12;

/// NFNL_SUBSYS_NFTABLES of include/uapi/linux/netfilter/nfnetlink.h, as the high byte of a message's type.
const NF_TABLES: u16 = 10 << 8;

/// NFT_MSG_NEWTABLE and NFT_MSG_GETTABLE.
const NEW_TABLE: u16 = NF_TABLES;
const GET_TABLE: u16 = NF_TABLES | 1;

/// NFT_MSG_NEWGEN and NFT_MSG_GETGEN.
const NEW_GENERATION: u16 = NF_TABLES | 15;
const GET_GENERATION: u16 = NF_TABLES | 16;

/// NFTA_TABLE_NAME and NFTA_TABLE_FLAGS, with NFT_TABLE_F_DORMANT.
const TABLE_NAME: u16 = 1;
const TABLE_FLAGS: u16 = 2;
const DORMANT: u32 = 1;

/// NFTA_GEN_ID.
const GENERATION: u16 = 1;

/// NLMSG_ERROR and NLMSG_DONE.
const ERROR: u16 = 2;
const DONE: u16 = 3;

/// The header of a message, and struct nfgenmsg behind it.
const HEADER: usize = 16;
const FAMILY: usize = 4;

/// The generation where nothing was ever written; the kernel begins with it.
pub(super) const FIRST: u32 = 1;

/// The generation of the calling thread's namespace: it moves with every change of the rules, and stays when only counters
/// move.
pub(super) fn generation() -> Result<u32, String> {
    let mut generation = None;
    ask(GET_GENERATION, 0, |kind, body| {
        if kind == NEW_GENERATION {
            let found = attributes(body).find(|(kind, _)| *kind == GENERATION);
            generation = found.and_then(|(_, value)| value.try_into().ok()).map(u32::from_be_bytes);
        }
        generation.is_none()
    })?;
    generation.ok_or_else(|| "The kernel did not tell the generation of its rules.".to_owned())
}

/// The dormant tables of the calling thread's namespace, whose chains are on no hook: the number of the family and the name.
/// Not every nft tells them.
pub(super) fn dormant() -> Result<Vec<(u8, String)>, String> {
    let mut dormant = Vec::new();
    ask(GET_TABLE, NLM_F_DUMP, |kind, body| {
        let value = |wanted: u16| attributes(body).find(|(kind, _)| *kind == wanted).map(|(_, value)| value);
        let flags = value(TABLE_FLAGS).and_then(|flags| flags.try_into().ok()).map_or(0, u32::from_be_bytes);
        if kind == NEW_TABLE
            && flags & DORMANT != 0
            && let (Some(family), Some(name)) = (body.first(), value(TABLE_NAME))
        {
            dormant.push((*family, String::from_utf8_lossy(name).trim_end_matches('\0').to_owned()));
        }
        true
    })?;
    Ok(dormant)
}

/// Asks the kernel, and hands out the messages of the answer until it ends or enough was heard.
fn ask(kind: u16, flags: u16, each: impl FnMut(u16, &[u8]) -> bool) -> Result<(), String> {
    talk(kind, flags, each)
        .map_err(|error| format!("The kernel could not be asked about its rules: {error}; CAP_NET_ADMIN is needed."))
}

/// Sends a question and reads the answer.
fn talk(kind: u16, flags: u16, mut each: impl FnMut(u16, &[u8]) -> bool) -> std::io::Result<()> {
    let mut socket = Socket::new(NETFILTER)?;
    socket.bind_auto()?;
    let mut question = vec![0; HEADER + FAMILY];
    question[0] = 20;
    question[4..6].copy_from_slice(&kind.to_ne_bytes());
    question[6..8].copy_from_slice(&(NLM_F_REQUEST | flags).to_ne_bytes());
    if cfg!(target_endian = "big") {
        question[..4].reverse();
    }
    socket.send_to(&question, &SocketAddr::new(0, 0), 0)?;
    let mut answer = Vec::with_capacity(64 << 10);
    loop {
        answer.clear();
        socket.recv_from(&mut answer, 0)?;
        let mut rest = answer.as_slice();
        while let Some((kind, body, after)) = message(rest) {
            rest = after;
            match kind {
                DONE => return Ok(()),
                ERROR => {
                    let code = body.first_chunk().copied().map_or(0, i32::from_ne_bytes);
                    return Err(std::io::Error::from_raw_os_error(code.saturating_neg()));
                }
                _ if !each(kind, body) => return Ok(()),
                _ => {}
            }
        }
    }
}

/// The first message: its type, what follows its header, and what follows it.
fn message(bytes: &[u8]) -> Option<(u16, &[u8], &[u8])> {
    let length = usize::try_from(u32::from_ne_bytes(*bytes.first_chunk()?)).ok()?;
    let kind = u16::from_ne_bytes(bytes.get(4..6)?.try_into().ok()?);
    let body = bytes.get(HEADER..length)?;
    Some((kind, body, bytes.get(length.next_multiple_of(4)..).unwrap_or_default()))
}

/// The attributes of a message, by the number of each.
fn attributes(body: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    let mut rest = body.get(FAMILY..).unwrap_or_default();
    std::iter::from_fn(move || {
        let length = usize::from(u16::from_ne_bytes(*rest.first_chunk()?));
        let kind = u16::from_ne_bytes(rest.get(2..4)?.try_into().ok()?);
        let value = rest.get(4..length)?;
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_kernel_tells_a_generation() {
        assert!(generation().is_ok_and(|generation| generation >= FIRST));
    }

    proptest! {
        #[test]
        fn no_answer_hangs_or_panics(bytes: Vec<u8>) {
            let mut rest = bytes.as_slice();
            while let Some((_, body, after)) = message(rest) {
                prop_assert!(attributes(body).count() <= body.len());
                prop_assert!(after.len() < rest.len());
                rest = after;
            }
        }
    }
}
