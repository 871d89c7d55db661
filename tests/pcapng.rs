//! The packets of what was refused, as an independent reader finds them.

use std::fs::{self, File};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output};

use pcap_parser::traits::PcapReaderIterator as _;
use pcap_parser::{Block, Linktype, OptionCode, PcapBlockOwned, PcapError, PcapNGOption, PcapNGReader};
use serde_json::Value;

/// A packet: the two ends, when, in nanoseconds, and what its comment says.
struct Packet {
    client: SocketAddr,
    server: SocketAddr,
    time: u64,
    comment: String,
}

/// An option's text.
fn text(options: &[PcapNGOption<'_>], code: OptionCode) -> String {
    let value = options.iter().find(|option| option.code == code).expect("the option is there");
    String::from_utf8(value.value[..usize::from(value.len)].to_vec()).expect("text")
}

/// The ends of a SYN that begins with its IP header.
fn ends(packet: &[u8]) -> (SocketAddr, SocketAddr) {
    let address = |at: usize, length: usize| -> std::net::IpAddr {
        match <[u8; 4]>::try_from(&packet[at..at + length]) {
            Ok(octets) => Ipv4Addr::from(octets).into(),
            Err(_) => Ipv6Addr::from(<[u8; 16]>::try_from(&packet[at..at + length]).expect("an address")).into(),
        }
    };
    let (from, to, tcp) = match packet[0] >> 4 {
        4 => (address(12, 4), address(16, 4), &packet[20..]),
        _ => (address(8, 16), address(24, 16), &packet[40..]),
    };
    assert_eq!((tcp.len(), tcp[13]), (20, 2), "it is a SYN");
    let port = |at: usize| u16::from_be_bytes([tcp[at], tcp[at + 1]]);
    ((from, port(0)).into(), (to, port(2)).into())
}

/// Every packet of a file.
fn packets(path: &Path) -> Vec<Packet> {
    let mut reader = PcapNGReader::new(1 << 20, File::open(path).expect("it is there")).expect("a section");
    let (mut packets, mut interfaces) = (Vec::new(), 0);
    loop {
        match reader.next() {
            Ok((length, PcapBlockOwned::NG(block))) => {
                match block {
                    Block::SectionHeader(section) => {
                        assert!(text(&section.options, OptionCode::Comment).contains("every other field is 0"));
                    }
                    Block::InterfaceDescription(interface) => {
                        interfaces += 1;
                        assert_eq!(interface.linktype, Linktype::RAW);
                        assert_eq!(interface.ts_resolution(), Some(1_000_000_000));
                        assert!(text(&interface.options, OptionCode::IfName).starts_with("netns "));
                    }
                    Block::EnhancedPacket(packet) => {
                        assert!(packet.if_id < interfaces, "its interface is described before it");
                        assert_eq!(packet.caplen, packet.origlen);
                        let (client, server) = ends(&packet.data[..packet.caplen as usize]);
                        let time = u64::from(packet.ts_high) << 32 | u64::from(packet.ts_low);
                        packets.push(Packet {
                            client,
                            server,
                            time,
                            comment: text(&packet.options, OptionCode::Comment),
                        });
                    }
                    other => panic!("an unexpected block: {other:?}"),
                }
                reader.consume(length);
            }
            Err(PcapError::Eof) => return packets,
            Err(PcapError::Incomplete(_)) => reader.refill().expect("more"),
            other => panic!("the file is damaged: {:?}", other.err()),
        }
    }
}

/// Replays a recording into packets.
fn replay(recording: &Path, to: &Path) -> Output {
    let mut replay = Command::new(env!("CARGO_BIN_EXE_redis-trace"));
    replay.arg("replay").arg(recording).arg("--pcapng").arg(to).args(["-o", "json", "--no-aggregate"]);
    replay.output().expect("it starts")
}

#[test]
fn every_refusal_of_a_packet_has_it_with_its_verdict_and_no_other_has() {
    let place = tempfile::tempdir().expect("a directory");
    let recordings = Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("tests").join("recordings");
    let files = fs::read_dir(recordings).expect("recordings").map(|file| file.expect("a file").path());
    let (mut told, mut without) = (0, 0);
    for recording in files.filter(|file| file.extension().is_some_and(|ending| ending == "rec")) {
        let file = place.path().join(recording.file_name().expect("a name"));
        let output = replay(&recording, &file);
        let said = String::from_utf8(output.stderr).expect("text");
        assert!(output.status.success(), "{said}");
        let lines = String::from_utf8(output.stdout).expect("text");
        let reports = lines.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
        let reports: Vec<Value> = reports.filter(|line| line["schema"] == "redis-trace.refusal/1").collect();
        let was_sent = |report: &&Value| {
            let outcome = report["outcome"].as_str().expect("an outcome");
            ["refused", "reset", "timeout", "rejected"].contains(&outcome)
                && report["flow"]["client"].is_object()
                && report["flow"]["server"].is_object()
                && report["count"] == 1
        };
        let sent: Vec<&Value> = reports.iter().filter(was_sent).collect();
        let packets = packets(&file);
        assert_eq!(packets.len(), sent.len(), "{}", recording.display());
        for (packet, report) in packets.iter().zip(sent) {
            let end = |name: &str| -> SocketAddr {
                let end = &report["flow"][name];
                let ip: std::net::IpAddr = end["ip"].as_str().and_then(|ip| ip.parse().ok()).expect("an address");
                (ip, end["port"].as_u64().and_then(|port| u16::try_from(port).ok()).expect("a port")).into()
            };
            assert_eq!((packet.client, packet.server), (end("client"), end("server")));
            let time: jiff::Timestamp = report["time"].as_str().expect("a time").parse().expect("a time");
            assert_eq!(i128::from(packet.time), time.as_nanosecond());
            for words in [&report["cause"]["code"], &report["cause"]["name"], &report["summary"]] {
                assert!(packet.comment.contains(words.as_str().expect("text")), "{words}: {}", packet.comment);
            }
            assert!(packet.comment.chars().all(|c| c == '\n' || !c.is_control()), "{:?}", packet.comment);
        }
        told += packets.len();
        without += usize::from(said.contains("refusals have no packet"));
    }
    assert!(told > 100 && without > 10, "{told} packets, {without} files that lack one");
}

#[test]
fn a_file_that_is_there_is_not_overwritten_and_a_disk_that_is_full_is_said() {
    let place = tempfile::tempdir().expect("a directory");
    let recordings = Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("tests").join("recordings");
    let recording = recordings.join("a-client-tries-20-times.rec");
    let file = place.path().join("there.pcapng");
    fs::write(&file, "mine").expect("written");
    assert_eq!(replay(&recording, &file).status.code(), Some(2));
    assert_eq!(fs::read(&file).expect("it is there"), b"mine");
    // A file of no more than 4 KiB.
    let script = "ulimit -f 4; trap '' XFSZ; exec \"$0\" replay \"$1\" --pcapng \"$2\" -o json --no-aggregate";
    let small = place.path().join("small.pcapng");
    let mut shell = Command::new("sh");
    shell.args(["-c", script, env!("CARGO_BIN_EXE_redis-trace")]).arg(&recording).arg(&small);
    let output = shell.output().expect("a shell");
    let said = String::from_utf8(output.stderr).expect("text");
    assert_eq!(output.status.code(), Some(5), "{said}");
    assert_eq!(said.matches("the packets end here, watching goes on").count(), 1, "{said}");
    assert!(!output.stdout.is_empty(), "the verdicts are told all the same");
}

#[test]
fn what_is_refused_while_it_records_has_a_packet() {
    let place = tempfile::tempdir().expect("a directory");
    let (file, captured) = (place.path().join("case.rec"), place.path().join("case.pcapng"));
    let dial = "python3 -c \"import socket; socket.socket().connect_ex(('127.0.0.1', 15))\"";
    let mut record = Command::new(env!("CARGO_BIN_EXE_redis-trace"));
    record.arg("record").arg(&file).arg("--pcapng").arg(&captured).args(["-o", "json", "--port", "15", "--cmd", dial]);
    let output = record.output().expect("it starts");
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stderr));
    let lines = String::from_utf8(output.stdout).expect("text");
    let told: Value = serde_json::from_str(lines.lines().next().expect("a line")).expect("JSON");
    let packets = packets(&captured);
    assert_eq!(packets.len(), 1, "{lines}{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(Some(u64::from(packets[0].client.port())), told["flow"]["client"]["port"].as_u64(), "{lines}");
    assert_eq!(packets[0].server.port(), 15, "{lines}");
    assert!(packets[0].comment.contains(told["summary"].as_str().expect("a summary")), "{}", packets[0].comment);
    assert_eq!(fs::metadata(&captured).expect("it is there").permissions().mode() & 0o777, 0o600);
}
