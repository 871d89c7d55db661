//! The load of accepted connections: dial, accept, one byte, close, on one CPU.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};

use anyhow::{Context as _, Result, bail};
use clap::Args;
use serde_json::{Value, json};

use crate::bench::process;

/// Connections to one address before the next is taken: the ports of those that were closed are not free at once.
const TO_ONE_ADDRESS: u32 = 4_000;

/// How many connections are made.
#[derive(Args)]
pub(crate) struct Accept {
    /// How many
    #[arg(long)]
    connections: u32,
}

impl Accept {
    /// Makes them: the CPU time of both ends, in nanoseconds.
    pub(crate) fn play(&self) -> Result<Value> {
        process::pin(0)?;
        let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).context("cannot listen")?;
        let port = listener.local_addr()?.port();
        let before = process::cpu(std::process::id())?;
        std::thread::scope(|scope| {
            let server = scope.spawn(|| self.serve(&listener));
            let dialled = self.dial(port);
            dialled.and(server.join().unwrap_or_else(|_| bail!("the server panicked")))
        })?;
        let used = process::cpu(std::process::id())? - before;
        Ok(json!({ "connections": self.connections, "cpu_ns": used }))
    }

    /// The server: greets each client with a byte and closes.
    fn serve(&self, listener: &TcpListener) -> Result<()> {
        for _ in 0..self.connections {
            let (mut client, _) = listener.accept()?;
            client.write_all(b"+")?;
        }
        Ok(())
    }

    /// The client: hears the greeting out and closes.
    fn dial(&self, port: u16) -> Result<()> {
        for number in 0..self.connections {
            let network = u8::try_from(number / TO_ONE_ADDRESS).context("that many connections have no addresses")?;
            let mut server = TcpStream::connect((Ipv4Addr::new(127, 0, network, 1), port)).context("cannot connect")?;
            server.read_to_end(&mut Vec::with_capacity(8))?;
        }
        Ok(())
    }
}
