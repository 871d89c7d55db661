//! The JSON Schema that `redis-trace schema` prints describes the objects that are written.

use std::process::Command;

use serde_json::{Value, json};

fn schema(object: &str) -> Value {
    let output = Command::new(env!("CARGO_BIN_EXE_redis-trace")).args(["schema", object]).output().expect("it starts");
    serde_json::from_slice(&output.stdout).expect("a schema")
}

/// Where and why the value does not fit: as much of JSON Schema as our structures need.
fn misfit(root: &Value, schema: &Value, value: &Value, at: &str) -> Option<String> {
    if let Some(name) = schema["$ref"].as_str() {
        let target = root.pointer(name.trim_start_matches('#')).unwrap_or_else(|| panic!("{name} leads nowhere"));
        return misfit(root, target, value, at);
    }
    for key in ["anyOf", "oneOf"] {
        if let Some(choices) = schema[key].as_array() {
            let fits = choices.iter().any(|choice| misfit(root, choice, value, at).is_none());
            return (!fits).then(|| format!("{at} fits none of {key}"));
        }
    }
    if schema["const"] != Value::Null && schema["const"] != *value {
        return Some(format!("{at} is not {}", schema["const"]));
    }
    if let Some(values) = schema["enum"].as_array()
        && !values.contains(value)
    {
        return Some(format!("{at} is none of {values:?}"));
    }
    if !has_type(&schema["type"], value) {
        return Some(format!("{at} is {value}, which is not {}", schema["type"]));
    }
    members(root, schema, value, at)
}

fn members(root: &Value, schema: &Value, value: &Value, at: &str) -> Option<String> {
    if let Some(items) = value.as_array() {
        let mut items = items.iter().enumerate();
        return items.find_map(|(nth, item)| misfit(root, &schema["items"], item, &format!("{at}[{nth}]")));
    }
    let object = value.as_object()?;
    let missing = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str);
    if let Some(name) = missing.into_iter().find(|name| !object.contains_key(*name)) {
        return Some(format!("{at} lacks {name}"));
    }
    object.iter().find_map(|(name, value)| {
        let described = &schema["properties"][name];
        let described = if described.is_null() { &schema["additionalProperties"] } else { described };
        if described.is_null() && schema["properties"].is_object() {
            return Some(format!("{at}.{name} is not described"));
        }
        misfit(root, described, value, &format!("{at}.{name}"))
    })
}

fn has_type(types: &Value, value: &Value) -> bool {
    let is = |name: &str| match name {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        other => panic!("no type {other}"),
    };
    match types {
        Value::String(name) => is(name),
        Value::Array(names) => names.iter().filter_map(Value::as_str).any(is),
        _ => true,
    }
}

fn fits(object: &str, value: &Value) -> Option<String> {
    let schema = schema(object);
    misfit(&schema, &schema, value, object)
}

fn refusal() -> Value {
    json!({
        "schema": "redis-trace.refusal/1", "time": "2026-11-23T12:03:41.208113901Z", "boottime_ns": 48_211_320_113_901_u64,
        "seq": 17, "outcome": "refused", "side": "both",
        "cause": {"code": "RT1007", "name": "bound-to-other-address", "class": "no_listener", "confidence": "certain"},
        "summary": "nothing listens on 10.0.3.9:6379; redis-server (pid 991) listens on 127.0.0.1:6379 only",
        "flow": {"protocol": "tcp", "client": {"ip": "10.0.3.7", "port": 50022},
                 "server": {"ip": "10.0.3.9", "port": 6379}, "netns": 4_026_532_201_u32},
        "client_process": {"pid": 4123, "comm": "python3", "exe": "/usr/bin/python3.12", "uid": 1000,
                           "container": {"runtime": "docker", "id": "9f3c"}},
        "server_process": {"pid": 991, "comm": "redis-server", "unit": "redis-server.service"},
        "evidence": [{"source": "tcp_v4_send_reset", "text": "the kernel sent a reset: no socket matched 10.0.3.9:6379"}],
        "fix": [{"text": "let Redis listen on 10.0.3.9 too", "command": "bind 127.0.0.1 -::1 10.0.3.9",
                 "file": "/etc/redis/redis.conf", "line": 87, "risk": "reachable from the network"}],
        "firewall": null, "lsm": null, "queue": null, "unix": null, "benign": true, "errno": "ECONNREFUSED",
        "count": 1, "first": "2026-11-23T12:03:41.208113901Z", "last": "2026-11-23T12:03:41.208113901Z"
    })
}

