//! Who may scrape, and where.

use std::net::{Ipv4Addr, SocketAddr};

use clap::Args;

use super::{OBSERVATION, TlsArgs};

const TLS: &str = "Servers of --redis that speak TLS";

/// Where metrics are served.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = OBSERVATION)]
pub struct MetricsArgs {
    /// Serve OpenMetrics at http://ADDRESS/metrics: 9464 or 127.0.0.1:9464
    #[arg(long, value_name = "ADDRESS", value_parser = address)]
    pub metrics: Option<SocketAddr>,
    /// Let --metrics listen where other hosts reach it: whoever can dial it learns who dials whom
    #[arg(long, requires = "metrics")]
    pub metrics_public: bool,
    /// Ask this server for INFO every 15 s while somebody scrapes (repeatable): HOST[:PORT], redis://USER@HOST, rediss://HOST
    /// or unix:PATH; a password is taken from REDISCLI_AUTH
    #[arg(long, value_name = "TARGET", requires = "metrics")]
    pub redis: Vec<String>,
    /// Which of these servers are trusted.
    #[command(flatten, next_help_heading = TLS)]
    pub trust: TlsArgs,
}

/// A port of this host alone, or an address with a port.
fn address(text: &str) -> Result<SocketAddr, String> {
    if let Ok(port) = text.parse::<u16>() {
        return Ok((Ipv4Addr::LOCALHOST, port).into());
    }
    text.parse().map_err(|_| "not PORT or ADDRESS:PORT, as 9464 or 127.0.0.1:9464".to_owned())
}
