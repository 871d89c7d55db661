//! Who dials, and what each must come to.

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::{Context as _, Result, ensure};

use super::{Stage, words};
use crate::commands::demo::actor::Dialled;
use crate::commands::demo::expect::SENTINEL_PORT;
use crate::commands::demo::process::{NOBODY, Process, Recipe};

/// `ECONNREFUSED`.
const REFUSED: i32 = 111;

impl Stage {
    /// Runs a client that may be turned away, to its end; a `+` stands for a blank within an argument.
    pub(crate) fn ask(&mut self, line: &str) -> Result<()> {
        self.is_asked_by_tls = line.contains("--tls");
        let client = Self::client_recipe(line).spawn(Some(&self.netns))?;
        self.turned_away(client)
    }

    /// The same in the other namespace.
    pub(crate) fn ask_from_elsewhere(&mut self, line: &str) -> Result<()> {
        self.is_asked_from_elsewhere = true;
        let client = Self::client_recipe(line).spawn(self.other.as_ref())?;
        self.turned_away(client)
    }

    pub(super) fn client_recipe(line: &str) -> Recipe {
        let words: Vec<String> = line.split(' ').map(|word| word.replace('+', " ")).collect();
        Process::program(&words[0], &words[1..])
    }

    fn turned_away(&mut self, mut client: Process) -> Result<()> {
        client.finish()?;
        self.keep(client);
        Ok(())
    }

    /// Plays the part of a client that says nothing.
    pub(crate) fn visit(&mut self, part: &str) -> Result<()> {
        self.client(part).map(drop)
    }

    /// Dials each address in order until one answers, `times` times, on one thread of a process of its own.
    pub(crate) fn dial(&mut self, times: u32, addresses: &str) -> Result<Vec<Dialled>> {
        self.client(&format!("dial 0 {times} {addresses}"))
    }

    /// Dials an address and gives up soon, whatever comes of it.
    pub(crate) fn dial_briefly(&mut self, address: SocketAddr) -> Result<Dialled> {
        Ok(self.client(&format!("dial-briefly {address}"))?.remove(0))
    }

    /// A client that confines itself as this part does, and must then get this errno.
    pub(crate) fn confined_dial(&mut self, how: &str, address: SocketAddr, errno: i32) -> Result<Dialled> {
        let dialled = self.client(&format!("{how} part dial 0 1 {address}"))?.remove(0);
        ensure!(dialled.errno == errno, "a dial of {address} ended with errno {}, not {errno}", dialled.errno);
        Ok(dialled)
    }

    /// Dials an address that must refuse.
    pub(crate) fn refused(&mut self, address: SocketAddr) -> Result<Dialled> {
        let dialled = self.dial(1, &address.to_string())?.remove(0);
        ensure!(
            dialled.errno == REFUSED,
            "a dial of {address} ended with errno {}, not with ECONNREFUSED",
            dialled.errno
        );
        Ok(dialled)
    }

    /// Dials an address, which must end with this errno.
    pub(crate) fn fails(&mut self, address: SocketAddr, errno: i32) -> Result<Dialled> {
        let dialled = self.dial(1, &address.to_string())?.remove(0);
        ensure!(dialled.errno == errno, "a dial of {address} ended with errno {}, not {errno}", dialled.errno);
        Ok(dialled)
    }

    /// Plays a part of which nothing but its dials is wanted.
    pub(crate) fn dials(&mut self, part: &str) -> Result<Vec<Dialled>> {
        self.client(part)
    }

    /// Dials a unix socket, which must end with this errno.
    pub(crate) fn unix_denied(&mut self, path: &str, errno: i32, nobody: bool) -> Result<Dialled> {
        let uid = if nobody { NOBODY } else { 0 };
        let dialled = self.client(&format!("dial-unix {uid} {path}"))?.remove(0);
        ensure!(dialled.errno == errno, "a dial of {path} ended with errno {}, not {errno}", dialled.errno);
        Ok(dialled)
    }

    /// Runs a client to its end and reads what it says of its attempts.
    pub(crate) fn client(&mut self, part: &str) -> Result<Vec<Dialled>> {
        let mut client = Process::actor(&words(part)).spawn(Some(&self.netns))?;
        let (said, status) = client.finish()?;
        ensure!(status.success(), "actor {part} ended with {status}: {}", said.join("\n"));
        self.keep(client);
        said.iter()
            .map(|line| serde_json::from_str(line).with_context(|| format!("actor {part} said {line}")))
            .collect()
    }

    /// The last refusal of a scenario, on a port of its own.
    pub(crate) fn sentinel(&mut self) -> Result<()> {
        self.refused((Ipv4Addr::LOCALHOST, SENTINEL_PORT).into()).map(drop)
    }
}
