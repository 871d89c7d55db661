//! The page that a scrape gets, in OpenMetrics.

use std::fmt;
use std::sync::atomic::Ordering;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::exemplar::Exemplar;
use prometheus_client::registry::{Registry, Unit};

use super::{Delivery, Kind, LISTENERS, Metrics, OTHER, Probe, Process, Standing, servers};
use crate::trace::report::{Lost, Missed, Summary};

/// The labels of a series.
pub(super) type Labels = Vec<(&'static str, String)>;

/// A number.
#[derive(Clone, Copy, Debug)]
pub(super) enum Value {
    Whole(u64),
    Real(f64),
}

/// Series that share a name.
#[derive(Debug)]
pub(super) struct Family {
    name: &'static str,
    help: &'static str,
    kind: MetricType,
    series: Vec<(Labels, Value)>,
}

impl Family {
    pub(super) fn counter(name: &'static str, help: &'static str, series: Vec<(Labels, Value)>) -> Self {
        Self { name, help, kind: MetricType::Counter, series }
    }

    pub(super) fn gauge(name: &'static str, help: &'static str, series: Vec<(Labels, Value)>) -> Self {
        Self { name, help, kind: MetricType::Gauge, series }
    }

    fn encode(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let (name, unit) = self.unit();
        let mut family = encoder.encode_descriptor(name, self.help, unit.as_ref(), self.kind)?;
        for (labels, value) in &self.series {
            if labels.is_empty() {
                self.value(&mut family, *value)?;
            } else {
                self.value(&mut family.encode_family(labels)?, *value)?;
            }
        }
        Ok(())
    }

    /// The name, and the unit that it ends with; the encoder joins the two.
    fn unit(&self) -> (&'static str, Option<Unit>) {
        let units = [("_seconds", Unit::Seconds), ("_bytes", Unit::Bytes), ("_ratio", Unit::Other("ratio".to_owned()))];
        let found = units.into_iter().find_map(|(end, unit)| Some((self.name.strip_suffix(end)?, Some(unit))));
        found.unwrap_or((self.name, None))
    }

    fn value(&self, series: &mut MetricEncoder<'_>, value: Value) -> fmt::Result {
        let none = None::<&Exemplar<Labels, f64>>;
        match (self.kind, value) {
            (MetricType::Counter, Value::Whole(value)) => series.encode_counter(&value, none),
            (MetricType::Counter, Value::Real(value)) => series.encode_counter(&value, none),
            (_, Value::Whole(value)) => series.encode_gauge(&value),
            (_, Value::Real(value)) => series.encode_gauge(&value),
        }
    }
}

/// All that one scrape says.
#[derive(Debug)]
struct Page(Vec<Family>);

impl Collector for Page {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        // A family of which nothing is known is not there: no made-up zero.
        self.0.iter().filter(|family| !family.series.is_empty()).try_for_each(|family| family.encode(&mut encoder))
    }
}

impl Metrics {
    /// The page that a scrape gets now.
    pub fn page(&self, standing: &Standing) -> Result<String, fmt::Error> {
        let mut families = vec![self.refusals()];
        families.extend(self.queues());
        families.extend(view(&standing.summary, standing.recording));
        families.extend(probes(&standing.probes));
        families.extend(servers::families(&standing.servers));
        families.extend(standing.delivery.as_deref().map(delivery));
        families.extend(standing.process.iter().flat_map(process));
        families.push(build(&standing.kernel));
        let mut registry = Registry::default();
        registry.register_collector(Box::new(Page(families)));
        let mut text = String::new();
        encode(&mut text, &registry)?;
        Ok(text)
    }

    fn refusals(&self) -> Family {
        let mut all: Vec<(&Kind, &u64)> = self.refusals.iter().chain(&self.others).collect();
        all.sort();
        let series = all.into_iter().map(|(Kind { code, outcome, benign, server }, number)| {
            let labels = vec![
                ("cause", code.as_str().to_owned()),
                ("name", code.name().to_owned()),
                ("outcome", outcome.name().to_owned()),
                ("benign", benign.to_string()),
                ("server", server.clone()),
            ];
            (labels, Value::Whole(*number))
        });
        let help = "Refusals by cause, what the client got, and what was dialled; benign ones hurt nobody";
        Family::counter("redistrace_refusals", help, series.collect())
    }

    fn queues(&self) -> [Family; 4] {
        let all = self.queues.fullest_first();
        let (shown, rest) = all.split_at(all.len().min(LISTENERS));
        let labels = |listener: &str, netns: &str, process: &str| {
            vec![("listener", listener.to_owned()), ("netns", netns.to_owned()), ("process", process.to_owned())]
        };
        let (mut lengths, mut limits): (Vec<_>, Vec<_>) = shown
            .iter()
            .map(|queue| {
                let labels = labels(&queue.place, &queue.netns, &queue.comm);
                ((labels.clone(), Value::Whole(queue.queued.into())), (labels, Value::Whole(queue.limit.into())))
            })
            .unzip();
        if !rest.is_empty() {
            let labels = labels(OTHER, OTHER, OTHER);
            lengths.push((labels.clone(), Value::Whole(rest.iter().map(|queue| u64::from(queue.queued)).sum())));
            limits.push((labels, Value::Whole(rest.iter().map(|queue| u64::from(queue.limit)).sum())));
        }
        let read = self.queues_read.map(|read| (Labels::new(), Value::Real(seconds(read.as_millisecond()))));
        let number = read.as_ref().map(|_| (Labels::new(), Value::Whole(all.len() as u64)));
        [
            Family::gauge("redistrace_listen_queue_length", "Connections that wait to be accepted", lengths),
            Family::gauge("redistrace_listen_queue_limit", "How many may wait; one more fits", limits),
            Family::gauge("redistrace_listeners", "Listening sockets", Vec::from_iter(number)),
            Family::gauge(
                "redistrace_listen_queues_read_timestamp_seconds",
                "When the queues were last looked at",
                Vec::from_iter(read),
            ),
        ]
    }
}

