//! The page that the measurements make: figures against their targets, then how each was measured.

use serde::{Deserialize, Serialize};

/// How wide the page's text is, in bytes.
const WIDTH: usize = 115;

/// What was promised of a figure.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum Target {
    /// No less than this.
    AtLeast(f64),
    /// No more than this.
    AtMost(f64),
}

impl Target {
    /// Whether a value keeps the promise; one that is no number does not.
    fn is_met(self, value: f64) -> bool {
        match self {
            Self::AtLeast(least) => value >= least,
            Self::AtMost(most) => value <= most,
        }
    }
}

/// One figure of the acceptance table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Figure {
    /// What is measured.
    pub(crate) what: String,
    /// What was promised.
    pub(crate) target: Target,
    /// What came of it.
    pub(crate) value: f64,
    /// Its unit, with the space before it.
    pub(crate) unit: String,
    /// How far the runs lie apart.
    pub(crate) spread: String,
}

impl Figure {
    /// A figure without a unit and a spread.
    pub(crate) fn new(what: &str, target: Target, value: f64) -> Self {
        Self { what: what.to_owned(), target, value, unit: String::new(), spread: String::new() }
    }

    /// In this unit.
    pub(crate) fn unit(mut self, unit: &str) -> Self {
        self.unit = format!(" {unit}");
        self
    }

    /// With runs that lie so far apart.
    pub(crate) fn spread(mut self, spread: String) -> Self {
        self.spread = spread;
        self
    }

    /// Its row.
    fn row(&self) -> Vec<String> {
        let Self { what, target, value, unit, spread } = self;
        let target = match target {
            Target::AtLeast(least) => format!("≥ {}{unit}", number(*least)),
            Target::AtMost(most) => format!("≤ {}{unit}", number(*most)),
        };
        let verdict = if self.target.is_met(*value) { "met" } else { "**missed**" };
        vec![what.clone(), target, format!("{}{unit}", number(*value)), spread.clone(), verdict.to_owned()]
    }
}

/// A number in as many digits as its size deserves.
pub(crate) fn number(value: f64) -> String {
    let digits = match value.abs() {
        _ if value.fract() == 0.0 => 0,
        size if size < 10.0 => 3,
        size if size < 100.0 => 1,
        _ => 0,
    };
    format!("{value:.digits$}")
}

/// A text in lines of a page's width.
fn wrapped(text: &str) -> String {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.is_empty() => line.push_str(word),
            Some(line) if line.len() + 1 + word.len() <= WIDTH => *line += &[" ", word].concat(),
            _ => lines.push(word.to_owned()),
        }
    }
    lines.join("\n")
}

/// A table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Table {
    /// The titles of its columns.
    columns: Vec<String>,
    /// Its rows.
    rows: Vec<Vec<String>>,
}

impl Table {
    /// With these columns, and no row yet.
    pub(crate) fn new<const N: usize>(columns: [&str; N]) -> Self {
        Self { columns: columns.map(str::to_owned).to_vec(), rows: Vec::new() }
    }

    /// One row more.
    pub(crate) fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.rows.push(cells.into());
    }

    /// In Markdown.
    fn markdown(&self) -> String {
        let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
        let ruler = format!("|{}\n", "---|".repeat(self.columns.len()));
        line(&self.columns) + &ruler + &self.rows.iter().map(|row| line(row)).collect::<String>()
    }
}

/// What one measurement adds to the page.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Part {
    /// Its title.
    pub(crate) title: String,
    /// How it was measured.
    pub(crate) how: String,
    /// What it says about what was promised.
    pub(crate) figures: Vec<Figure>,
    /// Everything that was measured.
    pub(crate) tables: Vec<Table>,
}

impl Part {
    /// A measurement that is described like this.
    pub(crate) fn new(title: &str, how: &str) -> Self {
        Self { title: title.to_owned(), how: wrapped(how), figures: Vec::new(), tables: Vec::new() }
    }

    /// One that could not be made, and why.
    pub(crate) fn failed(title: &str, error: &anyhow::Error) -> Self {
        Self::new(title, &format!("**Not measured:** {error:#}"))
    }

    /// In Markdown, under a heading of this depth.
    pub(crate) fn markdown(&self, depth: usize) -> String {
        let mut text = format!("{} {}\n\n{}\n\n", "#".repeat(depth), self.title, self.how);
        for table in &self.tables {
            text += &(table.markdown() + "\n");
        }
        text
    }
}

/// Where the measurements were made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Place {
    /// `uname -r`.
    pub(crate) kernel: String,
    /// The tier of its hooks.
    pub(crate) tier: String,
    /// How many CPUs it has.
    pub(crate) cpus: usize,
}

