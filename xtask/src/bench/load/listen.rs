//! The loads of listeners: many that stay, and many that come and go.

use std::io::{self, Read as _};
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener};

use anyhow::{Context as _, Result};
use clap::Args;
use nix::sched::{CloneFlags, unshare};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use serde_json::{Value, json};

/// The first port that is listened on, and how many of each address are.
const FIRST: u16 = 20_000;
/// See above.
const PORTS: u32 = 30_000;

/// How many listeners are held.
#[derive(Args)]
pub(crate) struct Listen {
    /// How many
    #[arg(long)]
    count: u32,
    /// The number of the first: no other process may hold the same
    #[arg(long, default_value_t = 0)]
    first: u32,
    /// In a network namespace of their own
    #[arg(long)]
    apart: bool,
}

impl Listen {
    /// Opens them, says so, and holds them until standard input ends.
    pub(crate) fn play(&self) -> Result<Value> {
        if self.apart {
            unshare(CloneFlags::CLONE_NEWNET).context("cannot make a network namespace")?;
        }
        let (_, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
        setrlimit(Resource::RLIMIT_NOFILE, most, most).context("cannot get room for descriptors")?;
        let listeners = (self.first..self.first + self.count)
            .map(|number| listen(number, self.apart))
            .collect::<Result<Vec<_>>>()?;
        println!("{}", json!({ "listening": listeners.len() }));
        io::stdin().read_to_end(&mut Vec::new())?;
        Ok(json!({}))
    }
}

/// How many listeners come and go.
#[derive(Args)]
pub(crate) struct Churn {
    /// How many
    #[arg(long)]
    count: u32,
}

impl Churn {
    /// Opens and closes one after the other.
    pub(crate) fn play(&self) -> Result<Value> {
        (0..self.count).try_for_each(|number| listen(number, false).map(drop))?;
        Ok(json!({ "closed": self.count }))
    }
}

/// The listener with this number: each has an address and port that no other has.
fn listen(number: u32, apart: bool) -> Result<TcpListener> {
    let host = u8::try_from(number / PORTS + 1).context("that many listeners have no addresses")?;
    let port = FIRST + u16::try_from(number % PORTS)?;
    // A new namespace has no address yet.
    let ip = if apart { Ipv4Addr::UNSPECIFIED } else { Ipv4Addr::new(127, 0, 1, host) };
    let address = SocketAddrV4::new(ip, port);
    TcpListener::bind(address).with_context(|| format!("cannot listen on {address}"))
}
