//! What `doctor` takes, and what any command takes that talks with a server.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::When;

/// Who to log in as, where a server is asked.
#[derive(Clone, Debug, Default, Args)]
pub struct LoginArgs {
    /// Log in as this user
    #[arg(long, value_name = "NAME")]
    pub user: Option<String>,
    /// Ask for the password; else it is taken from REDISCLI_AUTH
    #[arg(long)]
    pub askpass: bool,
}

/// Which servers are trusted that speak TLS, and who this client is to them.
#[derive(Clone, Debug, Default, Args)]
pub struct TlsArgs {
    /// Name to ask for by TLS, when it is another than the host's
    #[arg(long, value_name = "HOST")]
    pub sni: Option<String>,
    /// Trust the authorities of this file (PEM) instead of the host's
    #[arg(long, value_name = "FILE")]
    pub cacert: Option<PathBuf>,
    /// Certificate of this client (PEM)
    #[arg(long, value_name = "FILE", requires = "key")]
    pub cert: Option<PathBuf>,
    /// Its key (PEM)
    #[arg(long, value_name = "FILE", requires = "cert")]
    pub key: Option<PathBuf>,
    /// Talk to a server whose certificate is not trusted, too
    #[arg(long)]
    pub insecure: bool,
}

/// `redis-trace doctor`.
#[derive(Clone, Debug, Args)]
pub struct DoctorArgs {
    /// HOST[:PORT], redis://HOST, rediss://HOST or unix:PATH; a password is taken from REDISCLI_AUTH
    pub target: String,
    /// Who to log in as.
    #[command(flatten)]
    pub login: LoginArgs,
    /// Speak TLS, as rediss:// does
    #[arg(long)]
    pub tls: bool,
    /// Which servers are trusted.
    #[command(flatten)]
    pub trust: TlsArgs,
    /// On the server: wait up to 10 s for a SYN of this client's, and say whether any arrives
    #[arg(long, value_name = "ADDRESS")]
    pub from: Option<IpAddr>,
    /// Text for people, JSON for programs, Markdown for tickets
    #[arg(short, long, value_name = "FORMAT", default_value = "text")]
    pub output: Document,
    /// When to colour
    #[arg(long, value_name = "WHEN", default_value = "auto")]
    pub color: When,
}

/// The format of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Document {
    /// For people
    Text,
    /// For programs
    Json,
    /// For tickets
    Markdown,
}
