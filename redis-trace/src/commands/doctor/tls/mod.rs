//! Speaks TLS with a server: what it offers, whom it claims to be, and why the two do not agree.

mod certificate;
mod trust;

use std::io::{self, Write as _};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{AlertDescription, CertificateError, ClientConnection, Error, PeerIncompatible, StreamOwned};

use super::dial::{self, Connection, Place};
use super::paced::Paced;
use super::report::{Doctor, Finding, State, fix};
use super::server::closed;
use crate::host;
use crate::redis::reply;
use crate::trace::report::Fix;
use crate::trace::text::Text;
use certificate::{Certificate, handshake_failed};
use trust::{Seen, Witness};

pub(crate) use trust::Trust;

/// How long a handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(2);

/// A connection by TLS.
pub(super) type Stream = StreamOwned<ClientConnection, Paced<TcpStream>>;

/// Whether the server wants to know who its client is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Identity {
    /// It does not, or was told.
    Settled,
    /// It does, and was given no certificate.
    Missing,
}

/// A handshake that did not come about.
enum Broken {
    /// One end said why.
    Said(Error),
    /// Nothing came.
    Silent,
    /// It was closed without a word.
    Closed,
}

impl Broken {
    /// Why, in words.
    fn told(&self) -> String {
        match self {
            Self::Said(Error::InvalidMessage(_)) => "what it answers is not TLS".to_owned(),
            Self::Said(error) => format!("no handshake: {}", shown(error)),
            Self::Silent => format!("it took the connection and says nothing for {} s", HANDSHAKE.as_secs()),
            Self::Closed => "it closed during the handshake, without a word".to_owned(),
        }
    }
}

/// Shakes hands and tells what was seen; the connection, when there is one and its server may be trusted.
pub(super) fn speak(
    doctor: &mut Doctor,
    stream: Paced<TcpStream>,
    place: &Place,
    name: &str,
    trust: &Trust,
) -> anyhow::Result<Option<Connection>> {
    let name = trust.sni.as_deref().unwrap_or(name);
    let began = Instant::now();
    let (shaken, witness) = greet(stream, place, name, trust)?;
    let seen = witness.seen();
    let stream = match shaken {
        Ok(stream) => stream,
        Err(broken) => {
            certificate_step(doctor, &seen)?;
            return not_shaken(doctor, &broken, place, &seen, &witness).map(|()| None);
        }
    };
    let version = stream.conn.protocol_version().and_then(|version| version.as_str()).unwrap_or("TLS");
    let suite = stream.conn.negotiated_cipher_suite().and_then(|suite| suite.suite().as_str()).unwrap_or("a cipher");
    let took = dial::milliseconds(began.elapsed());
    doctor.step("tls", State::Good, format!("{} with {suite} after {took}", version.replace('_', ".")))?;
    let certificate = certificate_step(doctor, &seen)?;
    asked_step(doctor, &seen, &witness)?;
    let identity = if seen.asked && !witness.has_identity() { Identity::Missing } else { Identity::Settled };
    let connection = Connection::Tls(Box::new(stream), identity);
    match (seen.distrust, certificate) {
        (Some(error), Some(certificate)) if !trust.insecure => {
            let finding = certificate.distrusted(&error, name, trust.roots_are_given);
            doctor.step("trust", State::Bad, finding.summary.clone())?;
            doctor.skip(&["reply"], "nothing is said to a server that is not trusted; --insecure does")?;
            doctor.verdict(finding);
            Ok(None)
        }
        (Some(error), _) if trust.insecure => {
            doctor.step(
                "trust",
                State::Warn,
                format!("not trusted, and --insecure does not mind: {}", shown(&error)),
            )?;
            Ok(Some(connection))
        }
        _ => {
            doctor.step("trust", State::Good, "the certificate is valid, trusted and for this name".to_owned())?;
            Ok(Some(connection))
        }
    }
}

/// A handshake, and who witnessed it.
fn greet(
    stream: Paced<TcpStream>,
    place: &Place,
    name: &str,
    trust: &Trust,
) -> anyhow::Result<(Result<Stream, Broken>, Arc<Witness>)> {
    let (config, witness) = trust.config()?;
    let shaken = server_name(name, place)
        .and_then(|name| ClientConnection::new(config, name))
        .map_err(Broken::Said)
        .and_then(|connection| shake(connection, stream));
    Ok((shaken, witness))
}

/// Shakes hands with a server that may be trusted; the error is a sentence.
pub(crate) fn connect(
    stream: Paced<TcpStream>,
    place: &Place,
    name: &str,
    trust: &Trust,
) -> anyhow::Result<Result<Connection, String>> {
    let (shaken, witness) = greet(stream, place, trust.sni.as_deref().unwrap_or(name), trust)?;
    Ok(match (shaken, witness.seen().distrust) {
        (Err(broken), _) => Err(broken.told()),
        (Ok(_), Some(error)) if !trust.insecure => Err(format!("its certificate is not trusted: {}", shown(&error))),
        (Ok(stream), _) => Ok(Connection::Tls(Box::new(stream), Identity::Settled)),
    })
}

