//! What a server's certificate says, and why a client does not trust it.

use rustls::pki_types::CertificateDer;
use rustls::{CertificateError, Error};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::super::report::{Finding, fix};
use crate::redis::validity::{Validity, day};
use crate::trace::text::Text;

/// A day, seconds.
const DAY: i64 = 86_400;

/// A certificate that ends so soon is told of, days.
const SOON: i64 = 14;

/// What a certificate says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Certificate {
    subject: Text,
    issuer: Text,
    validity: Validity,
    /// Names and addresses that it is for.
    names: Vec<Text>,
}

impl Certificate {
    /// Reads one; nothing when it cannot be read.
    pub(super) fn new(der: &CertificateDer<'_>) -> Option<Self> {
        let (_, certificate) = X509Certificate::from_der(der.as_ref()).ok()?;
        let text = |name: String| Text::from(name.as_str());
        let names = certificate.subject_alternative_name().ok().flatten().map(|names| &names.value.general_names);
        Some(Self {
            subject: text(certificate.subject().to_string()),
            issuer: text(certificate.issuer().to_string()),
            validity: Validity::of(&certificate),
            names: names.into_iter().flatten().filter_map(name).collect(),
        })
    }

    /// How it is told.
    pub(super) fn told(&self, sent: usize) -> String {
        let names = self.names_or("it names no host");
        let signed = if self.is_self_signed() { "by itself".to_owned() } else { format!("by {}", self.issuer) };
        let ends = day(self.validity.ends);
        let along = if sent > 1 { format!("; {} sent along", sent - 1) } else { String::new() };
        format!("{} for {names}, signed {signed}, valid until {ends}{along}", self.subject)
    }

    /// It ends within two weeks: in so many days.
    pub(super) fn ends_soon(&self, now: i64) -> Option<i64> {
        let left = (self.validity.ends - now).div_euclid(DAY);
        (0..SOON).contains(&left).then_some(left)
    }

    fn is_self_signed(&self) -> bool {
        self.subject == self.issuer
    }

    fn names_or(&self, none: &str) -> String {
        if self.names.is_empty() {
            return none.to_owned();
        }
        self.names.iter().map(Text::as_str).collect::<Vec<_>>().join(", ")
    }

    /// Why a client does not trust it, and what would end that.
    pub(super) fn distrusted(&self, error: &Error, dialled: &str, roots_are_given: bool) -> Finding {
        use CertificateError::{
            Expired, ExpiredContext, NotValidForName, NotValidForNameContext, NotValidYet, NotValidYetContext,
            UnknownIssuer,
        };
        let Error::InvalidCertificate(why) = error else {
            return handshake_failed(
                "likely",
                format!("the server's certificate cannot be used: {}", Text::from(error.to_string().as_str())),
            );
        };
        let again = || Some("redis-cli --tls CONFIG SET tls-cert-file FILE".to_owned());
        match why {
            Expired | ExpiredContext { .. } => {
                handshake_failed("certain", format!("the server's certificate ended on {}", day(self.validity.ends)))
                    .with(fix("renew it, and let the server read it again", again()))
            }
            NotValidYet | NotValidYetContext { .. } => {
                let text = format!("the server's certificate is not valid before {}", day(self.validity.begins));
                handshake_failed("certain", text).with(fix("compare the clocks of both hosts", Some("date -u".into())))
            }
            UnknownIssuer => {
                let (nobody, confidence) = if roots_are_given {
                    ("none of the authorities in --cacert", "certain")
                } else {
                    ("no authority that this host trusts", "likely")
                };
                let text = format!("{nobody} signed the server's certificate: {} did", self.issuer);
                handshake_failed(confidence, text).with(fix(
                    "give the client the authority's certificate",
                    Some("redis-cli --tls --cacert FILE".into()),
                ))
            }
            NotValidForName | NotValidForNameContext { .. } => {
                let names = self.names_or("no host");
                let text = format!(
                    "the server's certificate is for {names} and not for {}: clients that compare the name refuse it \
                     (redis-cli does not)",
                    Text::from(dialled)
                );
                handshake_failed("likely", text)
                    .with(fix("dial it by a name of its certificate, or have one made for this name", None))
            }
            other => handshake_failed(
                "certain",
                format!("the server's certificate is not accepted: {}", Text::from(other.to_string().as_str())),
            )
            .with(fix("have it made anew", again())),
        }
    }
}

/// RT5003.
pub(super) fn handshake_failed(confidence: &str, summary: String) -> Finding {
    Finding::of_code("RT5003", "tls-handshake-failed", confidence, summary)
}

/// A name or an address that a certificate is for.
fn name(name: &GeneralName<'_>) -> Option<Text> {
    match name {
        GeneralName::DNSName(name) => Some(Text::from(*name)),
        GeneralName::IPAddress(bytes) => {
            let ip = match bytes.len() {
                4 => std::net::IpAddr::from(<[u8; 4]>::try_from(*bytes).ok()?),
                _ => std::net::IpAddr::from(<[u8; 16]>::try_from(*bytes).ok()?),
            };
            Some(Text::from(ip.to_string().as_str()))
        }
        _ => None,
    }
}
