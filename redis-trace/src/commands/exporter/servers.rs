//! `--redis`: asks servers how they are, for whoever scrapes. One short connection a server, on a thread of its own that may
//! dial nobody else; while nobody scrapes, none at all.
//!
//! A connection counts against maxclients, so none is kept: it is there for as long as INFO takes. A server that has hardly
//! room left is asked less often: whoever comes while we are in has one place less. One that says nothing is not dialled
//! again before it has ended the connection that there is, or said something: what it does not accept would fill its queue.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::sleep;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use redis::Value;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::getsockname;
use tokio::runtime::Runtime;

use crate::cli::{LoginArgs, MetricsArgs, Sandbox, TlsArgs};
use crate::commands::doctor::dial::{self, Connection, Dial};
use crate::commands::doctor::server::{self, No, Server as Session};
use crate::commands::doctor::talk::Credentials;
use crate::commands::doctor::tls::{self, Trust};
use crate::commands::live::{Part, confined_thread};
use crate::failure::{Exit, Failure};
use crate::redis::info::Info;
use crate::redis::reply;
use crate::redis::target::Target;
use crate::sink::metrics::{SERVERS, Server};
use crate::trace::cause::Code;
use crate::trace::flow::Endpoint;

/// How often a server is asked while somebody scrapes.
const EVERY: Duration = Duration::from_secs(15);
/// How often one that is nearly full is.
const NEARLY_FULL_EVERY: Duration = Duration::from_mins(1);
/// It is nearly full with no more places than this.
const PLACES: u64 = 2;
/// For so long somebody who scraped counts as somebody who scrapes.
const SCRAPES: Duration = Duration::from_mins(2);
/// Most of our ends that are known.
const ENDS: usize = 8 * SERVERS;
/// It took the connection and says nothing.
const SILENT: &str = "silent";

/// The servers, and how to say that somebody scrapes.
pub(super) struct Servers {
    all: Vec<Asked>,
    /// Our ends of the connections to them.
    pub(super) ends: Arc<Ends>,
}

/// Our ends of the last connections that we made.
#[derive(Debug, Default)]
pub struct Ends(Mutex<VecDeque<Endpoint>>);

impl Ends {
    /// Whether this is one of them.
    pub fn has(&self, end: Endpoint) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains(&end)
    }

    fn add(&self, connection: &Connection) {
        // A unix socket has no end that could be told from others.
        let Some(local) = getsockname(connection).ok().and_then(|local| SocketAddr::try_from(local).ok()) else {
            return;
        };
        let mut ends = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        ends.push_back(Endpoint { ip: local.ip().to_canonical(), port: local.port() });
        if ends.len() > ENDS {
            ends.pop_front();
        }
    }
}

/// One that is asked.
struct Asked {
    scraped: mpsc::Sender<Instant>,
    told: Arc<Mutex<Server>>,
}

impl Servers {
    /// Has those asked that the flags name.
    pub(super) fn start(args: &MetricsArgs, sandbox: Sandbox) -> anyhow::Result<Self> {
        let TlsArgs { sni, cacert, cert, key, insecure } = &args.trust;
        let is_trust_given = sni.is_some() || *insecure || [cacert, cert, key].iter().any(|file| file.is_some());
        if is_trust_given && args.redis.is_empty() {
            let what = "--sni, --cacert, --cert, --key and --insecure are for servers that --redis names";
            return Err(Failure::new(Exit::Usage, what).attempt("--redis rediss://HOST").into());
        }
        let mut targets: Vec<Target> = Vec::new();
        for name in &args.redis {
            let target = name.parse().map_err(|why: String| {
                Failure::new(Exit::Usage, format!("cannot tell which server to ask: {why}"))
                    .attempt("--redis HOST[:PORT], redis://USER@HOST, rediss://HOST or unix:PATH")
                    .attempt("REDISCLI_AUTH=… redis-trace watch …, when it wants a password")
            })?;
            if !targets.contains(&target) {
                targets.push(target);
            }
        }
        if targets.len() > SERVERS {
            let what = format!("--redis names {} servers: {SERVERS} are asked at most", targets.len());
            return Err(Failure::new(Exit::Usage, what)
                .attempt("a redis-trace on each of their hosts, which sees why they refuse too")
                .into());
        }
        let ends = Arc::default();
        let asked = targets.into_iter().map(|target| start(target, args, sandbox, &ends));
        Ok(Self { all: asked.collect::<anyhow::Result<_>>()?, ends })
    }

    /// Somebody scrapes; how the servers stood when they were asked last.
    pub(super) fn scraped(&self) -> Vec<Server> {
        let now = Instant::now();
        let tell = |asked: &Asked| {
            // Its thread ends in a panic alone, which ends us.
            let _ = asked.scraped.send(now);
            asked.told.lock().unwrap_or_else(PoisonError::into_inner).clone()
        };
        self.all.iter().map(tell).collect()
    }
}

