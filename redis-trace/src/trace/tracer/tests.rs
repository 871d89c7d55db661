//! The line as a whole.

use super::first_word::FIRST_WORDS;
use super::*;
use crate::trace::cause::{Code, Confidence};
use crate::trace::fact::{EarlyEnd, Ending, Parting, Phase, Reset, Socket, Source, Task};
use crate::trace::flow::{Endpoint, Netns};
use crate::trace::text::Text;

const SECOND: u64 = 1_000_000_000;

fn reset(time: u64) -> Fact {
    let end = Endpoint { ip: "127.0.0.1".parse().expect("an address"), port: 6379 };
    let flow = Flow { netns: Netns(7), client: end, server: end, ifindex: 1 };
    let isn = u32::try_from(time / SECOND).expect("a small number");
    Fact { time, what: What::Reset(Reset { flow, isn, reason: None, sk_lookup: false, ttl: 64 }) }
}

fn asks(steps: &[Step]) -> usize {
    steps.iter().filter(|step| matches!(step, Step::Ask(Question::Sockets { .. }))).count()
}

#[test]
fn a_question_is_asked_once_while_it_is_on_its_way_and_again_when_its_answer_has_grown_old() {
    let mut tracer = Tracer::new(Bounds::default());
    assert_eq!(asks(&tracer.take(&reset(SECOND))), 1);
    assert_eq!(asks(&tracer.take(&reset(SECOND + 1))), 0);
    let why = "the dump was interrupted".into();
    tracer.take(&Fact { time: SECOND + 2, what: What::Unreadable { netns: Netns(7), why } });
    assert_eq!(asks(&tracer.take(&reset(SECOND + 3))), 0, "it was answered a moment ago");
    assert_eq!(asks(&tracer.take(&reset(5 * SECOND / 2))), 1, "that was too long ago");
}

#[test]
fn a_refusal_is_told_without_the_host_when_it_does_not_answer() {
    let mut tracer = Tracer::new(Bounds::default());
    tracer.take(&reset(SECOND));
    let waited = tracer.take(&Fact { time: 2 * SECOND, what: What::Tick });
    assert!(waited.is_empty() && tracer.is_waiting());
    let told = tracer.take(&Fact { time: 2 * SECOND + PATIENCE, what: What::Tick });
    let [Step::Tell(report)] = told.as_slice() else { panic!("told: {told:?}") };
    assert_eq!((report.cause.code, report.cause.confidence), (Code::RT1001, Confidence::Likely));
    assert!(!tracer.is_waiting());
}

/// A server's process.
fn server() -> Task {
    let comm = Text::from("redis-server");
    Task { pid: 9, tid: 9, uid: 0, netns: Netns(7), start: 0, cgroup: 1, comm, family: false }
}

/// Ticks every tenth of a second, from one to the other.
fn ticks(tracer: &mut Tracer, from: u64, to: u64) -> Vec<Step> {
    let times = (from..=to).step_by(100_000_000);
    times.flat_map(|time| tracer.take(&Fact { time, what: What::Tick })).collect()
}

#[test]
fn a_first_word_is_said_of_a_refusal_that_the_host_keeps_waiting_and_of_none_like_it() {
    let mut tracer = Tracer::new(Bounds::default());
    tracer.take(&reset(SECOND));
    let early = ticks(&mut tracer, SECOND + 100_000_000, SECOND + 500_000_000);
    let [Step::FirstWord(word)] = early.as_slice() else { panic!("said: {early:?}") };
    assert_eq!((word.partial, word.count, word.seq), (true, 0, 1));
    assert_eq!((word.cause.code, word.cause.confidence), (Code::RT1001, Confidence::Likely));

    tracer.take(&reset(2 * SECOND));
    let steps = ticks(&mut tracer, 2 * SECOND, 9 * SECOND);
    let told: Vec<_> = steps.iter().filter(|step| !matches!(step, Step::Ask(_))).collect();
    let [Step::Tell(first), Step::Tell(second)] = told.as_slice() else { panic!("told: {told:?}") };
    assert_eq!((first.partial, first.count, first.seq), (false, 1, 1));
    assert_eq!((second.partial, second.count, second.seq), (false, 1, 2));
}