/// Everything that was measured in one place.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Results {
    /// Where.
    pub(crate) place: Place,
    /// What.
    pub(crate) parts: Vec<Part>,
}

/// What stands above it all.
const HEAD: &str = "# What watching costs\n\n\
    `cargo xtask bench` measures all of this and writes this page; no figure is typed by hand. Runs with and without\n\
    the agent take turns, and each ratio divides two runs of one round, so that what drifts on the machine meets both\n\
    alike. A spread is the smallest run, the quartiles in brackets, the largest, and how many there were.\n\n";

/// What stands above the figures of a virtual machine.
const EMULATED: &str = "Emulated on one CPU, with a clock that ticks once an instruction: a nanosecond here is one instruction of kernel or\n\
    program, whatever else the host does. Only ratios mean anything.\n\n";

impl Results {
    /// The figures against what was promised.
    fn figures(&self) -> String {
        let mut table = Table::new(["figure", "target", "measured", "spread", ""]);
        table.rows = self.parts.iter().flat_map(|part| &part.figures).map(Figure::row).collect();
        if table.rows.is_empty() { String::new() } else { table.markdown() + "\n" }
    }

    /// The figures that miss their targets, a line each.
    pub(crate) fn missed(&self) -> Vec<String> {
        let figures = self.parts.iter().flat_map(|part| &part.figures);
        figures.filter(|figure| !figure.target.is_met(figure.value)).map(|figure| figure.row().join("  ")).collect()
    }

    /// Where it was measured.
    fn place(&self) -> String {
        let Place { kernel, tier, cpus } = &self.place;
        format!("Kernel {kernel}, hooks of tier {tier}, {cpus} CPU{}.\n\n", if *cpus == 1 { "" } else { "s" })
    }
}

/// What the page says when the runs were quick ones.
const QUICK: &str = "This was a quick run (`--quick`): fewer rounds and shorter storms than the figures deserve.\n\n";

/// The whole page: this host, then the machines with other kernels.
pub(crate) fn page(host: &Results, machines: &[Results], quick: bool) -> String {
    let mut page = format!("{HEAD}{}{}{}", if quick { QUICK } else { "" }, host.place(), host.figures());
    for part in &host.parts {
        page += &part.markdown(2);
    }
    for machine in machines {
        let kernel = &machine.place.kernel;
        page += &["## In a virtual machine with kernel ", kernel, "\n\n", EMULATED].concat();
        page += &(machine.place() + &machine.figures());
        for part in &machine.parts {
            page += &part.markdown(3);
        }
    }
    page.trim_end().to_owned() + "\n"
}

#[cfg(test)]
mod tests {
    use super::{Figure, Part, Place, Results, Table, Target, page};

    fn results(value: f64) -> Results {
        let mut part = Part::new("Rates", "Dialled\n   for long.");
        part.figures.push(Figure::new("rate", Target::AtLeast(0.9), value).unit("of it").spread("wide".to_owned()));
        let mut table = Table::new(["a", "b"]);
        table.row(["1".to_owned(), "2".to_owned()]);
        part.tables.push(table);
        Results { place: Place { kernel: "6.1".to_owned(), tier: "T1".to_owned(), cpus: 1 }, parts: vec![part] }
    }

    #[test]
    fn a_figure_that_misses_its_target_is_shown_as_missed() {
        assert!(page(&results(0.8), &[], false).contains("| rate | ≥ 0.900 of it | 0.800 of it | wide | **missed** |"));
        assert!(page(&results(0.95), &[], false).contains("| rate | ≥ 0.900 of it | 0.950 of it | wide | met |"));
        assert_eq!(results(f64::NAN).missed().len(), 1, "what could not be computed is not met");
    }

    #[test]
    fn the_page_tells_the_host_and_then_every_machine() {
        let page = page(&results(1.0), &[results(0.5)], false);
        let places = ["\n## Rates\n\nDialled for long.\n", "\n## In a virtual machine", "\n### Rates\n"];
        let found: Vec<_> = places.iter().map(|place| page.find(place).expect("it is there")).collect();
        assert!(found.is_sorted(), "{page}");
        assert!(page.ends_with("| 1 | 2 |\n"));
    }

    #[test]
    fn text_is_wrapped_between_words_and_loses_none() {
        let text = "word ".repeat(100);
        let wrapped = super::wrapped(&text);
        assert!(wrapped.lines().all(|line| line.len() <= super::WIDTH) && wrapped.lines().count() > 4);
        assert_eq!(wrapped.split_whitespace().count(), 100);
    }

    #[test]
    fn a_measurement_that_failed_says_why() {
        let part = Part::failed("tcpdump", &anyhow::anyhow!("it is not installed"));
        assert_eq!(part.markdown(3), "### tcpdump\n\n**Not measured:** it is not installed\n\n");
    }
}
