//! Real servers: those that are ready, those that never get so far, and one that the kernel kills.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::os::unix::process::ExitStatusExt as _;

use anyhow::{Context as _, Result, ensure};
use rustix::process::Signal;

use super::{REDIS, Stage, words};
use crate::commands::demo::cgroup::MemoryCgroup;
use crate::commands::demo::process::{Process, Recipe};

/// What Redis says when it listens and has loaded its data; with a capital on TCP, without one on a unix socket.
const READY: &str = "eady to accept connections";

impl Stage {
    /// How to start a real server: nothing is saved, the log goes to its standard output.
    fn redis_recipe(&self, options: &str) -> Recipe {
        Process::program(&self.server.program, &self.redis_arguments(options))
    }

    fn redis_arguments(&self, options: &str) -> Vec<String> {
        let mut arguments: Vec<String> = ["--save", "", "--dir"].map(Into::into).to_vec();
        arguments.push(self.path(""));
        arguments.extend(options.split(' ').map(|word| word.replace('+', " ")));
        arguments
    }

    /// A redis-server that is ready; a `+` in an option stands for a blank within an argument.
    pub(crate) fn redis(&mut self, options: &str) -> Result<u32> {
        let mut server = self.redis_recipe(options).spawn(Some(&self.netns))?;
        server.wait_for(READY)?;
        Ok(self.keep(server))
    }

    /// A redis-server that has said this and goes on.
    pub(crate) fn redis_that_says(&mut self, options: &str, words: &str) -> Result<u32> {
        let mut server = self.redis_recipe(options).spawn(Some(&self.netns))?;
        server.wait_for(words)?;
        Ok(self.keep(server))
    }

    /// The same in the other namespace.
    pub(crate) fn redis_elsewhere(&mut self, options: &str) -> Result<u32> {
        let mut server = self.redis_recipe(options).spawn(self.other.as_ref())?;
        server.wait_for(READY)?;
        Ok(self.keep(server))
    }

    /// A redis-server that ends before it is ready, and with which exit code it must.
    pub(crate) fn failing_redis(&mut self, options: &str, code: i32, nobody: bool) -> Result<u32> {
        let recipe = self.redis_recipe(options);
        let recipe = if nobody { recipe.with_nobodys_rights() } else { recipe };
        let server = recipe.spawn(Some(&self.netns))?;
        self.failing(server, code)
    }

    /// A redis-server that confines itself as this part does, and ends before it is ready.
    pub(crate) fn confined_redis(&mut self, how: &str, options: &str) -> Result<u32> {
        let mut arguments = words(&format!("{how} exec {}", self.server.program));
        arguments.extend(self.redis_arguments(options));
        let server = Process::actor(&arguments).spawn(Some(&self.netns))?;
        self.failing(server, 1)
    }

    /// A redis-server that confines itself as this part does, and is ready nevertheless.
    pub(crate) fn unharmed_redis(&mut self, how: &str, options: &str) -> Result<u32> {
        let mut arguments = words(&format!("{how} exec {}", self.server.program));
        arguments.extend(self.redis_arguments(options));
        let mut server = Process::actor(&arguments).spawn(Some(&self.netns))?;
        server.wait_for(READY)?;
        Ok(self.keep(server))
    }

    /// A Sentinel with this configuration that is ready.
    pub(crate) fn redis_sentinel(&mut self, configuration: &str) -> Result<u32> {
        let path = self.write("sentinel.conf", configuration)?;
        let words = [path, "--sentinel".to_owned()];
        let mut sentinel = Process::program(&self.server.program, &words).spawn(Some(&self.netns))?;
        sentinel.wait_for("+monitor master")?;
        Ok(self.keep(sentinel))
    }

    /// A redis-server that ends over this configuration file.
    pub(crate) fn failing_redis_with_file(&mut self, file: &str, content: &str) -> Result<u32> {
        let path = self.write(file, content)?;
        let server = Process::program(&self.server.program, &[path]).spawn(Some(&self.netns))?;
        self.failing(server, 1)
    }

    fn failing(&mut self, mut server: Process, code: i32) -> Result<u32> {
        let (said, status) = server.finish()?;
        ensure!(
            status.code() == Some(code),
            "redis-server was to end with {code}, not with {status}: {}",
            said.join("\n")
        );
        Ok(self.keep(server))
    }

    /// A client of a Redis that cannot accept it, and says these words each time that it tries, is served once the Redis may.
    pub(crate) fn served_in_the_end(
        &mut self,
        redis: u32,
        words: &str,
        allow: impl FnOnce(&mut Self) -> Result<()>,
    ) -> Result<()> {
        let mut client = self.netns.within(|| Ok(TcpStream::connect((Ipv4Addr::LOCALHOST, REDIS))?))?;
        self.process(redis)?.wait_for(words)?;
        allow(self)?;
        client.write_all(b"PING\r\n")?;
        let mut answer = [0; 7];
        client.read_exact(&mut answer)?;
        ensure!(&answer == b"+PONG\r\n", "Redis answered {answer:?} to PING");
        Ok(())
    }

    /// Ends a Redis; how often it had said these words.
    pub(crate) fn said_in_its_life(&mut self, redis: u32, words: &str) -> Result<usize> {
        self.kill(redis, Signal::KILL)?;
        let (said, _) = self.process(redis)?.finish()?;
        Ok(said.iter().filter(|line| line.contains(words)).count())
    }

    /// Gives a server little memory and makes it need more, until the kernel kills it.
    pub(crate) fn starve(&mut self, pid: u32) -> Result<()> {
        let cgroup = MemoryCgroup::new(&format!("redis-trace-demo-{}", std::process::id()), 32 << 20)?;
        cgroup.take(pid)?;
        self.cgroup = Some(cgroup);
        self.netns.within(|| {
            let mut redis = TcpStream::connect((Ipv4Addr::LOCALHOST, REDIS)).context("cannot connect to Redis")?;
            redis.write_all(b"SETRANGE key 200000000 x\r\n")?;
            // The kernel kills the server and resets the connection: however this ends, it ends without an answer.
            let answer = redis.read(&mut [0; 64]).unwrap_or(0);
            ensure!(answer == 0, "Redis outlived 200 MB in a cgroup of 32 MB");
            Ok(())
        })?;
        let (_, status) = self.process(pid)?.finish()?;
        ensure!(status.signal() == Some(9), "Redis ended with {status}, not by SIGKILL");
        Ok(())
    }

    /// Waits until Redis could not save.
    pub(crate) fn saved_in_vain(&mut self, pid: u32) -> Result<()> {
        self.process(pid)?.wait_for("Background saving error").map(drop)
    }
}