#[test]
fn in_a_flood_few_first_words_are_said() {
    let mut tracer = Tracer::new(Bounds::default());
    for port in 1..=100 {
        let Fact { time, what: What::Reset(mut refused) } = reset(SECOND) else { unreachable!("a reset") };
        (refused.flow.server.port, refused.isn) = (port, u32::from(port));
        tracer.take(&Fact { time, what: What::Reset(refused) });
    }
    let said = ticks(&mut tracer, SECOND, 9 * SECOND);
    let count = |is_it: fn(&Step) -> bool| said.iter().filter(|step| is_it(step)).count();
    assert_eq!(count(|step| matches!(step, Step::FirstWord(_))), FIRST_WORDS);
    assert_eq!(count(|step| matches!(step, Step::Tell(_))), 100);
}

#[test]
fn no_first_word_is_said_where_the_host_answers_in_time() {
    let mut tracer = Tracer::new(Bounds::default());
    tracer.take(&reset(SECOND));
    let why = "the dump was interrupted".into();
    tracer.take(&Fact { time: SECOND + 150_000_000, what: What::Unreadable { netns: Netns(7), why } });
    let steps = ticks(&mut tracer, SECOND + 200_000_000, 2 * SECOND);
    assert!(steps.iter().all(|step| !matches!(step, Step::FirstWord(_))), "{steps:?}");
}

#[test]
fn what_the_host_did_not_say_in_time_is_not_told_as_certain() {
    let end = Endpoint { ip: "127.0.0.1".parse().expect("an address"), port: 6379 };
    let socket = Socket { netns: Netns(7), local: end, ipv6: false, v6only: false, ifindex: 0, inode: 5 };
    let task = server();
    let mut tracer = Tracer::new(Bounds::default());
    let up = What::ListenUp { socket: socket.clone(), task: task.clone(), backlog: 511 };
    tracer.take(&Fact { time: SECOND / 4, what: up });
    let down = What::ListenDown { socket, task: task.clone(), ending: None, queued: 0, backlog: 128 };
    tracer.take(&Fact { time: SECOND / 2, what: down });
    tracer.take(&reset(SECOND));
    let path = UnixPath::File(Text::from("/run/redis.sock"));
    tracer.take(&Fact { time: SECOND, what: What::UnixConnect { task, errno: 111, path } });
    let mut told = Vec::new();
    for tick in 1..150 {
        let steps = tracer.take(&Fact { time: SECOND + tick * SECOND / 10, what: What::Tick });
        told.extend(steps.into_iter().filter_map(|step| match step {
            Step::Tell(report) => Some((report.cause.code, report.cause.confidence)),
            Step::Ask(_) | Step::FirstWord(_) | Step::More(_) | Step::Correct(_) => None,
        }));
    }
    told.sort();
    assert_eq!(told, [(Code::RT0000, Confidence::Possible), (Code::RT1015, Confidence::Likely)]);
}

/// The host shows that nobody listens where [`reset`] dialled.
fn nobody() -> What {
    What::Sockets { netns: Netns(7), port: Some(6379), sockets: Vec::new(), source: Source::SockDiag }
}

