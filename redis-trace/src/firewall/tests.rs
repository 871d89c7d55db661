//! Hostile and broken rulesets, judged without a kernel.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use serde_json::json;

use super::*;

/// The first packet of a connection to Redis.
fn to_redis() -> Packet {
    let end = |ip: &str, port| ip.parse().ok().map(|ip| crate::trace::flow::Endpoint { ip, port });
    let (source, destination) = (end("10.0.0.2", 50_000), end("10.0.0.1", 6379));
    let states = State::NEW;
    Packet { transport: Some(6), source, destination, tcp_flags: Some(2), states, ..Packet::default() }
}

/// A chain of a listing.
fn chain(name: &str, base: bool) -> serde_json::Value {
    let mut chain = json!({"family": "inet", "table": "t", "name": name, "handle": 1});
    if base {
        chain["type"] = json!("filter");
        chain["hook"] = json!("input");
        chain["prio"] = json!(0);
        chain["policy"] = json!("accept");
    }
    json!({"chain": chain})
}

/// A rule of a listing.
fn rule(chain: &str, handle: usize, expressions: &serde_json::Value) -> serde_json::Value {
    json!({"rule": {"family": "inet", "table": "t", "chain": chain, "handle": handle, "expr": expressions}})
}

/// A ruleset of one table.
fn listed(mut objects: Vec<serde_json::Value>) -> Ruleset {
    objects.insert(0, json!({"table": {"family": "inet", "name": "t", "handle": 1}}));
    parse_nft(&json!({ "nftables": objects }).to_string()).expect("a listing")
}

/// Who can have dropped a packet on its way in.
fn suspects(ruleset: &Ruleset) -> Suspects {
    ruleset.suspects(Hook::Input, &to_redis(), Wanted::Refusal)
}

#[test]
fn chains_that_jump_in_a_circle_are_left_and_nothing_is_sure() {
    let jump = |to: &str| json!([{"limit": {"rate": 1, "per": "day"}}, {"jump": {"target": to}}]);
    let ruleset = listed(vec![
        chain("input", true),
        chain("a", false),
        rule("input", 1, &jump("a")),
        rule("a", 2, &jump("a")),
        rule("a", 3, &jump("input")),
        rule("input", 4, &json!([{"drop": null}])),
    ]);
    let suspects = suspects(&ruleset);
    assert!(!suspects.complete && suspects.certain().is_none());
}

#[test]
fn ways_that_fork_at_every_step_are_walked_once() {
    let mut objects = vec![chain("c0", true)];
    objects.extend((1..=16).map(|depth| chain(&format!("c{depth}"), false)));
    for depth in 0..16 {
        let to = format!("c{}", depth + 1);
        let jump = json!([{"limit": {"rate": 1, "per": "day"}}, {"jump": {"target": to}}]);
        objects.extend((0..1000).map(|handle| rule(&format!("c{depth}"), handle, &jump)));
    }
    objects.push(rule("c16", 7, &json!([{"limit": {"rate": 1, "per": "day"}}, {"drop": null}])));
    let suspects = suspects(&listed(objects));
    assert_eq!((suspects.candidates.len(), suspects.complete), (1, true));
    assert_eq!(suspects.candidates[0].site.handle, Some(7));
}

#[test]
fn a_chain_that_is_not_there_and_a_verdict_that_is_not_known_are_a_maybe() {
    for verdict in [json!({"jump": {"target": "nowhere"}}), json!({"teleport": 1}), json!({"xt": null}), json!(null)] {
        let known = !verdict.is_null();
        let ruleset = listed(vec![
            chain("input", true),
            rule("input", 1, &json!([verdict])),
            rule("input", 2, &json!([{"drop": null}])),
        ]);
        let suspects = suspects(&ruleset);
        let told: Vec<_> = suspects.candidates.iter().map(|one| (one.effect, one.must)).collect();
        let drop = (Effect::Drop, !known);
        assert_eq!(told, if known { vec![(Effect::Elsewhere, false), drop] } else { vec![drop] });
    }
}

