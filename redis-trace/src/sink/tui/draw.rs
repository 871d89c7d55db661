//! Draws the board: from top to bottom the state of the view, causes, the one that is selected, listeners, keys.

use jiff::Timestamp;
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Clear, Paragraph, Row, Table, TableState, Wrap};

use super::super::grouped;
use super::super::queues::Queue;
use super::board::{Board, Fault, Mode};
use crate::trace::cause::Confidence;

/// Lines that the selected cause takes.
const DETAIL: u16 = 3;
/// Columns of a gauge.
const GAUGE: usize = 10;

const HELP: &str = "\
redis-trace top shows who is refused on this host and why, worst first.

  q Esc     end                     /         show rows with these words only
  ↑ ↓ j k   choose a cause          Enter     keep the filter
  ?         this help               Esc       drop the filter

RATE/s is that of the last ten seconds, COUNT that since the start. QUEUE is
what waits to be accepted and its limit (ss Recv-Q and Send-Q); one more than
the limit fits. `redis-trace explain CODE` tells all about a cause, `check`
why a hook is missing. Lost records are counted, never hidden.

Any key goes back.";

/// Draws all of it.
pub fn draw(board: &Board, frame: &mut Frame<'_>) {
    let area = frame.area();
    let queues = board.queues();
    let listeners = u16::try_from(queues.len()).unwrap_or(u16::MAX).clamp(1, (area.height / 3).max(2)) + 1;
    let [head, faults, detail, below, keys] = Layout::vertical([
        Constraint::Length(2),
        Constraint::Min(3),
        Constraint::Length(DETAIL),
        Constraint::Length(listeners),
        Constraint::Length(1),
    ])
    .areas(area);
    let rows = board.faults();
    let selected = board.selected.min(rows.len().saturating_sub(1));
    frame.render_widget(header(board, &rows), head);
    causes(board, &rows, selected, frame, faults);
    frame.render_widget(selected_cause(board, rows.get(selected).copied()), detail);
    frame.render_widget(queue_table(board, &queues, below.width), below);
    frame.render_widget(footer(board), keys);
    if board.mode == Mode::Help {
        help(frame);
    }
}

/// Two lines: what this is, and what is wrong with it.
fn header(board: &Board, rows: &[&Fault]) -> Paragraph<'static> {
    let health = &board.health;
    let clock = board.now.map(|now| time(board, now));
    let title = Line::from(vec![
        Span::styled("redis-trace top", paint(board, Color::Reset).add_modifier(Modifier::BOLD)),
        Span::raw(format!("  {}  {}", board.title, clock.unwrap_or_default())),
    ]);
    let rate: f64 = rows.iter().map(|fault| fault.rate()).sum();
    let hooks = &health.hooks;
    let mut state = vec![Span::raw(format!("{} refusals, {rate:.1}/s  ", grouped(health.seen)))];
    let is_bad = |is: bool| if is { paint(board, Color::Red).add_modifier(Modifier::BOLD) } else { Style::default() };
    state.push(Span::styled(format!("lost {}", grouped(health.lost)), is_bad(health.lost > 0)));
    state.push(Span::styled(format!("  hooks {}/{}", hooks.up, hooks.expected), is_bad(hooks.up < hooks.expected)));
    if !hooks.degraded.is_empty() {
        let codes: Vec<&str> = hooks.degraded.iter().map(|code| code.as_str()).collect();
        state.push(Span::styled(format!("  degraded {}", codes.join(" ")), paint(board, Color::Yellow)));
    }
    Paragraph::new(vec![title, Line::from(state)])
}

/// The causes, as many as fit around the one that is selected.
fn causes(board: &Board, rows: &[&Fault], selected: usize, frame: &mut Frame<'_>, area: Rect) {
    let is_wide = area.width >= 80;
    let cells = |fault: &&Fault| {
        let (report, count) = (&fault.report, grouped(fault.count()));
        let last = time(board, report.last);
        let name = format!("{} {}", report.cause.code, report.cause.name);
        let (rate, place) = (format!("{:>8.1}", fault.rate()), fault.place.clone());
        let who = if report.benign { format!("{} (harmless)", fault.who) } else { fault.who.clone() };
        let cells = if is_wide {
            vec![name, rate, format!("{count:>11}"), last, place, who]
        } else {
            vec![name, rate, format!("{count:>9}"), place]
        };
        Row::new(cells).style(of_confidence(board, report.cause.confidence))
    };
    let (titles, widths) = if is_wide {
        let widths = [Constraint::Length(31), Constraint::Length(8), Constraint::Length(11), Constraint::Length(8)];
        let more = [Constraint::Min(18), Constraint::Fill(1)];
        (vec!["CAUSE", "  RATE/s", "      COUNT", "LAST", "WHERE", "WHO"], widths.into_iter().chain(more).collect())
    } else {
        let widths = vec![Constraint::Fill(1), Constraint::Length(8), Constraint::Length(9), Constraint::Length(15)];
        (vec!["CAUSE", "  RATE/s", "    COUNT", "WHERE"], widths)
    };
    let widths: Vec<Constraint> = widths;
    if rows.is_empty() {
        let text = if board.filter.is_empty() { "nobody was refused yet" } else { "no cause says that" };
        frame.render_widget(Paragraph::new(vec![Line::from(titles.join("  ")), Line::from(text)]), area);
        return;
    }
    let table = Table::new(rows.iter().map(cells), widths)
        .header(title_row(titles))
        .row_highlight_style(Style::default().add_modifier(Modifier::REVERSED));
    frame.render_stateful_widget(table, area, &mut TableState::default().with_selected(selected));
}

