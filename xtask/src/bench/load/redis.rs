//! The load of requests: GET or SET, over connections that stay or over a new one each, on the server's own CPU.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use clap::Args;
use serde_json::{Value, json};

use crate::bench::process;

/// Connections that stay.
const CONNECTIONS: u32 = 20;
/// Connections to one address before the next is taken: the ports of those that were closed are not free at once.
const TO_ONE_ADDRESS: u32 = 4_000;

/// What is asked, how often, and how.
#[derive(Args)]
pub(crate) struct Redis {
    /// The server's port
    #[arg(long)]
    port: u16,
    /// `get` or `set`
    #[arg(long)]
    request: String,
    /// How many requests
    #[arg(long)]
    requests: u32,
    /// A new connection for each request
    #[arg(long)]
    reconnect: bool,
}

impl Redis {
    /// Asks.
    pub(crate) fn play(&self) -> Result<Value> {
        let (request, reply) = match self.request.as_str() {
            "get" => ("*2\r\n$3\r\nGET\r\n$3\r\nkey\r\n", "$5\r\nvalue\r\n"),
            "set" => ("*3\r\n$3\r\nSET\r\n$3\r\nkey\r\n$5\r\nvalue\r\n", "+OK\r\n"),
            other => bail!("no request is called {other}: there are get and set"),
        };
        process::pin(0)?;
        let start = Instant::now();
        let asked = if self.reconnect { self.reconnecting(request, reply) } else { self.staying(request, reply) }?;
        Ok(json!({ "requests": asked, "seconds": start.elapsed().as_secs_f64() }))
    }

    /// All connections ask, then all hear: the server wakes up once for all of them.
    fn staying(&self, request: &str, reply: &str) -> Result<u32> {
        let connect = |_| self.connect(Ipv4Addr::LOCALHOST);
        let mut connections = (0..CONNECTIONS).map(connect).collect::<Result<Vec<_>>>()?;
        let rounds = self.requests / CONNECTIONS;
        for _ in 0..rounds {
            for connection in &mut connections {
                connection.write_all(request.as_bytes())?;
            }
            for connection in &mut connections {
                hear(connection, reply)?;
            }
        }
        Ok(rounds * CONNECTIONS)
    }

    /// One connection after the other, one request each.
    fn reconnecting(&self, request: &str, reply: &str) -> Result<u32> {
        for number in 0..self.requests {
            let network = u8::try_from(number / TO_ONE_ADDRESS).context("that many connections have no addresses")?;
            let mut connection = self.connect(Ipv4Addr::new(127, 0, network, 1))?;
            connection.write_all(request.as_bytes())?;
            hear(&mut connection, reply)?;
        }
        Ok(self.requests)
    }

    /// A connection.
    fn connect(&self, address: Ipv4Addr) -> Result<TcpStream> {
        let connection = TcpStream::connect((address, self.port)).context("cannot connect to the Redis server")?;
        connection.set_nodelay(true)?;
        Ok(connection)
    }
}

/// Reads the reply, which must be this one.
fn hear(connection: &mut TcpStream, reply: &str) -> Result<()> {
    let mut heard = [0; 32];
    let heard = heard.get_mut(..reply.len()).context("the reply is too long for this load")?;
    connection.read_exact(heard)?;
    if heard != reply.as_bytes() {
        bail!("the Redis server replied {:?}", String::from_utf8_lossy(heard));
    }
    Ok(())
}
