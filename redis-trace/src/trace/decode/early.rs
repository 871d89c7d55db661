//! What the record of an early end says.

use redis_trace_common::record;
use redis_trace_common::reply::alert;

use super::{flow, taken, task};
use crate::redis::reply;
use crate::trace::fact::{EarlyEnd, Parting};
use crate::trace::flow::Endpoint;
use crate::trace::text::Text;

/// How the connection ended, and what was said before.
pub(super) fn early_end(r: &record::EarlyEnd) -> EarlyEnd {
    EarlyEnd {
        flow: flow(&r.flow),
        server: (r.task.pid != 0).then(|| task(&r.task)),
        client: false,
        sent: r.sent,
        received: r.received,
        read: (r.read != UNKNOWN).then_some(r.read),
        end: r.end,
        idle_ms: r.idle,
        waiting: r.waiting,
        quiet_ms: r.quiet,
        parting: parting(r.parting),
        kind: u16::try_from(r.kind).unwrap_or_default(),
        known: r.length,
        reply: refusal(taken(&r.reply, r.length)),
        redirect: reply::redirect(taken(&r.reply, r.length), Endpoint::from_bytes(r.flow.server, r.flow.server_port)),
        alert: alert(taken(&r.reply, r.length)),
    }
}

/// A number of bytes that was not counted.
const UNKNOWN: u32 = u32::MAX;

fn parting(number: u32) -> Parting {
    const RESET: u32 = record::Parting::Reset as u32;
    const LEFT: u32 = record::Parting::Left as u32;
    const WAITED: u32 = record::Parting::Waited as u32;
    const ALERTED: u32 = record::Parting::Alerted as u32;
    const LEFT_BY_SERVER: u32 = record::Parting::LeftByServer as u32;
    const HELLO_UNANSWERED: u32 = record::Parting::HelloUnanswered as u32;
    match number {
        RESET => Parting::Reset,
        LEFT => Parting::Left,
        WAITED => Parting::Waited,
        ALERTED => Parting::Alerted,
        LEFT_BY_SERVER => Parting::LeftByServer,
        HELLO_UNANSWERED => Parting::HelloUnanswered,
        _ => Parting::Closed,
    }
}

/// The first line of what a server said; nothing when another reply than a refusal follows: whoever got one was served, and the
/// words may be a part of a value.
fn refusal(bytes: &[u8]) -> Option<Text> {
    let text = String::from_utf8_lossy(bytes);
    let (first, rest) = text.split_once("\r\n").unwrap_or((&text, ""));
    let refuses = |line: &str| line.strip_prefix('-').is_some_and(|error| reply::of_error(error).is_some());
    // The last may be cut short.
    let (whole, cut) = rest.rsplit_once("\r\n").map_or(("", rest), |(whole, cut)| (whole, cut));
    let are_refusals = whole.split("\r\n").filter(|line| !line.is_empty()).all(refuses);
    let is_error = first.starts_with('-') && (cut.is_empty() || cut.starts_with('-'));
    (is_error && are_refusals).then(|| Text::from(first))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_a_line_that_nothing_but_errors_follows() {
        assert_eq!(
            refusal(b"-NOAUTH Authentication required.\r\n"),
            Some(Text::from("-NOAUTH Authentication required."))
        );
        assert_eq!(refusal(b"-NOAUTH no\r\n-NOAUTH no\r\n"), Some(Text::from("-NOAUTH no")));
        assert_eq!(refusal(b"-DENIED Redis is running in pro"), Some(Text::from("-DENIED Redis is running in pro")));
        assert_eq!(refusal(b"-NOAUTH no\r\n+OK\r\n"), None);
        assert_eq!(refusal(b"-NOAUTH no\r\n-ERR value is not an integer or out of range\r\n"), None);
        assert_eq!(refusal(b"-NOAUTH no\r\n-NOAUTH no\r\n$3"), None);
        assert_eq!(refusal(b"+OK\r\n"), None);
        assert_eq!(refusal(b""), None);
    }
}
