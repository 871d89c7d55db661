//! Unix sockets.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use anyhow::Result;
use rustix::process::Signal;

use super::Scenario;
use crate::commands::demo::stage::{Stage, unix_refusal};
use crate::trace::cause::Code;

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario::new("the unix socket's path is there and nobody behind it", Code::RT1015, &[stale]),
    Scenario::new("the abstract unix socket does not exist", Code::RT1015, &[absent_abstract]),
    Scenario::new("the unix socket's path does not exist", Code::RT1016, &[missing]),
    Scenario::new("the unix socket's directory may not be entered", Code::RT1017, &[forbidden]),
];

/// `ENOENT`, `EACCES`, `ECONNREFUSED`.
const ENOENT: i32 = 2;
const EACCES: i32 = 13;
const ECONNREFUSED: i32 = 111;

fn stale(stage: &mut Stage) -> Result<()> {
    let path = stage.path("stale.sock");
    let redis = stage.redis(&format!("--port 0 --unixsocket {path}"))?;
    stage.kill(redis, Signal::KILL)?;
    let dialled = stage.unix_denied(&path, ECONNREFUSED, false)?;
    let expected = unix_refusal(Code::RT1015, &dialled, &path, "refused");
    stage.expect(expected.says(&path));
    Ok(())
}

fn absent_abstract(stage: &mut Stage) -> Result<()> {
    let name = format!("@redis-trace-demo-{}", std::process::id());
    let dialled = stage.unix_denied(&name, ECONNREFUSED, false)?;
    let expected = unix_refusal(Code::RT1015, &dialled, &name, "refused");
    stage.expect(expected.says(&name));
    Ok(())
}

fn missing(stage: &mut Stage) -> Result<()> {
    let real = stage.path("redis-server.sock");
    stage.redis(&format!("--port 0 --unixsocket {real}"))?;
    let wrong = stage.path("redis.sock");
    let dialled = stage.unix_denied(&wrong, ENOENT, false)?;
    let expected = unix_refusal(Code::RT1016, &dialled, &wrong, "denied");
    stage.expect(expected.says(&wrong).says(&real));
    Ok(())
}

fn forbidden(stage: &mut Stage) -> Result<()> {
    let directory = stage.path("closed");
    fs::create_dir(&directory)?;
    let path = format!("{directory}/redis.sock");
    stage.redis(&format!("--port 0 --unixsocket {path}"))?;
    fs::set_permissions(&directory, fs::Permissions::from_mode(0o0))?;
    let dialled = stage.unix_denied(&path, EACCES, true)?;
    let expected = unix_refusal(Code::RT1017, &dialled, &path, "denied");
    stage.expect(expected.says(&directory));
    Ok(())
}
