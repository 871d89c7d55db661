//! Whom this client trusts and who it is, by the files that its flags name as redis-cli's do; and what it witnesses of a
//! handshake.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ResolvesClientCert, WebPkiServerVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

use crate::cli::TlsArgs;
use crate::failure::{Exit, Failure};

/// Whom this client trusts, and who it is.
#[derive(Clone, Debug, Default)]
pub(crate) struct Trust {
    /// Authorities.
    roots: Vec<CertificateDer<'static>>,
    /// Where they are from.
    pub(super) roots_are_given: bool,
    /// Our own certificate and its key.
    identity: Option<Arc<CertifiedKey>>,
    /// Whoever answers will do.
    pub(super) insecure: bool,
    /// The name to ask for, when it is another than the one that is dialled.
    pub(super) sni: Option<String>,
}

impl Trust {
    /// As the flags say; without them, the authorities that this host trusts.
    pub(crate) fn new(args: &TlsArgs) -> anyhow::Result<Self> {
        let roots = match &args.cacert {
            Some(file) => certificates("--cacert", file)?,
            None => rustls_native_certs::load_native_certs().certs,
        };
        let identity = match (&args.cert, &args.key) {
            (Some(cert), Some(key)) => Some(Arc::new(identity(cert, key)?)),
            _ => None,
        };
        let roots_are_given = args.cacert.is_some();
        Ok(Self { roots, roots_are_given, identity, insecure: args.insecure, sni: args.sni.clone() })
    }

    /// How to shake hands, and what will have been witnessed.
    pub(super) fn config(&self) -> Result<(Arc<ClientConfig>, Arc<Witness>), Error> {
        let provider = Arc::new(ring::default_provider());
        let mut store = RootCertStore::empty();
        store.add_parsable_certificates(self.roots.iter().cloned());
        // There is no judge without authorities: then nobody is trusted.
        let judge = WebPkiServerVerifier::builder_with_provider(Arc::new(store), Arc::clone(&provider)).build().ok();
        let witness = Arc::new(Witness {
            judge,
            roots: self.roots.clone(),
            identity: self.identity.clone(),
            provider: Arc::clone(&provider),
            seen: Mutex::default(),
        });
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .dangerous()
            .with_custom_certificate_verifier(Arc::<Witness>::clone(&witness))
            .with_client_cert_resolver(Arc::<Witness>::clone(&witness));
        Ok((Arc::new(config), witness))
    }
}

/// Every certificate of a file.
fn certificates(flag: &str, file: &Path) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let read = CertificateDer::pem_file_iter(file).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    match read {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        Ok(_) => Err(unusable(flag, file, "it has no certificate in PEM")),
        Err(why) => Err(unusable(flag, file, &why.to_string())),
    }
}

/// A certificate and its key.
fn identity(cert: &Path, key: &Path) -> anyhow::Result<CertifiedKey> {
    let chain = certificates("--cert", cert)?;
    let private = PrivateKeyDer::from_pem_file(key).map_err(|why| unusable("--key", key, &why.to_string()))?;
    CertifiedKey::from_der(chain, private, &ring::default_provider()).map_err(|why| match why {
        Error::InconsistentKeys(_) => unusable("--key", key, "it is not the key of that certificate"),
        other => unusable("--key", key, &other.to_string()),
    })
}

fn unusable(flag: &str, file: &Path, why: &str) -> anyhow::Error {
    Failure::new(Exit::Usage, format!("cannot use {flag} {}: {why}", file.display())).into()
}

/// What was seen of a handshake.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    /// The server's certificate, and those that it sent along.
    pub(super) chain: Vec<CertificateDer<'static>>,
    /// Why a client does not trust it.
    pub(super) distrust: Option<Error>,
    /// It asked who we are.
    pub(super) asked: bool,
}

/// Goes on with a handshake that others would end, so that all of it can be told.
#[derive(Debug)]
pub(super) struct Witness {
    judge: Option<Arc<WebPkiServerVerifier>>,
    roots: Vec<CertificateDer<'static>>,
    identity: Option<Arc<CertifiedKey>>,
    provider: Arc<CryptoProvider>,
    seen: Mutex<Seen>,
}

impl Witness {
    /// What was seen so far.
    pub(super) fn seen(&self) -> Seen {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// We can say who we are.
    pub(super) fn has_identity(&self) -> bool {
        self.identity.is_some()
    }

    fn note(&self, note: impl FnOnce(&mut Seen)) {
        note(&mut self.seen.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// A certificate that was given as an authority is trusted as itself, as OpenSSL does.
    fn is_itself_trusted(&self, certificate: &CertificateDer<'_>, error: &Error) -> bool {
        use rustls::CertificateError::{Other, UnknownIssuer};
        matches!(error, Error::InvalidCertificate(Other(_) | UnknownIssuer))
            && self.roots.iter().any(|root| root.as_ref() == certificate.as_ref())
    }
}

impl ServerCertVerifier for Witness {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let judged = match &self.judge {
            Some(judge) => judge.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now).err(),
            None => Some(Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer)),
        };
        let chain = std::iter::once(end_entity).chain(intermediates);
        self.note(|seen| {
            seen.chain = chain.map(|certificate| certificate.clone().into_owned()).collect();
            seen.distrust = judged.filter(|error| !self.is_itself_trusted(end_entity, error));
        });
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

impl ResolvesClientCert for Witness {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.note(|seen| seen.asked = true);
        self.identity.clone()
    }

    /// Said so even without one: else nobody would ask us for it, and that we were asked would not be seen.
    fn has_certs(&self) -> bool {
        true
    }
}
