//! The load of refusals: one connect after the other to a port that nobody listens on, as tight as the kernel allows.

use std::io::{self, Read as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use clap::Args;
use serde_json::{Value, json};

use crate::bench::process;

/// How many connects are made between two looks at the clock.
const BATCH: u64 = 10;

/// What is dialled, by how many, for how long.
#[derive(Args)]
pub(crate) struct Refuse {
    /// The closed port
    #[arg(long)]
    port: u16,
    /// For how long; until standard input ends when it is not said
    #[arg(long)]
    seconds: Option<u64>,
    /// How many connects a second, all clients together; as many as can be when it is not said
    #[arg(long)]
    rate: Option<u32>,
    /// How many clients dial at once
    #[arg(long, default_value_t = 1)]
    clients: u32,
}

impl Refuse {
    /// Dials.
    pub(crate) fn play(&self) -> Result<Value> {
        let end = AtomicBool::new(false);
        let start = Instant::now();
        let cpu = process::cpu(std::process::id())?;
        let refused = std::thread::scope(|scope| {
            let clients: Vec<_> = (0..self.clients).map(|_| scope.spawn(|| self.dial(start, &end))).collect();
            match self.seconds {
                Some(seconds) => std::thread::sleep(Duration::from_secs(seconds)),
                None => drop(io::stdin().read_to_end(&mut Vec::new())),
            }
            end.store(true, Ordering::Relaxed);
            let refused =
                clients.into_iter().map(|client| client.join().unwrap_or_else(|_| bail!("a client panicked")));
            refused.sum::<Result<u64>>()
        })?;
        let cpu = process::cpu(std::process::id())? - cpu;
        Ok(json!({ "refused": refused, "seconds": start.elapsed().as_secs_f64(), "cpu_ns": cpu }))
    }

    /// One client: how often it was refused.
    fn dial(&self, start: Instant, end: &AtomicBool) -> Result<u64> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, self.port));
        let pace = self.rate.map(|rate| Duration::from_secs(1) * self.clients / rate.max(1));
        let mut refused = 0;
        while !end.load(Ordering::Relaxed) {
            for _ in 0..BATCH {
                match TcpStream::connect(address) {
                    Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => refused += 1,
                    Err(error) => return Err(error).context("the load wants to be refused"),
                    Ok(_) => bail!("something listens on port {}", self.port),
                }
            }
            if let Some(pace) = pace {
                let due = pace.mul_f64(f64::from(u32::try_from(refused).unwrap_or(u32::MAX)));
                std::thread::sleep(due.saturating_sub(start.elapsed()));
            }
        }
        Ok(refused)
    }
}
