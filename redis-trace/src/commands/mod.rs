//! What the program can do: one file a command.

use crate::cli::Command;
use crate::failure::Exit;

pub mod completions;
pub mod explain;
pub mod man;
pub mod output;
pub mod schema;

/// Runs the command and says how it ended.
pub fn run(command: &Command) -> anyhow::Result<Exit> {
    match command {
        Command::Explain(args) => explain::run(args),
        Command::Schema(args) => schema::run(args),
        Command::Completions(args) => completions::run(args),
        Command::Man => man::run(),
    }
}