#[test]
fn conditions_that_are_not_understood_are_a_maybe_whichever_way_round() {
    for condition in [
        json!({"op": "==", "left": {"quantum": {"key": "spin"}}, "right": 1}),
        json!({"op": "!=", "left": {"quantum": {"key": "spin"}}, "right": 1}),
        json!({"op": "==", "left": {"meta": {"key": "mark"}}, "right": {"quantum": 1}}),
        json!({"op": "~", "left": {"payload": {"protocol": "tcp", "field": "dport"}}, "right": 6379}),
        json!({"op": "==", "left": {"payload": {"protocol": "tcp", "field": "dport"}}, "right": "@nowhere"}),
        json!({"op": "==", "left": {"payload": {"protocol": "tcp", "field": "dport"}}, "right": {"set": [1, {"odd": 1}]}}),
        json!(7),
    ] {
        let ruleset =
            listed(vec![chain("input", true), rule("input", 1, &json!([{"match": condition}, {"drop": null}]))]);
        let suspects = suspects(&ruleset);
        assert_eq!(suspects.candidates.iter().map(|one| one.must).collect::<Vec<_>>(), [false], "{condition}");
    }
}

#[test]
fn twenty_thousand_rules_of_either_listing_are_read_and_judged_in_time() {
    let mut save = "*filter\n:INPUT ACCEPT [0:0]\n".to_owned();
    let mut objects = vec![chain("input", true)];
    for i in 0..20_000 {
        let source = format!("10.9.{}.{}", i / 256, i % 256);
        writeln!(save, "[0:0] -A INPUT -s {source}/32 -p tcp -m tcp --dport 6379 -j REJECT").expect("a string");
        objects.push(rule(
            "input",
            i,
            &json!([
                {"match": {"op": "==", "left": {"payload": {"protocol": "ip", "field": "saddr"}}, "right": source}},
                {"match": {"op": "==", "left": {"payload": {"protocol": "tcp", "field": "dport"}}, "right": 6379}},
                {"counter": {"packets": 0, "bytes": 0}},
                {"reject": {"type": "icmpx", "expr": "port-unreachable"}}
            ]),
        ));
    }
    objects.insert(0, json!({"table": {"family": "inet", "name": "t", "handle": 1}}));
    let nft = json!({ "nftables": objects }).to_string();
    save += "[0:0] -A INPUT -p tcp -j DROP\nCOMMIT\n";
    // The limits are for an optimised build; another may take as much longer as it likes on a busy machine.
    let slack = if cfg!(debug_assertions) { 50 } else { 1 };
    for (name, read) in [
        ("nft", &(|| parse_nft(&nft)) as &dyn Fn() -> Result<Ruleset, String>),
        ("iptables-save", &|| parse_save(&save, Backend::IptablesLegacy, false)),
    ] {
        let start = Instant::now();
        let ruleset = read().expect("a listing");
        let parsed = start.elapsed();
        let start = Instant::now();
        let found = suspects(&ruleset);
        let judged = start.elapsed();
        println!("{name}: 20,000 rules read in {parsed:?}, judged in {judged:?}");
        assert!(found.complete && found.candidates.len() == usize::from(name != "nft"));
        assert!(parsed < Duration::from_millis(500) * slack && judged < Duration::from_millis(20) * slack);
    }
}

#[test]
fn a_rule_of_the_legacy_kind_is_told_by_how_many_entries_follow_it() {
    let listing = "*filter\n:INPUT ACCEPT [0:0]\n:FORWARD DROP [0:0]\n:OUTPUT ACCEPT [0:0]\n:a - [0:0]\n:b - [0:0]\n\
                   -A INPUT -j a\n-A INPUT -j DROP\n-A OUTPUT -j b\n-A a -s 10.0.0.1/32 -j DROP\n-A a -j b\n-A b -j DROP\nCOMMIT\n";
    let ruleset = parse_save(listing, Backend::IptablesLegacy, false).expect("a listing");
    let told = |followers| {
        let site = ruleset.by_followers(false, "filter", followers, Hook::Input);
        site.and_then(|site| Some((site.chain.to_string(), site.number?)))
    };
    let (input, output) = ("INPUT", "OUTPUT");
    let expected = [
        None, // the last entry
        None, // the end of b
        Some(("b", 1)),
        None, // the head of b
        None, // the end of a
        Some(("a", 2)),
        Some(("a", 1)),
        None, // the head of a
        None, // the policies of OUTPUT and FORWARD
        Some((output, 1)),
        None,
        None, // the policy of INPUT
        Some((input, 2)),
        Some((input, 1)),
        None, // nothing
    ];
    for (followers, expected) in expected.into_iter().enumerate() {
        assert_eq!(told(followers), expected.map(|(chain, number)| (chain.to_owned(), number)), "{followers}");
    }
}

