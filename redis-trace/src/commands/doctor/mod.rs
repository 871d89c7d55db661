//! `redis-trace doctor`: dials a server as its client would, under the tracer, and goes through the troubleshooting guide.
//! One connection on each of its addresses and one more, twelve commands at most, all of which read; nothing is changed.

mod arrivals;
mod clients;
mod configured;
mod confined;
pub(super) mod dial;
mod home;
mod leads;
mod means;
mod names;
pub(super) mod paced;
mod report;
pub(super) mod server;
mod service;
pub(super) mod talk;
pub(crate) mod tls;
mod traced;
mod way;

use std::io::{self, Write as _};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use crate::cli::{DoctorArgs, Document};
use crate::failure::{Exit, Failure};
use crate::host::{self, Host};
use crate::redis::target::Target;
use dial::{Dial, Place};
use home::Reached;
use leads::Lead;
use report::{Finding, Printer, State};
use talk::{Credentials, Told};
use tls::Trust;
use traced::{Failed, Traced};

pub use report::Doctor;

/// Dialling ends after this long, however many addresses are left.
const DIALLING: Duration = Duration::from_secs(5);
/// Where a server sends its clients is dialled for this long, however many addresses are left.
const FOLLOWING: Duration = Duration::from_secs(3);
/// Most addresses of a name that are dialled.
const MOST_ADDRESSES: usize = 4;

/// Runs it.
pub fn run(args: &DoctorArgs) -> anyhow::Result<Exit> {
    let mut target: Target = args.target.parse().map_err(|why: String| {
        Failure::new(Exit::Usage, format!("cannot tell what to dial: {why}"))
            .attempt("redis-trace doctor HOST[:PORT], redis://HOST or unix:PATH")
            .attempt("REDISCLI_AUTH=… redis-trace doctor HOST, or --askpass, when it wants a password")
    })?;
    if args.tls {
        target.speak_tls();
    }
    let client =
        Client { credentials: Credentials::new(&args.login, &target)?, trust: trust(args, &target)?, from: args.from };
    let printer = Printer::new(args);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let doctor = runtime.block_on(examine(&target, &client, printer));
    // A resolver that hangs is not waited for.
    runtime.shutdown_background();
    let doctor = doctor?;
    match args.output {
        Document::Text => io::stdout().write_all(report::ending(&doctor, args).as_bytes())?,
        Document::Json => writeln!(io::stdout(), "{}", serde_json::to_string(&doctor)?)?,
        Document::Markdown => io::stdout().write_all(report::markdown(&doctor).as_bytes())?,
    }
    Ok(doctor.exit())
}

/// Who this client is to a server, and which servers it trusts.
struct Client {
    credentials: Credentials,
    trust: Trust,
    /// The client of whom it is asked whether its SYNs arrive.
    from: Option<IpAddr>,
}

fn trust(args: &DoctorArgs, target: &Target) -> anyhow::Result<Trust> {
    match target {
        Target::Tcp { tls: true, .. } => Trust::new(&args.trust),
        _ => Ok(Trust::default()),
    }
}

/// From the name to what the server says of itself; each step is told when it ends.
async fn examine(target: &Target, client: &Client, printer: Printer) -> anyhow::Result<Doctor> {
    let began = Instant::now();
    let mut doctor = Doctor::new(target, printer);
    let places = match dial::places(target).await {
        Ok(places) => places,
        Err(why) => {
            doctor.step("name", State::Bad, why.clone())?;
            doctor.skip(&["connect", "reply", "listener", "service"], "there is no address to dial")?;
            doctor.verdict(Finding::unresolved(target, &why));
            return Ok(doctor.after(began));
        }
    };
    doctor.step("name", State::Good, dial::told(target, &places))?;
    names::look(&mut doctor, target, &places)?;
    names::traps(&mut doctor, target)?;
    let mut traced = Traced::start().await?;
    let (state, text) = traced.told();
    doctor.step("tracer", state, text)?;
    let reached = dial_all(&mut doctor, &mut traced, places.clone()).await?;
    let (place, told) = if let Some((place, connection)) = reached {
        let told = converse(&mut doctor, target, &place, connection, client)?;
        (Some(place), told)
    } else {
        doctor.skip(&["reply"], "nothing was reached")?;
        (None, None)
    };
    let is_taken = place.is_some();
    let place = place.or_else(|| places.into_iter().next());
    let mut host = Host::new();
    way::look(&mut doctor, &mut host, place.as_ref(), is_taken)?;
    if let (Some(from), Some(Place::Tcp(address))) = (client.from, &place) {
        way::back(&mut doctor, &mut host, from)?;
        arrivals::look(&mut doctor, from, address.port())?;
    }
    home::look(&mut doctor, &mut host, &Reached { place: place.as_ref(), told: told.as_ref(), is_taken })?;
    let is_here =
        matches!(&place, Some(Place::Tcp(address)) if way::is_here(&mut host, host::this_task()?.netns, address));
    let following = Instant::now();
    let (leads, down) = told.map(|told| (told.leads, told.down)).unwrap_or_default();
    for lead in leads {
        // The bus is for other nodes: that a client does not reach it is as it should be.
        if lead.is_bus && !is_here {
            continue;
        }
        follow(&mut doctor, &mut traced, &lead, following).await?;
    }
    if let Some(down) = down {
        doctor.verdict(down);
    }
    if let Some(lost) = traced.lost()? {
        doctor.step("tracer", State::Warn, lost)?;
    }
    Ok(doctor.after(began))
}