/// A listener of this process begins, and is dialled when the host shows it no more, though no end of it was told.
fn dialled_after_an_untold_end(task: &Task) -> (Tracer, Socket) {
    let Fact { what: What::Reset(Reset { flow, .. }), .. } = reset(SECOND) else { unreachable!("a reset") };
    let (netns, local) = (flow.netns, flow.server);
    let socket = Socket { netns, local, ipv6: false, v6only: false, ifindex: 0, inode: 5 };
    let mut tracer = Tracer::new(Bounds::default());
    let up = What::ListenUp { socket: socket.clone(), task: task.clone(), backlog: 511 };
    tracer.take(&Fact { time: SECOND / 4, what: up });
    tracer.take(&reset(SECOND));
    tracer.take(&Fact { time: SECOND, what: What::ConnectFailed(dial(Phase::Over, 111, 0)) });
    tracer.take(&Fact { time: SECOND + 1_000_000, what: nobody() });
    (tracer, socket)
}

/// What is told, and what is asked.
fn told_and_asked(steps: Vec<Step>) -> (Vec<(Code, Confidence)>, Vec<Question>) {
    let (mut told, mut asked) = (Vec::new(), Vec::new());
    for step in steps {
        match step {
            Step::Tell(report) => told.push((report.cause.code, report.cause.confidence)),
            Step::Ask(question) => asked.push(question),
            other => panic!("{other:?}"),
        }
    }
    (told, asked)
}

#[test]
fn the_end_of_a_listener_that_the_host_shows_no_more_is_waited_for() {
    let task = server();
    let (mut tracer, socket) = dialled_after_an_untold_end(&task);
    assert_eq!(ticks(&mut tracer, SECOND + 50_000_000, SECOND + 150_000_000), []);
    let ending = Some(Ending::Killed { signal: 9, core: false });
    let down = What::ListenDown { socket, task, ending, queued: 0, backlog: 128 };
    let again = tracer.take(&Fact { time: SECOND + 20_000_000, what: down });
    let again = again.into_iter().chain(ticks(&mut tracer, SECOND + 160_000_000, SECOND + 160_000_000)).collect();
    assert_eq!(told_and_asked(again), (Vec::new(), vec![Question::Sockets { netns: Netns(7), port: 6379 }]));
    let (told, _) = told_and_asked(tracer.take(&Fact { time: SECOND + 170_000_000, what: nobody() }));
    assert_eq!(told, [(Code::RT1003, Confidence::Likely)], "it was told 20 ms after the dial");
}

#[test]
fn a_listener_that_the_host_shows_no_more_has_ended_though_nothing_tells_of_it() {
    let task = server();
    let (mut tracer, _) = dialled_after_an_untold_end(&task);
    let late = ticks(&mut tracer, SECOND + 100_000_000, SECOND + 500_000_000);
    assert_eq!(told_and_asked(late), (Vec::new(), vec![Question::Alive(task.key())]));
    let lives = What::ProcessState { pid: task.pid, start: task.start, alive: true };
    let (told, _) = told_and_asked(tracer.take(&Fact { time: SECOND + 510_000_000, what: lives }));
    assert_eq!(told, [(Code::RT1006, Confidence::Likely)]);
}

#[test]
fn at_the_end_nothing_is_waited_for() {
    let (mut tracer, _) = dialled_after_an_untold_end(&server());
    let told: Vec<_> = tracer.finish().into_iter().filter(|step| matches!(step, Step::Tell(_))).collect();
    assert_eq!(told.len(), 1, "{told:?}");
}

/// The dialling end of [`reset`] in its first second.
fn dial(phase: Phase, errno: u32, retransmits: u32) -> ConnectFailed {
    let Fact { what: What::Reset(Reset { flow, isn, .. }), .. } = reset(SECOND) else { unreachable!("a reset") };
    let comm = Text::from("redis-cli");
    let task = Task { pid: 9, tid: 9, uid: 0, netns: flow.netns, start: 0, cgroup: 1, comm, family: false };
    ConnectFailed { flow, task, dialled: SECOND, errno, isn, phase, retransmits, icmp: None, ttl: None, peer_ttl: None }
}

