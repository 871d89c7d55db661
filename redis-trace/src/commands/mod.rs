//! What the program can do: one file a command.

use crate::cli::Command;
use crate::failure::Exit;

pub mod audit;
pub mod capabilities;
pub mod check;
#[cfg_attr(not(feature = "otlp"), path = "no_collector.rs")]
pub mod collector;
pub mod completions;
pub mod demo;
pub mod doctor;
pub mod explain;
pub mod exporter;
pub mod live;
pub mod man;
pub mod output;
pub mod pipe;
pub mod record;
pub mod recorder;
pub mod replay;
pub mod requests;
pub mod run;
pub mod schema;
pub mod stop;
pub mod telling;
pub mod top;
pub mod watch;

/// Runs the command and says how it ended.
pub fn run(command: &Command) -> anyhow::Result<Exit> {
    match command {
        Command::Watch(args) => watch::run(args),
        Command::Top(args) => top::run(args),
        Command::Record(args) => record::run(args),
        Command::Demo(args) => demo::run(args),
        Command::DemoActor { part } => demo::act(part),
        Command::Replay(args) => replay::run(args),
        Command::Doctor(args) => doctor::run(args),
        Command::Audit(args) => audit::run(args),
        Command::Check(args) => check::run(args),
        Command::Explain(args) => explain::run(args),
        Command::Schema(args) => schema::run(args),
        Command::Completions(args) => completions::run(args),
        Command::Man => man::run(),
    }
}