/// Talks with who took the connection, by TLS where that is wanted.
fn converse(
    doctor: &mut Doctor,
    target: &Target,
    place: &Place,
    connection: dial::Connection,
    client: &Client,
) -> anyhow::Result<Option<Told>> {
    let connection = match (target, connection) {
        (Target::Tcp { host, tls: true, .. }, dial::Connection::Tcp(stream)) => {
            tls::speak(doctor, stream, place, host, &client.trust)?
        }
        (_, connection) => Some(connection),
    };
    match connection {
        Some(connection) => talk::with(connection, place, &client.credentials, doctor),
        None => Ok(None),
    }
}

/// Dials where the server sends its clients.
async fn follow(doctor: &mut Doctor, traced: &mut Traced, lead: &Lead, began: Instant) -> anyhow::Result<()> {
    let Lead { who, host, port, fix: (text, command), is_bus: _ } = lead;
    if began.elapsed() > FOLLOWING {
        return Ok(doctor.skip(&["follow"], &format!("the {who} was not dialled: it would take too long"))?);
    }
    let target = Target::Tcp { host: host.clone(), port: *port, tls: false, user: None };
    let place = match dial::places(&target).await {
        Ok(places) => places.into_iter().next(),
        Err(why) => return Ok(doctor.step("follow", State::Bad, format!("the {who}: {why}"))?),
    };
    let Some(place) = place else { return Ok(()) };
    let Dial { place, started, took, sent_again, result } = traced.dial(place).await?;
    let Err(error) = result else {
        let text = format!("the {who} is {place}, and takes connections ({})", dial::milliseconds(took));
        return Ok(doctor.step("follow", State::Good, text)?);
    };
    let reports = traced.explain(&Failed { place: &place, started, sent_again, error: &error }).await?;
    let why = reports.first().map_or_else(String::new, |report| format!(": {}", report.summary));
    let got = dial::error_name(&error);
    doctor.step("follow", State::Bad, format!("the {who} is {place}: {got}{why}"))?;
    let summary = format!("the server sends its clients to {place} as the {who}, and a dial there got {got}{why}");
    doctor.verdict(
        Finding::of_code("RT6007", "redirected-to-unreachable", "certain", summary)
            .with(report::fix(text, Some(format!("redis-cli {command}")))),
    );
    doctor.refusals.extend(reports);
    Ok(())
}

/// Dials every place; the first that answered. Why the others did not is told, and is the verdict when none did.
async fn dial_all(
    doctor: &mut Doctor,
    traced: &mut Traced,
    places: Vec<Place>,
) -> anyhow::Result<Option<(Place, dial::Connection)>> {
    let (began, mut reached, left) = (Instant::now(), None, places.len().saturating_sub(MOST_ADDRESSES));
    for place in places.into_iter().take(MOST_ADDRESSES) {
        if began.elapsed() > DIALLING {
            doctor.step("connect", State::Skipped, format!("{place} was not dialled: it would take too long"))?;
            continue;
        }
        let Dial { place, started, took, sent_again, result } = traced.dial(place).await?;
        match result {
            Ok(connection) => {
                doctor.step(
                    "connect",
                    State::Good,
                    format!("{place} took the connection in {}", dial::milliseconds(took)),
                )?;
                reached.get_or_insert((place, connection));
            }
            Err(error) => {
                let text = format!("{place}: {} after {}", dial::error_name(&error), dial::milliseconds(took));
                doctor.step("connect", State::Bad, text)?;
                let refusals = traced.explain(&Failed { place: &place, started, sent_again, error: &error }).await?;
                doctor.refused(&place, &error, refusals)?;
            }
        }
    }
    if left > 0 {
        doctor.step("connect", State::Skipped, format!("{left} more addresses were not dialled"))?;
    }
    if reached.is_some() {
        doctor.forgive();
    }
    Ok(reached)
}