/// What the view is worth: what it lost, and how much of what the kernel counted it saw.
fn view(summary: &Summary, recording: Option<bool>) -> [Family; 7] {
    let Lost { ring, queue, output } = summary.lost;
    let Missed { records, probes } = summary.missed;
    let by = |label, parts: &[(&str, u64)]| {
        parts.iter().map(|(part, number)| (vec![(label, (*part).to_owned())], Value::Whole(*number))).collect()
    };
    let alone = |value| vec![(Labels::new(), value)];
    [
        Family::counter(
            "redistrace_refusals_lost",
            "Refusals that were seen and could not be told, by where they were lost",
            by("stage", &[("ring", ring), ("queue", queue), ("output", output)]),
        ),
        Family::counter(
            "redistrace_refusals_unattributed",
            "Refusals of floods over so many addresses that none of their kind was looked into",
            alone(Value::Whole(summary.unattributed)),
        ),
        Family::counter(
            "redistrace_refusals_unfiltered",
            "Others of such floods of which too little is known to say whether the filters let them through",
            alone(Value::Whole(summary.unfiltered)),
        ),
        Family::counter(
            "redistrace_missed",
            "Records of who and what besides that found no room, and runs of a probe that did not take place",
            by("kind", &[("records", records), ("probes", probes)]),
        ),
        Family::gauge(
            "redistrace_coverage_ratio",
            "Share of the resets and failed dials that the kernel counted which were seen; absent when it counted none",
            summary.coverage.map(Value::Real).map_or_else(Vec::new, alone),
        ),
        Family::gauge(
            "redistrace_cause_degraded",
            "Causes that are hidden, or told with less confidence, because a hook is missing",
            summary.hooks.degraded.iter().map(|c| (vec![("cause", c.as_str().to_owned())], Value::Whole(1))).collect(),
        ),
        Family::gauge(
            "redistrace_recording_whole",
            "Whether the recording has everything so far; absent when none is made",
            recording.map(|is_whole| Value::Whole(is_whole.into())).map_or_else(Vec::new, alone),
        ),
    ]
}

fn probes(probes: &[Probe]) -> [Family; 4] {
    let series = |value: &dyn Fn(&Probe) -> Option<Value>| {
        let labels = |probe: &Probe| vec![("probe", probe.name.to_owned()), ("hook", probe.hook.to_owned())];
        probes.iter().filter_map(|probe| Some((labels(probe), value(probe)?))).collect()
    };
    [
        Family::gauge(
            "redistrace_probe_up",
            "Whether a probe that is wanted on this kernel is attached",
            series(&|probe| Some(Value::Whole(probe.is_up.into()))),
        ),
        Family::counter(
            "redistrace_probe_misses",
            "Times a probe was not run because another was running on the same processor",
            series(&|probe| probe.misses.map(Value::Whole)),
        ),
        Family::counter(
            "redistrace_probe_runs",
            "Times a probe was run; there while sysctl kernel.bpf_stats_enabled is 1",
            series(&|probe| probe.ran.map(|(runs, _)| Value::Whole(runs))),
        ),
        Family::counter(
            "redistrace_probe_run_seconds",
            "Time that a probe took; there while sysctl kernel.bpf_stats_enabled is 1",
            series(&|probe| probe.ran.map(|(_, seconds)| Value::Real(seconds))),
        ),
    ]
}

fn delivery(delivery: &Delivery) -> Family {
    let [delivered, lost] = [&delivery.delivered, &delivery.lost].map(|number| number.load(Ordering::Relaxed));
    let series = [("delivered", delivered), ("lost", lost)];
    let series = series.map(|(fate, number)| (vec![("fate", fate.to_owned())], Value::Whole(number)));
    Family::counter("redistrace_otlp_records", "Log records for the collector, by what became of them", series.into())
}

fn process(process: &Process) -> [Family; 3] {
    let alone = |value| vec![(Labels::new(), value)];
    [
        Family::counter("process_cpu_seconds", "Processor time", alone(Value::Real(process.cpu_seconds))),
        Family::gauge("process_resident_memory_bytes", "Resident memory", alone(Value::Whole(process.resident_bytes))),
        Family::gauge("process_start_time_seconds", "When it started", alone(Value::Real(process.started))),
    ]
}

fn build(kernel: &str) -> Family {
    let labels = vec![("version", env!("CARGO_PKG_VERSION").to_owned()), ("kernel", kernel.to_owned())];
    Family::gauge("redistrace_build_info", "Version and kernel", vec![(labels, Value::Whole(1))])
}

/// Milliseconds as seconds.
#[expect(clippy::cast_precision_loss, reason = "a time in milliseconds fits for some 280,000 years")]
pub(super) fn seconds(milliseconds: i64) -> f64 {
    milliseconds as f64 / 1000.0
}
