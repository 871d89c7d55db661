//! How long the agent needs until it watches, and how large the program is.

use std::fs;

use anyhow::{Context as _, Result};

use super::agent::Agent;
use super::measure::Bench;
use super::page::{Figure, Part, Table, Target, number};
use super::spread::Spread;

/// The title on the page.
pub(super) const TITLE: &str = "Start and size";

/// Measures.
pub(super) fn measure(bench: &Bench) -> Result<Part> {
    let mut part = Part::new(
        TITLE,
        "From the start of the process to the banner's last line, which says that every hook is attached and the first \
         look at the host is done. The program is static and stripped, without optional features: built with \
         `-C target-feature=+crt-static` for x86_64-unknown-linux-gnu, it needs no library and resolves no host name.",
    );
    let mut times = Vec::new();
    for _ in 0..bench.pick([21, 9, 9]) {
        let agent = Agent::start(&bench.program, &[])?;
        times.push(agent.to_attached.as_secs_f64() * 1e3);
        agent.stop()?;
    }
    let times = Spread::of(times);
    let start = Figure::new("start to attached, median", Target::AtMost(300.0), times.median().round());
    let bytes = fs::metadata(&bench.program).with_context(|| format!("cannot read {}", bench.program.display()))?.len();
    #[expect(clippy::cast_precision_loss, reason = "told in mebibytes")]
    let mebibytes = bytes as f64 / f64::from(1 << 20);
    let size = Figure::new("size of the static, stripped program", Target::AtMost(8.0), mebibytes);
    let mut table = Table::new(["what", "median", "spread"]);
    table.row(["start to attached, ms".to_owned(), number(times.median().round()), times.text(0)]);
    table.row(["program, MiB".to_owned(), number(mebibytes), format!("{bytes} bytes")]);
    part.tables.push(table);
    part.figures = vec![start.unit("ms").spread(times.text(0)), size.unit("MiB").spread(format!("{bytes} bytes"))];
    Ok(part)
}
