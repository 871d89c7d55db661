//! The terminal: taken at the start, given back as it was however the program ends.

use std::io::{self, Stdout, stdout};
use std::panic;
use std::thread;

use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::cursor::Show;
use ratatui::crossterm::event::{self, Event};
use ratatui::crossterm::execute;
use ratatui::crossterm::terminal::{EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use crate::sink::tui::{Board, draw};

/// A terminal in which the board is drawn; given back when this value ends, or when anything panics.
pub(super) struct Screen {
    terminal: Terminal<CrosstermBackend<Stdout>>,
    events: UnboundedReceiver<Event>,
}

impl Screen {
    /// Takes the terminal.
    pub(super) fn open() -> io::Result<Self> {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            give_back();
            before(info);
        }));
        enable_raw_mode()?;
        let opened = execute!(stdout(), EnterAlternateScreen)
            .and_then(|()| Terminal::new(CrosstermBackend::new(stdout())))
            .and_then(|mut terminal| terminal.clear().map(|()| terminal));
        let terminal = opened.inspect_err(|_| give_back())?;
        Ok(Self { terminal, events: keys() })
    }

    /// Draws the board, at the size that the terminal has now.
    pub(super) fn draw(&mut self, board: &Board) -> io::Result<()> {
        self.terminal.draw(|frame| draw(board, frame)).map(drop)
    }

    /// The next key, or change of size; nothing when the terminal is gone.
    pub(super) async fn event(&mut self) -> Option<Event> {
        self.events.recv().await
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        give_back();
    }
}

/// Gives the terminal back as it was. What cannot be told to it is nobody's to mend.
fn give_back() {
    let _ = execute!(stdout(), LeaveAlternateScreen, Show);
    let _ = disable_raw_mode();
}

/// Keys are read on a thread of their own, which ends with the process.
fn keys() -> UnboundedReceiver<Event> {
    let (send, events) = unbounded_channel();
    thread::spawn(move || {
        while let Ok(event) = event::read() {
            if send.send(event).is_err() {
                return;
            }
        }
    });
    events
}
