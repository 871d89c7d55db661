//! The table as it is drawn, in a terminal that only remembers.

use std::time::Duration;

use jiff::tz::TimeZone;
use ratatui::Terminal;
use ratatui::backend::TestBackend;

use super::{Board, Mode, draw};
use crate::trace::cause::Code;
use crate::trace::fact::{BoundSocket, Process, Socket};
use crate::trace::flow::{Endpoint, Netns};
use crate::trace::report::{HooksReport, Report};
use crate::trace::text::Text;

/// So many refusals with this cause and number, the last of them at this second.
fn report(code: Code, seq: u64, client: &str, count: u64, second: u64) -> Report {
    let moment = format!("2026-11-23T12:00:{second:02}Z");
    let json = serde_json::json!({
        "schema": "redis-trace.refusal/1", "time": moment, "boottime_ns": second, "seq": seq,
        "outcome": "refused", "side": "both",
        "cause": {"code": code, "name": code.name(), "class": code.class(), "confidence": "certain"},
        "summary": format!("the summary of {seq}"), "evidence": [], "fix": [{"text": "start it", "command": "start-it"}],
        "client_process": {"pid": 9, "comm": "python3"}, "server_process": null,
        "flow": {"protocol": "tcp", "netns": 1, "client": {"ip": client, "port": 5}, "server": {"ip": "10.0.3.9", "port": 6379}},
        "firewall": null, "lsm": null, "queue": null, "unix": null,
        "count": count, "first": moment, "last": moment,
    });
    serde_json::from_value(json).expect("a report")
}

fn board() -> Board {
    let hooks = HooksReport { up: 8, expected: 9, degraded: vec![Code::RT2001] };
    let mut board = Board::new("0.1.0".to_owned(), hooks, false, TimeZone::UTC);
    board.health.lost = 3;
    board.pass(Duration::from_secs(100), "2026-11-23T12:00:03Z".parse().expect("a moment"));
    board.tell(&report(Code::RT1001, 1, "10.0.3.7", 5, 1));
    board.tell(&report(Code::RT1007, 2, "10.0.3.8", 1, 2));
    board.tell(&report(Code::RT1001, 1, "10.0.3.7", 2_005, 4));
    board.pass(Duration::from_secs(102), "2026-11-23T12:00:05Z".parse().expect("a moment"));
    board.queues.listeners(Netns(1), "shop", &[listener(6380, 0, 511), listener(6379, 6, 5)], |_| None);
    board
}

fn listener(port: u16, queued: u32, limit: u32) -> BoundSocket {
    let local = Endpoint { ip: "127.0.0.1".parse().expect("an address"), port };
    let socket = Socket { netns: Netns(1), local, ipv6: false, v6only: false, ifindex: 0, inode: 1 };
    BoundSocket { socket, listening: true, queued: Some(queued), backlog: Some(limit), owner: None }
}

/// The lines that are drawn in a terminal of this size.
fn lines(board: &Board, width: u16, height: u16) -> Vec<String> {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).expect("a terminal");
    terminal.draw(|frame| draw(board, frame)).expect("it is drawn");
    let buffer = terminal.backend().buffer();
    let row = |y: u16| (0..width).map(|x| buffer[(x, y)].symbol()).collect::<String>().trim_end().to_owned();
    (0..height).map(row).collect()
}

#[test]
fn the_worst_cause_and_the_fullest_queue_come_first_and_what_is_wrong_with_the_view_is_said() {
    let lines = lines(&board(), 110, 24);
    let at =
        |word: &str| lines.iter().position(|line| line.contains(word)).unwrap_or_else(|| panic!("{word}: {lines:#?}"));
    assert!(at("RT1001 no-listener") < at("RT1007"), "{lines:#?}");
    assert!(lines[at("RT1001 no-listener")].contains("1002.5       2,005"), "{lines:#?}");
    assert!(
        at("127.0.0.1:6379") < at("127.0.0.1:6380") && lines[at("127.0.0.1:6379")].contains("6/5 FULL"),
        "{lines:#?}"
    );
    assert!(lines[1].contains("lost 3") && lines[1].contains("hooks 8/9") && lines[1].contains("degraded RT2001"));
    assert!(
        lines.iter().any(|line| line.contains("the summary of 1"))
            && lines.iter().any(|line| line.contains("start-it"))
    );
}

#[test]
fn a_row_is_chosen_and_a_filter_hides_the_others() {
    let mut board = board();
    board.go(5);
    assert!(lines(&board, 110, 24).iter().any(|line| line.contains("the summary of 2")));
    (board.filter, board.mode) = ("10.0.3.7".to_owned(), Mode::Filter);
    let lines = lines(&board, 110, 24);
    assert!(lines.iter().any(|line| line.contains("RT1001")) && !lines.iter().any(|line| line.contains("RT1007")));
    assert!(lines[23].starts_with("/10.0.3.7"), "{lines:#?}");
}

#[test]
fn the_same_fault_under_a_new_number_goes_on_counting() {
    let mut board = board();
    board.tell(&report(Code::RT1001, 7, "10.0.3.7", 1, 30));
    assert!(lines(&board, 110, 24).iter().any(|line| line.contains("RT1001 no-listener") && line.contains("2,006")));
}

#[test]
fn any_size_can_be_drawn_and_foreign_text_moves_no_cursor() {
    let mut board = board();
    let evil = Process { comm: Text::from("evil\u{1b}[2J\u{202e}"), ..Process::default() };
    board.queues.listeners(Netns(2), "\u{202e}gpj", &[listener(1, 9, 9)], |_| Some(&evil));
    for mode in [Mode::Rows, Mode::Filter, Mode::Help] {
        board.mode = mode;
        for (width, height) in [(1, 1), (20, 5), (79, 24), (80, 10), (300, 100)] {
            let text = lines(&board, width, height).concat();
            assert!(!text.chars().any(|c| c == '\u{1b}' || c == '\u{202e}'), "{text:?}");
        }
    }
}