#[test]
fn a_chain_at_ingress_sees_only_its_interfaces_and_one_whose_interfaces_are_not_listed_may_see_any() {
    for (listed_interfaces, input, told) in [
        (json!("eth0"), Interface::Named("eth0".to_owned()), vec![true]),
        (json!(["eth1", "eth0"]), Interface::Named("eth0".to_owned()), vec![true]),
        (json!("eth1"), Interface::Named("eth0".to_owned()), vec![]),
        (json!("eth1"), Interface::Unknown, vec![false]),
        (json!(null), Interface::Named("eth0".to_owned()), vec![false]),
    ] {
        let mut ingress = json!({"family": "netdev", "table": "t", "name": "c", "hook": "ingress", "policy": "drop"});
        if !listed_interfaces.is_null() {
            ingress["dev"] = listed_interfaces;
        }
        let listing = json!({"nftables": [{"table": {"family": "netdev", "name": "t"}}, {"chain": ingress}]});
        let ruleset = parse_nft(&listing.to_string()).expect("a listing");
        let found = ruleset.suspects(Hook::Ingress, &Packet { input, ..to_redis() }, Wanted::Drop);
        assert_eq!(found.candidates.iter().map(|one| one.must).collect::<Vec<_>>(), told);
    }
}

/// Pieces of which listings are made, so that most of what is put together is almost right.
fn piece() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(json!(null)),
        any::<u64>().prop_map(|number| json!(number)),
        "[a-z@*0-9./]{0,8}".prop_map(|word| json!(word)),
        proptest::sample::select(vec![
            "tcp", "dport", "saddr", "state", "new", "sub", "input", "==", "in", "@s", "drop"
        ])
        .prop_map(|word| json!(word)),
    ];
    leaf.prop_recursive(5, 40, 4, |inner| {
        let keys = vec![
            "match", "op", "left", "right", "payload", "protocol", "field", "meta", "ct", "key", "set", "elem", "val",
            "range", "prefix", "addr", "len", "concat", "vmap", "data", "jump", "goto", "target", "reject", "type",
            "expr", "dnat", "port", "mangle", "value", "&", "|", "counter", "log", "limit", "xt", "drop", "accept",
        ];
        let pairs = proptest::collection::vec((proptest::sample::select(keys), inner.clone()), 0..4);
        prop_oneof![
            proptest::collection::vec(inner, 0..4).prop_map(|list| json!(list)),
            pairs.prop_map(|pairs| pairs.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()),
        ]
    })
}

proptest! {
    #[test]
    fn any_text_is_a_ruleset_or_a_sentence(text: String) {
        for read in [parse_nft(&text), parse_save(&text, Backend::IptablesNft, true)] {
            match read {
                Ok(ruleset) => prop_assert!(suspects(&ruleset).candidates.len() <= text.len()),
                Err(why) => prop_assert!(why.ends_with('.')),
            }
        }
    }

    #[test]
    fn any_words_of_iptables_are_a_rule_or_a_sentence(
        words in proptest::collection::vec("-[A-Zmpsdigoj]|--[a-z-]{1,12}|!|[A-Z]{1,6}|[0-9:,./]{1,9}|\"[^\"]{0,5}\"|\n|\\[1:2\\]", 0..30)
    ) {
        let text = format!("*filter\n:INPUT DROP [1:2]\n-A INPUT {}\nCOMMIT\n", words.join(" "));
        if let Ok(ruleset) = parse_save(&text, Backend::IptablesLegacy, false) {
            prop_assert!(suspects(&ruleset).candidates.iter().all(|one| !one.site.rule.as_str().contains('\n')));
        }
    }

    #[test]
    fn any_expressions_of_nft_are_judged_and_told_on_one_line(expressions in proptest::collection::vec(piece(), 0..6)) {
        let mut rules = vec![chain("input", true), chain("sub", false)];
        rules.push(json!({"set": {"family": "inet", "table": "t", "name": "s", "type": "ipv4_addr", "elem": expressions}}));
        rules.push(rule("input", 1, &json!(expressions)));
        let ruleset = listed(rules);
        let told = ruleset.by_handle(Family::Inet, "t", 1, Hook::Input).expect("it is there");
        prop_assert!(!told.rule.as_str().contains(char::is_control));
        prop_assert!(suspects(&ruleset).complete);
    }
}
