//! What the pure core costs: bytes to facts, facts to verdicts, verdicts to what is told. No kernel, no root.

use std::hint::black_box;
use std::path::Path;

use criterion::{BatchSize, Criterion};
use redis_trace::trace::aggregate::Aggregate;
use redis_trace::trace::decode::{Names, decode};
use redis_trace::trace::fact::Fact;
use redis_trace::trace::recording::Reader;
use redis_trace::trace::remembered::Bounds;
use redis_trace::trace::report::Report;
use redis_trace::trace::tracer::{Step, Tracer};
use redis_trace_common::record::{Number, Record};

/// A recording of a client that is refused again and again.
fn recording() -> Vec<u8> {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("tests");
    std::fs::read(tests.join("recordings/a-client-tries-20-times.rec")).expect("the recording is there")
}

/// Its facts.
fn facts(recording: &[u8]) -> Vec<Fact> {
    let (_, reader) = Reader::new(recording).expect("it is a recording");
    reader.map(|fact| fact.expect("it is whole")).collect()
}

/// The refusals that they lead to.
fn refusals(facts: &[Fact]) -> Vec<Report> {
    let mut tracer = Tracer::new(Bounds::default());
    let told = |step| match step {
        Step::Tell(report) => Some(report),
        Step::Ask(_) | Step::FirstWord(_) | Step::More(_) | Step::Correct(_) => None,
    };
    facts.iter().flat_map(|fact| tracer.take(fact)).filter_map(told).collect()
}

/// Bytes from the ring become a fact.
fn records(criterion: &mut Criterion) {
    let names = Names::default();
    for number in [Number::Reset, Number::ConnectFailed] {
        let mut bytes = [0; 1024];
        bytes[..4].copy_from_slice(&(number as u32).to_ne_bytes());
        let decoded = |bytes| Record::decode(bytes).map(|record| decode(&record, &names));
        assert!(decoded(&bytes).is_ok(), "zeroes are a record");
        criterion.bench_function(&format!("decode a record: {}", number.name()), |bencher| {
            bencher.iter(|| decoded(black_box(&bytes)));
        });
    }
}

/// Facts become verdicts.
fn verdicts(criterion: &mut Criterion) {
    let recording = recording();
    let facts = facts(&recording);
    let count = refusals(&facts).len();
    assert!(count > 0, "somebody is refused in it");
    criterion.bench_function(&format!("read a recording of {} facts", facts.len()), |bencher| {
        bencher.iter(|| self::facts(black_box(&recording)).len());
    });
    criterion.bench_function(&format!("judge its {count} refusals"), |bencher| {
        bencher.iter(|| refusals(black_box(&facts)).len());
    });
}

/// Verdicts become what is told.
fn telling(criterion: &mut Criterion) {
    let refusals = refusals(&facts(&recording()));
    let mut aggregate = Aggregate::new(false);
    criterion.bench_function("fold one refusal into a storm", |bencher| {
        let next = || refusals[0].clone();
        bencher.iter_batched(next, |report| aggregate.take(report), BatchSize::SmallInput);
    });
    criterion.bench_function("write one refusal as JSON", |bencher| {
        bencher.iter(|| serde_json::to_string(black_box(&refusals[0])).map(|line| line.len()));
    });
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    records(&mut criterion);
    verdicts(&mut criterion);
    telling(&mut criterion);
}
