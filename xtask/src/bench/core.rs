//! What the pure core costs: criterion's figures of `redis-trace/benches`.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::page::{Part, Table, number};
use crate::run::{cargo, run, workspace};

/// The title on the page.
pub(super) const TITLE: &str = "The pure core";

/// Measures; quick runs are less sure.
pub(super) fn measure(quick: bool) -> Result<Part> {
    let mut part = Part::new(
        TITLE,
        "criterion, without kernel or root: bytes to facts, facts to verdicts, verdicts to what is told. The median of \
         one iteration and its 95 % confidence interval, built without the optimization across crates that is shipped.",
    );
    let kept = workspace()?.join("target/criterion");
    if kept.exists() {
        fs::remove_dir_all(&kept).context("cannot remove what criterion kept of earlier runs")?;
    }
    let mut bench = cargo()?;
    bench.args(["bench", "--locked", "--package", "redis-trace", "--bench", "core", "--"]);
    if quick {
        bench.arg("--quick");
    }
    // Minutes less to build; what is shipped is optimized across crates besides.
    run(bench.env("CARGO_PROFILE_BENCH_LTO", "off").env("CARGO_PROFILE_BENCH_CODEGEN_UNITS", "16"))?;
    let mut directories = fs::read_dir(&kept).context("criterion kept nothing")?.collect::<Result<Vec<_>, _>>()?;
    directories.sort_by_key(fs::DirEntry::file_name);
    let mut table = Table::new(["what", "ns", "from", "to"]);
    for directory in directories {
        table.row(row(&directory.path().join("new"))?);
    }
    part.tables.push(table);
    Ok(part)
}

/// The row of one benchmark.
fn row(kept: &Path) -> Result<[String; 4]> {
    let name = json(&kept.join("benchmark.json"))?["full_id"].as_str().unwrap_or("?").to_owned();
    let median = &json(&kept.join("estimates.json"))?["median"];
    let interval = &median["confidence_interval"];
    let numbers = [&median["point_estimate"], &interval["lower_bound"], &interval["upper_bound"]];
    let [middle, from, to] = numbers.map(|value| value.as_f64().map_or_else(|| "?".to_owned(), number));
    Ok([name, middle, from, to])
}

/// A file that holds JSON.
fn json(path: &Path) -> Result<Value> {
    let text = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    serde_json::from_slice(&text).with_context(|| format!("{} is no JSON", path.display()))
}