/// The name to ask for; a name that no certificate can have is asked for by its address.
fn server_name(name: &str, place: &Place) -> Result<ServerName<'static>, Error> {
    match (ServerName::try_from(name.to_owned()), place) {
        (Ok(name), _) => Ok(name),
        (Err(_), Place::Tcp(address)) => Ok(ServerName::from(address.ip())),
        (Err(why), Place::Unix(_)) => Err(Error::General(why.to_string())),
    }
}

/// Hears an end out that says these bytes, and reads them as a certificate: what is told of either.
pub(crate) fn heard(bytes: &[u8]) -> Result<(), Error> {
    let trust = Trust::default();
    let (config, witness) = trust.config()?;
    let mut connection = ClientConnection::new(config, ServerName::from(std::net::Ipv4Addr::LOCALHOST))?;
    let mut rest = bytes;
    while connection.read_tls(&mut rest).is_ok_and(|length| length > 0) {
        if let Err(error) = connection.process_new_packets() {
            let _ = refused(&error, !witness.has_identity());
            break;
        }
    }
    let seen = witness.seen();
    let own = CertificateDer::from(bytes);
    for certificate in seen.chain.iter().chain([&own]).filter_map(Certificate::new) {
        let _ = (certificate.told(seen.chain.len()), certificate.ends_soon(0));
        for why in [CertificateError::Expired, CertificateError::NotValidForName, CertificateError::UnknownIssuer] {
            let _ = certificate.distrusted(&Error::InvalidCertificate(why), "db", trust.roots_are_given);
        }
    }
    Ok(())
}

/// The handshake itself.
fn shake(mut connection: ClientConnection, mut stream: Paced<TcpStream>) -> Result<Stream, Broken> {
    stream.give(HANDSHAKE);
    connection.complete_io(&mut stream).map_err(|error| broken(&error))?;
    Ok(StreamOwned::new(connection, stream))
}

fn broken(error: &io::Error) -> Broken {
    match said(error) {
        Some(said) => Broken::Said(said.clone()),
        None if is_late(error) => Broken::Silent,
        None => Broken::Closed,
    }
}

/// What TLS has against it, when that is what an error is about.
pub(super) fn said(error: &io::Error) -> Option<&Error> {
    error.get_ref()?.downcast_ref::<Error>()
}

/// An error, in which the server may have a word.
fn shown(error: &Error) -> Text {
    Text::from(error.to_string().as_str())
}

