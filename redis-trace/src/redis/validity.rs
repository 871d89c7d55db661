//! When a certificate is valid.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use x509_parser::prelude::{FromDer as _, X509Certificate};

/// From when and until when, seconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// The first second.
    pub begins: i64,
    /// The last.
    pub ends: i64,
}

impl Validity {
    /// That of a certificate.
    pub fn of(certificate: &X509Certificate<'_>) -> Self {
        let validity = certificate.validity();
        Self { begins: validity.not_before.timestamp(), ends: validity.not_after.timestamp() }
    }

    /// That of the first certificate of a PEM file; nothing when there is none or it cannot be read.
    pub fn of_pem(text: &[u8]) -> Option<Self> {
        let der = CertificateDer::from_pem_slice(text).ok()?;
        Some(Self::of(&X509Certificate::from_der(&der).ok()?.1))
    }

    /// What is wrong with it now, in words.
    pub fn fault(self, now: i64) -> Option<String> {
        if now > self.ends {
            Some(format!("it ended on {}", day(self.ends)))
        } else if now < self.begins {
            Some(format!("it is not valid before {}", day(self.begins)))
        } else {
            None
        }
    }
}

/// The day of a second since 1970, by UTC: `2026-11-29`.
pub fn day(seconds: i64) -> String {
    let time = Timestamp::from_second(seconds).map(|time| TimeZone::UTC.to_datetime(time).date().to_string());
    time.unwrap_or_else(|_| "a day beyond the calendar".to_owned())
}
