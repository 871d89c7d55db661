//! What `audit` takes.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::When;
use super::doctor::{LoginArgs, TlsArgs};
use crate::redis::audit::server::Server;

/// `redis-trace audit`.
#[derive(Clone, Debug, Args)]
pub struct AuditArgs {
    /// redis.conf, valkey.conf, sentinel.conf or an ACL file; `-` is standard input; without one, this host's own
    pub files: Vec<PathBuf>,
    /// Compare with this running server: HOST[:PORT], redis://HOST, rediss://HOST or unix:PATH
    #[arg(long, value_name = "TARGET")]
    pub live: Option<String>,
    /// Judge for this server: redis-7.4, valkey-8.1, keydb-6.3
    #[arg(long, value_name = "VERSION")]
    pub server: Option<Server>,
    /// It is this host's: look at its paths, addresses and limits too
    #[arg(long)]
    pub host: bool,
    /// Print the changes as a unified diff, and write nothing
    #[arg(long)]
    pub fix: bool,
    /// Text for people, JSON (one object a file) for programs, SARIF for code review
    #[arg(short, long, value_name = "FORMAT", default_value = "text")]
    pub output: Findings,
    /// When to colour
    #[arg(long, value_name = "WHEN", default_value = "auto")]
    pub color: When,
    /// Who to log in as.
    #[command(flatten)]
    pub login: LoginArgs,
    /// Which servers are trusted.
    #[command(flatten)]
    pub tls: TlsArgs,
    /// Options that the server is started with, after --: they come after the file
    #[arg(last = true, value_name = "OPTION")]
    pub options: Vec<String>,
}

/// The format of an audit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Findings {
    /// For people
    Text,
    /// For programs
    Json,
    /// For code review, SARIF 2.1.0
    Sarif,
}