#[test]
fn a_client_that_a_busy_host_let_wait_is_not_told_beside_its_reset() {
    let mut tracer = Tracer::new(Bounds::default());
    tracer.take(&reset(SECOND));
    let waited = tracer.take(&Fact { time: 5 * SECOND / 4, what: What::Tick });
    assert!(waited.is_empty() && tracer.is_waiting(), "for the host: {waited:?}");
    let late = What::ConnectFailed(dial(Phase::Over, 111, 0));
    tracer.take(&Fact { time: 13 * SECOND / 10, what: late });
    let told = tracer.take(&Fact { time: 2 * SECOND + PATIENCE, what: What::Tick });
    let [Step::Tell(report)] = told.as_slice() else { panic!("told: {told:?}") };
    assert_eq!(report.client_process.as_ref().map(|client| client.pid), Some(9));
    assert!(!tracer.is_waiting());
}

#[test]
fn a_client_whose_record_a_busy_host_let_lie_is_not_told_beside_its_reset() {
    for (waited, told_before) in [(SECOND / 4, 0), (SECOND + PATIENCE, 1)] {
        let mut tracer = Tracer::new(Bounds::default());
        let mut told = tracer.take(&reset(SECOND));
        // The program's clock is read before the ring.
        told.extend(tracer.take(&Fact { time: 5 * SECOND / 4, what: What::Tick }));
        told.extend(tracer.take(&Fact { time: SECOND + waited, what: What::Tick }));
        let is_told = |step: &&Step| matches!(step, Step::Tell(_));
        assert_eq!(told.iter().filter(is_told).count(), told_before);
        told.extend(tracer.take(&Fact { time: SECOND + 10_000, what: What::ConnectFailed(dial(Phase::Over, 111, 0)) }));
        told.extend(tracer.take(&Fact { time: 3 * SECOND + 2 * PATIENCE, what: What::Tick }));
        assert_eq!(told.iter().filter(is_told).count(), 1, "{told:?}");
        assert!(!tracer.is_waiting());
    }
}

/// What is told of a dial of 127.0.0.1:6379 that has waited for three seconds, and of which this was known before.
fn told_of_a_wait(before: Option<What>, full: bool) -> Vec<(Code, Option<u32>)> {
    use crate::trace::fact::{BoundSocket, Queue, Queues, Source};
    let Fact { what: What::Reset(Reset { flow, .. }), .. } = reset(SECOND) else { unreachable!("a reset") };
    let socket = Socket { netns: flow.netns, local: flow.server, ipv6: false, v6only: false, ifindex: 0, inode: 5 };
    let wait = dial(Phase::Waiting, 0, 2);
    let bound =
        BoundSocket { socket, listening: true, queued: Some(2 * u32::from(full)), backlog: Some(1), owner: None };
    let queue = Queue { bound: bound.clone(), oldest: None, serving: None };
    let queues = Queues { netns: flow.netns, port: 6379, somaxconn: Some(128), queues: vec![queue] };
    let facts = before.into_iter().map(|what| (SECOND, what)).chain([
        (4 * SECOND, What::ConnectFailed(wait)),
        (5 * SECOND, What::Tick),
        (
            5 * SECOND,
            What::Sockets { netns: flow.netns, port: Some(6379), sockets: vec![bound], source: Source::SockDiag },
        ),
        (5 * SECOND, What::Queues(queues)),
        (12 * SECOND, What::Tick),
    ]);
    let mut tracer = Tracer::new(Bounds::default());
    let steps = facts.flat_map(|(time, what)| tracer.take(&Fact { time, what })).collect::<Vec<_>>();
    steps
        .into_iter()
        .filter_map(|step| match step {
            Step::Tell(report) => Some((report.cause.code, report.client_process.map(|client| client.pid))),
            Step::Ask(_) | Step::FirstWord(_) | Step::More(_) | Step::Correct(_) => None,
        })
        .collect()
}

