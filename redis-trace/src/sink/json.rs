//! One JSON object a line. The summary is the last.

use std::io::{self, Write};

use serde::Serialize;

use super::Sink;
use crate::trace::report::{Report, Summary, Update};

/// Writes one object a line.
#[derive(Debug)]
pub struct Json<W> {
    out: W,
}

impl<W: Write> Json<W> {
    /// To this writer.
    pub fn new(out: W) -> Self {
        Self { out }
    }

    /// One line, at once: whoever reads the pipe acts on it now.
    fn line<T: Serialize>(&mut self, object: &T) -> io::Result<()> {
        let mut line = serde_json::to_vec(object)?;
        line.push(b'\n');
        self.out.write_all(&line)?;
        self.out.flush()
    }
}

impl<W: Write> Sink for Json<W> {
    fn report(&mut self, report: &Report) -> io::Result<()> {
        self.line(report)
    }

    fn first_word(&mut self, report: &Report) -> io::Result<()> {
        self.line(report)
    }

    fn update(&mut self, update: &Update) -> io::Result<()> {
        self.line(update)
    }

    fn tick(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn summary(&mut self, summary: &Summary) -> io::Result<()> {
        self.line(summary)
    }
}
