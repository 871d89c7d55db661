//! Policies of IPsec that block, of the calling thread's namespace: `struct xfrm_userpolicy_info`, include/uapi/linux/xfrm.h.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use netlink_packet_core::{DecodeError, NetlinkDeserializable, NetlinkHeader, NetlinkPayload, NetlinkSerializable};
use netlink_sys::protocols::NETLINK_XFRM;

use super::netlink::{Wanted, talk};
use super::routes::contains;
use crate::trace::flow::Endpoint;
use crate::trace::text::Text;

/// `XFRM_MSG_GETPOLICY`.
const GET_POLICY: u16 = 0x15;
/// `struct xfrm_userpolicy_id`.
const ID: usize = 64;
/// `AF_INET`.
const AF_INET: u16 = 2;
/// `XFRM_POLICY_OUT`.
const OUT: u8 = 1;
/// `XFRM_POLICY_BLOCK`.
const BLOCK: u8 = 1;
/// `IPPROTO_TCP`.
const TCP: u8 = 6;

/// A message of NETLINK_XFRM as it travels.
#[derive(Debug)]
struct Message {
    kind: u16,
    bytes: Vec<u8>,
}

impl NetlinkSerializable for Message {
    fn message_type(&self) -> u16 {
        self.kind
    }

    fn buffer_len(&self) -> usize {
        self.bytes.len()
    }

    fn serialize(&self, buffer: &mut [u8]) {
        buffer.copy_from_slice(&self.bytes);
    }
}

impl NetlinkDeserializable for Message {
    type Error = DecodeError;

    fn deserialize(header: &NetlinkHeader, payload: &[u8]) -> Result<Self, DecodeError> {
        Ok(Self { kind: header.message_type, bytes: payload.to_vec() })
    }
}

impl From<Message> for NetlinkPayload<Message> {
    fn from(message: Message) -> Self {
        Self::InnerMessage(message)
    }
}

/// The first policy that blocks what goes out to a server; none where the kernel has no IPsec.
pub(crate) fn blocks(to: Endpoint) -> Option<Text> {
    let mut first: Option<(u32, String)> = None;
    let request = Message { kind: GET_POLICY, bytes: vec![0; ID] };
    let read = talk(NETLINK_XFRM, Wanted::All, request, |answer: Message| {
        if let Some((priority, policy)) = Policy::read(&answer.bytes).and_then(|policy| policy.blocks(to))
            && first.as_ref().is_none_or(|(least, _)| priority < *least)
        {
            first = Some((priority, policy));
        }
    });
    read.ok().and(first).map(|(_, policy)| Text::from(policy.as_str()))
}

/// What matters of a policy.
struct Policy {
    destination: IpAddr,
    prefix: u8,
    port: u16,
    port_mask: u16,
    protocol: u8,
    priority: u32,
    direction: u8,
    action: u8,
}

impl Policy {
    fn read(bytes: &[u8]) -> Option<Self> {
        let word = |at: usize| bytes.get(at..at + 2).and_then(|word| word.try_into().ok());
        let address: [u8; 16] = bytes.get(..16)?.try_into().ok()?;
        let destination = if u16::from_ne_bytes(word(40)?) == AF_INET {
            let [a, b, c, d, ..] = address;
            IpAddr::V4(Ipv4Addr::new(a, b, c, d))
        } else {
            IpAddr::V6(Ipv6Addr::from(address))
        };
        Some(Self {
            destination,
            prefix: *bytes.get(42)?,
            port: u16::from_be_bytes(word(32)?),
            port_mask: u16::from_be_bytes(word(34)?),
            protocol: *bytes.get(44)?,
            priority: u32::from_ne_bytes(bytes.get(152..156)?.try_into().ok()?),
            direction: *bytes.get(160)?,
            action: *bytes.get(161)?,
        })
    }

    /// Its priority, and what `ip xfrm policy` shows of it, when it blocks what goes out to a server.
    fn blocks(&self, to: Endpoint) -> Option<(u32, String)> {
        let is_match = self.direction == OUT
            && self.action == BLOCK
            && contains(self.destination, self.prefix, to.ip)
            && (to.port ^ self.port) & self.port_mask == 0
            && (self.protocol == 0 || self.protocol == TCP);
        let Self { destination, prefix, priority, .. } = self;
        is_match.then(|| (*priority, format!("dst {destination}/{prefix} dir out action block priority {priority}")))
    }
}
