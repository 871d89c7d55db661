//! `redis-trace man`: the manual page, all commands in one.

use std::io::{self, Write as _};

use clap::CommandFactory as _;
use clap_mangen::Man;

use crate::cli::Cli;
use crate::failure::Exit;

/// What a signal makes watch, record and top do; docs/deploy.md has the same.
const SIGNALS: &str = r".SH SIGNALS
.TP
SIGINT, SIGTERM
What was seen is told, the recording is completed, the summary is printed: within 2 seconds, whoever hangs.
.TP
SIGHUP
While recording and not on a terminal, another recording is begun under the same name, if the old one was moved away; else as
SIGTERM.
.TP
SIGUSR1
What was seen, told and lost so far goes to standard error.
";

/// Prints the manual page in roff, for `man -l -`.
pub fn run() -> anyhow::Result<Exit> {
    let mut command = Cli::command();
    command.build();
    let mut page = Vec::new();
    Man::new(command.clone()).render(&mut page)?;
    for sub in command.get_subcommands().filter(|sub| sub.get_name() != "help") {
        let man = Man::new(sub.clone());
        writeln!(page, ".SH \"REDIS-TRACE {}\"", sub.get_name().to_uppercase())?;
        man.render_description_section(&mut page)?;
        man.render_options_section(&mut page)?;
    }
    page.extend(SIGNALS.as_bytes());
    io::stdout().write_all(&page)?;
    Ok(Exit::Fine)
}
