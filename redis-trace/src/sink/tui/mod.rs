//! The live table: what is shown, and how it is drawn. The terminal itself is the command's.

mod board;
mod draw;
#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::io;
use std::rc::Rc;

pub use board::{Board, Health, Mode};
pub use draw::draw;

use super::Sink;
use super::sum::sum;
use crate::trace::report::{Report, Summary, Update};

/// Keeps a board that somebody else draws; the summary goes to a writer, once the board is gone from the screen.
pub struct Tui<W: io::Write> {
    board: Rc<RefCell<Board>>,
    out: W,
}

impl<W: io::Write> Tui<W> {
    /// Tells what it is told to this board.
    pub fn new(board: Rc<RefCell<Board>>, out: W) -> Self {
        Self { board, out }
    }
}

impl<W: io::Write> Sink for Tui<W> {
    fn report(&mut self, report: &Report) -> io::Result<()> {
        self.board.borrow_mut().tell(report);
        Ok(())
    }

    fn update(&mut self, update: &Update) -> io::Result<()> {
        self.board.borrow_mut().correct(update);
        Ok(())
    }

    fn tick(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn summary(&mut self, summary: &Summary) -> io::Result<()> {
        self.out.write_all(sum(summary).as_bytes())?;
        self.out.flush()
    }
}