/// Starts the thread of one server.
fn start(target: Target, args: &MetricsArgs, sandbox: Sandbox, ends: &Arc<Ends>) -> anyhow::Result<Asked> {
    let mut client = Client {
        credentials: Credentials::new(&LoginArgs::default(), &target)?,
        trust: if matches!(target, Target::Tcp { tls: true, .. }) {
            Trust::new(&args.trust)?
        } else {
            Trust::default()
        },
        // One thread for names: a resolver that hangs is not asked by more and more of them.
        runtime: tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(1).build()?,
        target,
        ends: Arc::clone(ends),
        held: None,
    };
    let ports = match &client.target {
        Target::Tcp { port, .. } => vec![*port],
        Target::Unix(_) => Vec::new(),
    };
    let (scraped, wanted) = mpsc::channel();
    let told = Arc::new(Mutex::new(Server::new(client.target.to_string())));
    let ours = Arc::clone(&told);
    confined_thread(Part::Dialler(ports), sandbox, move || client.go_on_asking(&wanted, &ours))?;
    Ok(Asked { scraped, told })
}

/// Who asks a server.
struct Client {
    target: Target,
    credentials: Credentials,
    trust: Trust,
    runtime: Runtime,
    ends: Arc<Ends>,
    /// A connection on which nothing was said yet.
    held: Option<OwnedFd>,
}

impl Client {
    /// Asks for as long as somebody scrapes, then waits until somebody does.
    fn go_on_asking(&mut self, wanted: &mpsc::Receiver<Instant>, told: &Mutex<Server>) {
        while let Ok(mut scraped) = wanted.recv() {
            while scraped.elapsed() < SCRAPES {
                let began = Instant::now();
                let answer = self.ask();
                told.lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .take(answer.as_ref().map_err(|why| *why), Timestamp::now());
                let every = if answer.is_ok_and(|info| is_nearly_full(&info)) { NEARLY_FULL_EVERY } else { EVERY };
                sleep(every.saturating_sub(began.elapsed()));
                scraped = wanted.try_iter().last().unwrap_or(scraped);
            }
            self.held = None;
        }
    }

    /// What the server says of itself, or why it does not: the name of a cause, or a word for what the dial got.
    fn ask(&mut self) -> Result<Info, &'static str> {
        if self.is_silent() {
            return Err(SILENT);
        }
        let answer = self.dial_and_ask();
        if !matches!(answer, Err(SILENT)) {
            self.held = None;
        }
        answer
    }

    /// Nothing was said on the connection that there is, and it was not ended.
    fn is_silent(&self) -> bool {
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        self.held.as_ref().is_some_and(|held| poll(&mut [PollFd::new(held, PollFlags::IN)], Some(&now)) == Ok(0))
    }

    /// Asks on a connection of its own.
    fn dial_and_ask(&mut self) -> Result<Info, &'static str> {
        let mut session = Session(self.reach()?);
        session.lets_in().map_err(|no| reason(&no))?;
        // A server that has no password does not take one either, and answers all the same.
        let denied = self.credentials.auth().and_then(|auth| session.serves(&auth).err());
        let answer = match session.answer(&redis::cmd("INFO")) {
            Ok(Value::ServerError(error)) => {
                let said = format!("{} {}", error.code(), error.details().unwrap_or_default());
                Err(reply::of_error(&said).map_or("error", |said| said.code.name()))
            }
            Ok(answer) => {
                let info = server::info(answer).filter(|info| info.text("redis_version").is_some());
                info.ok_or(Code::RT6009.name())
            }
            Err(error) if error.is_timeout() => Err(SILENT),
            Err(_) => Err(server::closed().code.name()),
        };
        answer.map_err(|why| denied.as_ref().map_or(why, reason))
    }

    /// A connection to the first of its addresses that takes one.
    fn reach(&mut self) -> Result<Connection, &'static str> {
        let places = self.runtime.block_on(dial::places(&self.target)).map_err(|_| "name")?;
        let mut why = "name";
        for place in places.into_iter().take(2) {
            let Dial { place, result, .. } = dial::dial(place);
            let connection = match result {
                Ok(connection) => connection,
                Err(error) => {
                    why = word(&error);
                    continue;
                }
            };
            self.ends.add(&connection);
            self.held = connection.as_fd().try_clone_to_owned().ok();
            return match (connection, &self.target) {
                (Connection::Tcp(stream), Target::Tcp { host, tls: true, .. }) => {
                    let shaken = tls::connect(stream, &place, host, &self.trust).ok().and_then(Result::ok);
                    shaken.ok_or(if self.is_silent() { SILENT } else { Code::RT5003.name() })
                }
                (connection, _) => Ok(connection),
            };
        }
        Err(why)
    }
}

/// What a dial got, in a word.
fn word(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "refused",
        io::ErrorKind::TimedOut => "timeout",
        _ => "unreachable",
    }
}

/// Whoever comes while we are in may find no place.
fn is_nearly_full(info: &Info) -> bool {
    let (clients, limit) = (info.number("connected_clients"), info.number("maxclients"));
    clients.zip(limit).is_some_and(|(clients, limit)| clients + PLACES >= limit)
}

/// Why a server does not serve, in a word.
fn reason(no: &No) -> &'static str {
    match no {
        // Nothing came in time: of a server that says something, this is no cause.
        No::Said(said, _) if said.code == Code::RT0000 => SILENT,
        No::Said(said, _) => said.code.name(),
        No::Tls(_) => Code::RT5003.name(),
    }
}