/// Why the selected cause is so, and what would end it.
fn selected_cause(board: &Board, fault: Option<&Fault>) -> Paragraph<'static> {
    let Some(fault) = fault else { return Paragraph::default() };
    let report = &fault.report;
    let dim = Style::default().add_modifier(Modifier::DIM);
    let fix = report.fix.first().map(|fix| fix.command.clone().unwrap_or_else(|| fix.text.clone()));
    let why = Line::from(vec![
        Span::styled("  why  ", dim),
        Span::raw(format!("{} ({})", report.summary, report.cause.confidence.name())),
    ]);
    let fix = Line::from(vec![
        Span::styled("  fix  ", dim),
        Span::styled(fix.unwrap_or_else(|| "-".to_owned()), paint(board, Color::Cyan)),
    ]);
    // What would end it is never cut off by why it is so.
    Paragraph::new(vec![fix, why]).wrap(Wrap { trim: false })
}

/// The listeners and their queues.
fn queue_table(board: &Board, queues: &[&Queue], width: u16) -> Table<'static> {
    let is_wide = width >= 80;
    let cells = |queue: &&Queue| {
        let style = match queue.is_full() {
            true => paint(board, Color::Red).add_modifier(Modifier::BOLD),
            false if queue.queued > 0 => paint(board, Color::Yellow),
            false => Style::default(),
        };
        let numbers = format!("{:>13}", format!("{}/{}", queue.queued, queue.limit));
        let gauge = if queue.is_full() { "FULL".to_owned() } else { gauge(queue) };
        let mut cells = vec![queue.place.clone(), numbers, gauge, queue.owner()];
        if is_wide {
            cells.push(queue.netns.clone());
        }
        Row::new(cells).style(style)
    };
    let mut widths = vec![Constraint::Min(22), Constraint::Length(13), Constraint::Length(10), Constraint::Fill(1)];
    let mut titles = vec!["LISTENER", "        QUEUE", "", "OWNER"];
    if is_wide {
        widths.push(Constraint::Length(16));
        titles.push("NETNS");
    }
    Table::new(queues.iter().map(cells), widths).header(title_row(titles))
}

/// How full a queue is, as a bar.
fn gauge(queue: &Queue) -> String {
    let (queued, room) = (queue.queued as usize, queue.limit as usize + 1);
    "█".repeat((queued * GAUGE).div_ceil(room).min(GAUGE))
}

/// What the keys do now.
fn footer(board: &Board) -> Paragraph<'static> {
    let text = match (board.mode, board.filter.is_empty()) {
        (Mode::Filter, _) => format!("/{}▏ Enter keeps it, Esc drops it", board.filter),
        (_, true) => "q end   / filter   ↑↓ choose   ? help".to_owned(),
        (_, false) => format!("q end   / filter: {}   ↑↓ choose   ? help", board.filter),
    };
    Paragraph::new(text).style(Style::default().add_modifier(Modifier::DIM))
}

/// The help, over all else.
fn help(frame: &mut Frame<'_>) {
    let area = frame.area();
    frame.render_widget(Clear, area);
    frame.render_widget(Paragraph::new(HELP).wrap(Wrap { trim: false }), area);
}

/// A moment, to the second.
fn time(board: &Board, time: Timestamp) -> String {
    time.to_zoned_datetime(board.zone.clone()).strftime("%H:%M:%S").to_string()
}

fn title_row(titles: Vec<&'static str>) -> Row<'static> {
    Row::new(titles).style(Style::default().add_modifier(Modifier::DIM | Modifier::UNDERLINED))
}

/// How sure a row is.
fn of_confidence(board: &Board, confidence: Confidence) -> Style {
    match confidence {
        Confidence::Certain => Style::default(),
        Confidence::Likely => paint(board, Color::Yellow),
        Confidence::Possible => Style::default().add_modifier(Modifier::DIM),
    }
}

fn paint(board: &Board, color: Color) -> Style {
    if board.color { Style::default().fg(color) } else { Style::default() }
}
