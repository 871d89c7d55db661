//! `redis-trace top`: the line of `watch`, drawn as a live table.

mod screen;

use std::cell::RefCell;
use std::io::{self, IsTerminal as _, Write as _};
use std::rc::Rc;
use std::time::Duration;

use jiff::tz::TimeZone;
use ratatui::crossterm::event::{Event, KeyCode, KeyEvent, KeyModifiers};
use tokio::time::{Instant, sleep_until};

use super::live::{Live, hooks_report};
use super::output;
use super::stop::Stop;
use super::telling::Telling;
use super::watch::{bounds, options, samples};
use crate::cli::{LimitArgs, Sandbox, TopArgs};
use crate::failure::{Exit, Failure};
use crate::host;
use crate::kernel::Options;
use crate::sink::tui::{Board, Mode, Tui};
use crate::trace::fact::Fact;
use screen::Screen;

/// How often it is drawn when nobody presses a key, and how long a count may wait to be shown.
const DRAW_EVERY: Duration = Duration::from_millis(250);
/// How often queues are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// While a refusal waits for its other end, time passes in small steps.
const SOON: Duration = Duration::from_millis(5);

/// Runs it.
pub fn run(args: &TopArgs) -> anyhow::Result<Exit> {
    if !io::stdout().is_terminal() || !io::stdin().is_terminal() {
        return Err(Failure::new(Exit::Usage, "top needs a terminal to draw in, and keys to be told to end")
            .attempt("redis-trace watch, whose lines go anywhere")
            .into());
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(top(args))
}

/// Takes the terminal and panics at the first key, for the test that it is given back: `top` itself has no panic to offer.
pub fn panic_on_screen() -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let mut screen = Screen::open()?;
    writeln!(io::stdout(), "taken")?;
    let event = runtime.block_on(screen.event());
    panic!("the screen was taken, and {event:?} came");
}

async fn top(args: &TopArgs) -> anyhow::Result<Exit> {
    let options = Options { samples: samples(&args.filters, false), ..options(&args.observation) };
    // What is wrong with the start is told on a screen that is as it was.
    let mut live = Live::start(&options, Sandbox::Off).await?;
    let mut stop = Stop::new(&LimitArgs::default(), None)?;
    let board = Rc::new(RefCell::new(first_board(args, &live)));
    let sink = Box::new(Tui::new(Rc::clone(&board), io::stderr()));
    let filter = output::filter(&args.filters);
    let mut telling = Telling::new(bounds(args.history), filter, Box::new(|_, _| true), true, sink).promptly();
    let mut screen = Screen::open()?;
    let (mut draw_at, mut look_at) = (Instant::now(), Instant::now());
    loop {
        let patience = if telling.is_waiting() { SOON } else { DRAW_EVERY };
        tokio::select! {
            fact = live.next(Some(patience)) => take(&fact?, &mut live, &mut telling, &board)?,
            event = screen.event() => match event.map(|event| press(&event, &mut board.borrow_mut())) {
                Some(Pressed::End) | None => break,
                Some(Pressed::Drawn) => draw_at = Instant::now(),
            },
            () = sleep_until(draw_at) => {
                pass(&mut live, &telling, &board)?;
                screen.draw(&board.borrow())?;
                draw_at = Instant::now() + DRAW_EVERY;
            }
            () = sleep_until(look_at) => {
                live.look_at_queues(telling.known().listeners.namespaces());
                look_at = Instant::now() + LOOK_EVERY;
            }
            () = stop.wait() => break,
        }
    }
    drop(screen);
    telling.tell_waiting()?;
    let (lost, missed) = live.lost()?;
    telling.finish(lost, missed, hooks_report(live.hooks()))?;
    Ok(Exit::Fine)
}

/// Nothing to show yet but what this is.
fn first_board(args: &TopArgs, live: &Live) -> Board {
    let given = args.filters.given().join(" ");
    let filters = if given.is_empty() { String::new() } else { format!(" · only {given}") };
    let kernel = rustix::system::uname().release().to_string_lossy().into_owned();
    let title = format!("{} · kernel {kernel}{filters}", env!("CARGO_PKG_VERSION"));
    Board::new(title, hooks_report(live.hooks()), output::color(args.color), TimeZone::system())
}

/// One fact through the line; what it says of queues is shown.
fn take(fact: &Fact, live: &mut Live, telling: &mut Telling, board: &RefCell<Board>) -> io::Result<()> {
    for question in telling.take(fact)? {
        live.ask(question);
    }
    board.borrow_mut().queues.take(fact, telling.known());
    Ok(())
}

/// Time passed: rates fall, and what was lost meanwhile is shown.
fn pass(live: &mut Live, telling: &Telling, board: &RefCell<Board>) -> anyhow::Result<()> {
    let (lost, missed) = live.lost()?;
    let now = host::boottime();
    let mut board = board.borrow_mut();
    board.health.lost = lost.total() + missed.total();
    board.health.seen = telling.seen();
    board.pass(Duration::from_nanos(now), telling.wall(now));
    Ok(())
}

/// What a key did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pressed {
    /// It is over.
    End,
    /// It is to be drawn again.
    Drawn,
}

/// A key was pressed, or the terminal has another size.
fn press(event: &Event, board: &mut Board) -> Pressed {
    let Event::Key(KeyEvent { code, modifiers, .. }) = event else { return Pressed::Drawn };
    if *code == KeyCode::Char('c') && modifiers.contains(KeyModifiers::CONTROL) {
        return Pressed::End;
    }
    match (board.mode, code) {
        (Mode::Rows, KeyCode::Char('q')) => return Pressed::End,
        (Mode::Rows, KeyCode::Esc) if board.filter.is_empty() => return Pressed::End,
        (Mode::Rows, KeyCode::Esc) => board.filter.clear(),
        (Mode::Rows, KeyCode::Char('?')) => board.mode = Mode::Help,
        (Mode::Rows, KeyCode::Char('/')) => board.mode = Mode::Filter,
        (Mode::Rows, KeyCode::Up | KeyCode::Char('k')) => board.go(-1),
        (Mode::Rows, KeyCode::Down | KeyCode::Char('j')) => board.go(1),
        (Mode::Rows, KeyCode::PageUp) => board.go(-10),
        (Mode::Rows, KeyCode::PageDown) => board.go(10),
        (Mode::Filter, KeyCode::Char(letter)) => board.filter.push(*letter),
        (Mode::Filter, KeyCode::Backspace) => drop(board.filter.pop()),
        (Mode::Filter, KeyCode::Esc) => {
            board.filter.clear();
            board.mode = Mode::Rows;
        }
        (Mode::Help, _) | (Mode::Filter, KeyCode::Enter) => board.mode = Mode::Rows,
        _ => {}
    }
    Pressed::Drawn
}