/// Our patience ended.
pub(super) fn is_late(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

/// What the server showed of itself.
fn certificate_step(doctor: &mut Doctor, seen: &Seen) -> io::Result<Option<Certificate>> {
    let Some(leaf) = seen.chain.first() else { return Ok(None) };
    let Some(certificate) = Certificate::new(leaf) else {
        doctor.step("cert", State::Unknown, "its certificate cannot be read".to_owned())?;
        return Ok(None);
    };
    let told = certificate.told(seen.chain.len());
    match certificate.ends_soon(host::wall() / 1_000_000_000) {
        Some(days) => doctor.step("cert", State::Warn, format!("{told}: it ends in {days} days"))?,
        None => doctor.step("cert", State::Good, told)?,
    }
    Ok(Some(certificate))
}

/// Whether it wants to know who we are.
fn asked_step(doctor: &mut Doctor, seen: &Seen, witness: &Witness) -> io::Result<()> {
    let (state, text) = match (seen.asked, witness.has_identity()) {
        (true, true) => (State::Good, "it asks for a client certificate, and was given --cert"),
        (true, false) => (State::Warn, "it asks for a client certificate, and none was given (--cert, --key)"),
        (false, true) => (State::Good, "it does not ask for a client certificate: --cert was not needed"),
        (false, false) => (State::Good, "it does not ask for a client certificate"),
    };
    doctor.step("identity", state, text.to_owned())
}

/// No handshake: why.
fn not_shaken(
    doctor: &mut Doctor,
    broken: &Broken,
    place: &Place,
    seen: &Seen,
    witness: &Witness,
) -> anyhow::Result<()> {
    doctor.step("tls", State::Bad, broken.told())?;
    if let Broken::Said(error) = broken
        && !matches!(error, Error::InvalidMessage(_))
    {
        doctor.verdict(refused(error, seen.asked && !witness.has_identity()));
        return Ok(());
    }
    // It may well speak, and not TLS: the second connection asks.
    match without_tls(place) {
        Some(answer) if matches!(answer.first(), Some(b'+' | b'-')) => {
            doctor.step("reply", State::Bad, "without TLS it answers".to_owned())?;
            doctor.verdict(to_plaintext());
        }
        Some(answer) if !answer.is_empty() => {
            doctor.step("reply", State::Bad, format!("without TLS it says: {}", Text::new(first_line(&answer))))?;
            doctor.verdict(Finding::of_reply(&reply::speaks_first(), &Text::new(first_line(&answer))));
        }
        _ => {
            let said = if matches!(broken, Broken::Silent) { reply::silent() } else { closed() };
            doctor.verdict(Finding::of_reply(&said, &Text::from("")));
        }
    }
    Ok(())
}

/// As much of an answer as is quoted.
fn first_line(answer: &[u8]) -> &[u8] {
    let line = answer.split(|byte| *byte == b'\r' || *byte == b'\n').next().unwrap_or_default();
    &line[..line.len().min(120)]
}

/// RT5002.
fn to_plaintext() -> Finding {
    let summary =
        "the port does not speak TLS: asked without, it answers, and asked with it waits for the end of a line";
    Finding::of_code("RT5002", "tls-to-plaintext-port", "certain", summary.to_owned())
        .with(fix("let the client do without TLS (redis:// in a URL), or dial the server's TLS port", None))
        .with(fix("or let the server listen with TLS too", Some("redis-cli CONFIG SET tls-port 6380".to_owned())))
}

/// What an end has against the handshake, or what comes after it.
pub(super) fn refused(error: &Error, has_no_identity: bool) -> Finding {
    use AlertDescription as Alert;
    match error {
        Error::AlertReceived(Alert::CertificateRequired) => no_identity("certain"),
        Error::AlertReceived(Alert::HandshakeFailure) if has_no_identity => no_identity("likely"),
        Error::AlertReceived(
            Alert::UnknownCA
            | Alert::BadCertificate
            | Alert::CertificateExpired
            | Alert::CertificateUnknown
            | Alert::UnsupportedCertificate
            | Alert::CertificateRevoked
            | Alert::DecryptError,
        ) => {
            let text = format!("the server does not accept the client's certificate: it says {}", shown(error));
            handshake_failed("certain", text).with(give_certificate()).with(do_without())
        }
        Error::AlertReceived(Alert::ProtocolVersion)
        | Error::PeerIncompatible(
            PeerIncompatible::ServerDoesNotSupportTls12Or13 | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig,
        ) => {
            let text = "the server speaks neither TLS 1.2 nor 1.3".to_owned();
            handshake_failed("certain", text).with(fix(
                "let it speak them",
                Some("redis-cli CONFIG SET tls-protocols \"TLSv1.2 TLSv1.3\"".to_owned()),
            ))
        }
        Error::AlertReceived(_) => {
            handshake_failed("certain", format!("the server ended the TLS handshake: it says {}", shown(error)))
                .with(fix("compare tls-protocols, tls-ciphers and tls-ciphersuites with what the client speaks", None))
        }
        other => {
            handshake_failed("likely", format!("this client and the server do not agree on TLS: {}", shown(other)))
                .with(fix("compare tls-protocols, tls-ciphers and tls-ciphersuites with what the client speaks", None))
        }
    }
}

/// The server wants to know who its clients are.
pub(super) fn no_identity(confidence: &str) -> Finding {
    let summary = "the server wants a client certificate (tls-auth-clients), and was given none".to_owned();
    handshake_failed(confidence, summary).with(give_certificate()).with(do_without())
}

fn give_certificate() -> Fix {
    fix("give the client a certificate", Some("redis-cli --tls --cert FILE --key FILE".to_owned()))
}

fn do_without() -> Fix {
    fix("or let the server do without", Some("redis-cli --tls CONFIG SET tls-auth-clients no".to_owned()))
}

/// What it answers to a `PING` without TLS; nothing when nothing comes.
fn without_tls(place: &Place) -> Option<Vec<u8>> {
    let Ok(Connection::Tcp(mut stream)) = dial::dial(place.clone()).result else { return None };
    stream.give(HANDSHAKE);
    stream.write_all(&redis::cmd("PING").get_packed_command()).ok()?;
    let mut answer = [0; 512];
    let length = io::Read::read(&mut stream, &mut answer).ok()?;
    Some(answer[..length].to_vec())
}

/// Whether it speaks TLS: it answers a hello, be it with an alert.
pub(super) fn is_spoken(place: &Place) -> bool {
    let Ok(Connection::Tcp(stream)) = dial::dial(place.clone()).result else { return false };
    let Ok((config, witness)) = Trust::default().config() else { return false };
    let Ok(connection) = server_name("", place).and_then(|name| ClientConnection::new(config, name)) else {
        return false;
    };
    match shake(connection, stream) {
        Ok(_) | Err(Broken::Said(Error::AlertReceived(_))) => true,
        Err(_) => !witness.seen().chain.is_empty(),
    }
}