#[test]
fn a_refusal_fits_its_schema() {
    assert_eq!(fits("refusal", &refusal()), None);
}

#[test]
fn an_update_and_a_summary_fit_theirs() {
    let update = json!({
        "schema": "redis-trace.update/1", "time": "2026-11-23T12:03:44Z", "seq": 17, "cause": null,
        "summary": "listener appeared 3.2 s later"
    });
    assert_eq!(fits("update", &update), None);
    let summary = json!({
        "schema": "redis-trace.summary/1", "seconds": 18.2, "seen": 3, "delivered": 2, "aggregated": 1, "unknown": 0,
        "benign": 0, "unattributed": 0, "lost": {"ring": 0, "queue": 0, "output": 0}, "by_cause": {"RT1001": 3},
        "missed": {"records": 0, "probes": 0}, "coverage": 0.998,
        "counters": {
            "out_resets": 4, "resets_seen": 4, "resets_explained": 3, "attempt_fails": 3, "failures_seen": 3,
            "embryonic_resets": 0, "listen_overflows": 0, "listen_drops": 0
        },
        "hooks": {"up": 9, "expected": 9, "degraded": ["RT1015"]}
    });
    assert_eq!(fits("summary", &summary), None);
}

#[test]
fn what_doctor_finds_fits_its_schema() {
    let mut found = json!({
        "schema": "redis-trace.doctor/1", "target": "db:6379", "seconds": 0.9,
        "steps": [{"name": "connect", "state": "bad", "text": "10.0.3.9:6379: ECONNREFUSED after 0.1 ms"}],
        "verdict": {"code": "RT1007", "name": "bound-to-other-address", "confidence": "certain", "summary": "nothing listens",
                    "fix": [{"text": "dial 127.0.0.1:6379 instead"}], "elsewhere": false},
        "refusals": [refusal()]
    });
    assert_eq!(fits("doctor", &found), None);
    found["steps"][0]["state"] = json!("fine");
    assert!(fits("doctor", &found).is_some());
    let ran =
        Command::new(env!("CARGO_BIN_EXE_redis-trace")).args(["doctor", "127.85.0.1:19998", "-o", "json"]).output();
    let written = serde_json::from_slice(&ran.expect("it starts").stdout).expect("an object");
    assert_eq!(fits("doctor", &written), None);
}

#[test]
fn what_audit_finds_fits_its_schema() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace");
    for name in ["misspelt", "includes", "overruled-by-options", "hardened"] {
        let file = root.join(format!("tests/configurations/{name}.conf"));
        let mut command = Command::new(env!("CARGO_BIN_EXE_redis-trace"));
        let ran = command
            .arg("audit")
            .arg(file)
            .args(["--live", "127.85.0.1:19998", "-o", "json", "--", "--port", "1"])
            .output();
        let written: Value = serde_json::from_slice(&ran.expect("it starts").stdout).expect("an object");
        assert_eq!(fits("audit", &written), None);
    }
}

#[test]
fn what_is_no_refusal_does_not_fit() {
    let with = |pointer: &str, value: Value| {
        let mut refusal = refusal();
        *refusal.pointer_mut(pointer).expect("it is there") = value;
        fits("refusal", &refusal)
    };
    assert!(with("/cause/code", json!("RT9999")).is_some());
    assert!(with("/outcome", json!("maybe")).is_some());
    assert!(with("/count", json!("many")).is_some());
    let mut short = refusal();
    short.as_object_mut().expect("an object").remove("summary");
    assert_eq!(fits("refusal", &short).as_deref(), Some("refusal lacks summary"));
}
