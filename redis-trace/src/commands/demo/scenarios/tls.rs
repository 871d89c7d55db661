//! Servers and clients that do not agree on TLS.

use std::net::Ipv4Addr;

use anyhow::Result;
use serde_json::json;

use super::rejected::rejected;
use super::{Needs, Scenario};
use crate::commands::demo::stage::Stage;
use crate::trace::cause::Code;

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario::new("plaintext is sent to redis-server's TLS port", Code::RT5001, &[plaintext_to_tls]),
    Scenario::new("TLS is spoken to redis-server's plain port", Code::RT5002, &[tls_to_plaintext])
        .needing(Needs::LastWords),
    Scenario::new("redis-cli does not know who signed redis-server's certificate", Code::RT5003, &[unknown_authority])
        .needing(Needs::LastWords),
    Scenario::new("redis-server's certificate has expired", Code::RT5003, &[expired]).needing(Needs::LastWords),
    Scenario::new("redis-server speaks TLS 1.3 alone and is spoken to by 1.2", Code::RT5003, &[old_version])
        .needing(Needs::LastWords),
    Scenario::new("redis-server speaks TLS from 1.2 on and is spoken to by 1.1", Code::RT5003, &[older_version])
        .needing(Needs::LastWords),
];

/// A certificate that nobody has signed but itself, valid for long.
pub(super) const CERTIFICATE: &str = include_str!("../tls/certificate.pem");

/// A redis-server whose port speaks TLS, with this certificate; and where that is.
pub(super) fn tls_redis(stage: &mut Stage, certificate: &str, options: &str) -> Result<(u32, String)> {
    let key = stage.write("key.pem", include_str!("../tls/key.pem"))?;
    let certificate = stage.write("certificate.pem", certificate)?;
    let redis = stage.redis(&format!(
        "--port 0 --tls-port 6379 --tls-key-file {key} --tls-cert-file {certificate} --tls-ca-cert-file {certificate} {options}"
    ))?;
    Ok((redis, certificate))
}

fn plaintext_to_tls(stage: &mut Stage) -> Result<()> {
    let (redis, _) = tls_redis(stage, CERTIFICATE, "--tls-auth-clients no")?;
    stage.ask("redis-cli ping")?;
    stage.expect(rejected(stage, Code::RT5001, Ipv4Addr::LOCALHOST, redis));
    Ok(())
}

fn unknown_authority(stage: &mut Stage) -> Result<()> {
    let (redis, _) = tls_redis(stage, CERTIFICATE, "--tls-auth-clients no")?;
    // Which dials once, where a command would be tried again.
    stage.ask("redis-cli --tls --scan")?;
    let expected = rejected(stage, Code::RT5003, Ipv4Addr::LOCALHOST, redis).says("unknown_ca");
    stage.expect(expected.with(json!({"side": "client"})));
    Ok(())
}

fn expired(stage: &mut Stage) -> Result<()> {
    let (redis, certificate) = tls_redis(stage, include_str!("../tls/expired.pem"), "--tls-auth-clients no")?;
    stage.ask(&format!("redis-cli --tls --cacert {certificate} --scan"))?;
    let expected = rejected(stage, Code::RT5003, Ipv4Addr::LOCALHOST, redis).says("certificate_expired");
    stage.expect(expected.with(json!({"side": "client"})));
    Ok(())
}

fn old_version(stage: &mut Stage) -> Result<()> {
    not_spoken(stage, "--tls-protocols TLSv1.3", "1.2")
}

/// Which it does not speak by itself.
fn older_version(stage: &mut Stage) -> Result<()> {
    not_spoken(stage, "--tls-auth-clients no", "1.1")
}

/// A server that does not speak this version of TLS.
fn not_spoken(stage: &mut Stage, options: &str, version: &str) -> Result<()> {
    let (redis, _) = tls_redis(stage, CERTIFICATE, options)?;
    stage.is_asked_by_tls = true;
    stage.visit(&format!("alert 127.0.0.1:6379 {version}"))?;
    let expected = rejected(stage, Code::RT5003, Ipv4Addr::LOCALHOST, redis).says("protocol_version");
    stage.expect(expected.with(json!({"side": "server"})));
    Ok(())
}

fn tls_to_plaintext(stage: &mut Stage) -> Result<()> {
    let redis = stage.redis("--bind 127.0.0.1")?;
    stage.is_asked_by_tls = true;
    stage.visit("hello 127.0.0.1:6379")?;
    stage.expect(rejected(stage, Code::RT5002, Ipv4Addr::LOCALHOST, redis).with(json!({"side": "client"})));
    Ok(())
}
