//! A real redis-server.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::thread;

/// A redis-server on a port of its own, ended with the test.
pub(crate) struct Redis(pub(crate) Child);

impl Redis {
    /// Starts it with these arguments, and waits until it serves.
    pub(crate) fn start(arguments: &[&str]) -> Self {
        let mut command = Command::new("redis-server");
        let mut server = command.args(arguments).stdout(Stdio::piped()).spawn().expect("redis-server is installed");
        let mut log = BufReader::new(server.stdout.take().expect("a pipe"));
        let mut said = String::new();
        while !said.contains("Ready to accept connections") {
            assert_ne!(log.read_line(&mut said).expect("its log is text"), 0, "redis-server ended: {said}");
        }
        // It is read to its end, or the server would wait for room.
        thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
        Self(server)
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