#[test]
fn who_waits_at_a_full_queue_is_told_the_queue() {
    assert_eq!(told_of_a_wait(None, true), [(Code::RT2001, Some(9))]);
    assert_eq!(told_of_a_wait(None, false), [(Code::RT0000, Some(9))]);
}

#[test]
fn who_waits_is_not_told_again_when_the_kernel_named_the_queue_that_dropped_the_syn() {
    use crate::trace::fact::{Overflow, QueueKind};
    let Fact { what: What::Reset(Reset { flow, isn, .. }), .. } = reset(SECOND) else { unreachable!("a reset") };
    let socket = Socket { netns: flow.netns, local: flow.server, ipv6: false, v6only: false, ifindex: 0, inode: 5 };
    let queue = QueueKind::Accept;
    let full = Overflow { flow, socket, isn, queue, by_ack: false, reset: false, length: 2, limit: 1 };
    assert_eq!(told_of_a_wait(Some(What::QueueFull(full)), true), [(Code::RT2001, None)]);
}

/// A node of a Cluster had sent a client of 127.0.0.1 to where [`reset`] comes from.
fn moved() -> What {
    let flow = |port| Endpoint { ip: "127.0.0.1".parse().expect("an address"), port };
    let task = Task { pid: 8, comm: Text::from("redis-server"), ..dial(Phase::Over, 111, 0).task };
    What::EarlyEnd(EarlyEnd {
        flow: Flow { netns: Netns(7), client: flow(40_000), server: flow(7_000), ifindex: 0 },
        server: Some(task),
        client: false,
        sent: 28,
        received: 20,
        read: Some(20),
        end: 1,
        idle_ms: 1,
        waiting: 0,
        quiet_ms: 1,
        parting: Parting::Left,
        kind: 0,
        known: 28,
        reply: Some(Text::from("-MOVED 12539 127.0.0.1:6379")),
        redirect: Some(flow(6379)),
        alert: None,
    })
}

/// What is told of a dial by this program that a reset ended, as it was told last, when that redirect is known then.
fn told_of_a_redirect(comm: &str, redirected: u64) -> Vec<(Code, Confidence)> {
    let mut dialled = dial(Phase::Over, 111, 0);
    dialled.task.comm = Text::from(comm);
    let mut facts = vec![
        reset(SECOND),
        Fact { time: SECOND, what: What::ConnectFailed(dialled) },
        Fact { time: SECOND + 1, what: What::Unreadable { netns: Netns(7), why: "the dump was interrupted".into() } },
        Fact { time: redirected, what: moved() },
        Fact { time: 20 * SECOND, what: What::Tick },
    ];
    facts.extend((10..90).map(|tick| Fact { time: tick * SECOND / 10 + 2, what: What::Tick }));
    facts.sort_by_key(|fact| fact.time);
    let mut tracer = Tracer::new(Bounds::default());
    let steps = facts.iter().flat_map(|fact| tracer.take(fact)).collect::<Vec<_>>();
    let causes = steps.into_iter().filter_map(|step| match step {
        Step::Tell(report) => Some(report.cause),
        Step::Correct(update) => update.cause,
        Step::Ask(_) | Step::FirstWord(_) | Step::More(_) => None,
    });
    causes.map(|cause| (cause.code, cause.confidence)).collect()
}

#[test]
fn a_client_that_was_sent_to_where_nobody_listens_is_told_who_sent_it_before_or_after() {
    let (nobody, sent) = ((Code::RT1001, Confidence::Likely), (Code::RT6007, Confidence::Likely));
    assert_eq!(told_of_a_redirect("redis-cli", SECOND / 2), [sent]);
    assert_eq!(told_of_a_redirect("redis-cli", 9 * SECOND), [nobody, sent]);
    assert_eq!(told_of_a_redirect("redis-cli", 12 * SECOND), [nobody], "that is another's");
    assert_eq!(told_of_a_redirect("redis-server", SECOND / 2), [nobody], "nodes dial one another unsent");
}
