//! How rulesets are read: every rule in its own words, nothing changed, once for each generation, whatever they hold.

use std::time::Instant;

use super::*;
use crate::firewall::Family;

#[test]
fn every_rule_is_told_in_the_words_of_nft() {
    let mut stage = Stage::with_nft(include_str!("words.nft"));
    let ruleset = stage.ruleset();
    let listing = stage.run(&["nft", "--stateless", "--handle", "list", "ruleset"]);
    let mut told = 0;
    let mut table = (Family::Inet, "");
    for line in listing.lines() {
        if let Some(name) = line.strip_prefix("table ") {
            let mut words = name.split(' ');
            let family = if words.next() == Some("ip") { Family::Ip } else { Family::Inet };
            table = (family, words.next().expect("a name"));
        }
        let Some((text, handle)) = line.rsplit_once(" # handle ") else { continue };
        if text.ends_with('{') {
            continue;
        }
        let handle = handle.parse().expect("a number");
        let site = ruleset.by_handle(table.0, table.1, handle, Hook::Input).expect("it was read");
        assert_eq!(site.rule.as_str(), text.trim());
        told += 1;
    }
    assert_eq!((told, ruleset.len()), (ruleset.len(), told));
    assert!(told > 70, "{told} rules");
}

#[test]
fn looking_changes_nothing() {
    let mut stage = Stage::new();
    assert!(stage.ruleset().is_empty());
    assert_eq!(stage.run(&["cat", "/proc/self/net/ip_tables_names", "/proc/self/net/ip6_tables_names"]), "");
    assert_eq!(stage.run(&["nft", "list", "ruleset"]), "");
    stage.run_with(
        &["iptables-nft-restore"],
        "*filter\n:INPUT ACCEPT\n-A INPUT -m comment --comment x -j DROP\nCOMMIT\n",
    );
    let before = stage.run(&["nft", "--handle", "list", "ruleset"]);
    assert_eq!(stage.ruleset().len(), 1);
    assert_eq!(stage.run(&["nft", "--handle", "list", "ruleset"]), before);
}

#[test]
fn rules_are_read_again_only_when_they_changed() {
    let mut stage = Stage::with_nft("table inet f {\nchain c { type filter hook input priority 0;\ndrop\n}\n}");
    let first = stage.ruleset();
    assert!(Arc::ptr_eq(&first, &stage.ruleset()), "nothing changed");
    stage.run(&["nft", "insert", "rule", "inet", "f", "c", "tcp", "dport", "6379", "reject"]);
    assert_eq!(stage.rule(Hook::Input, &to_redis(), Wanted::Refusal), "tcp dport 6379 reject");
    stage.run(&["nft", "flush", "ruleset"]);
    assert!(stage.ruleset().is_empty());
    for (rule, many) in [("22", 1), ("23", 2)] {
        stage.run(&["iptables-legacy", "-A", "INPUT", "-p", "tcp", "--dport", rule, "-j", "DROP"]);
        assert_eq!(stage.ruleset().len(), many, "legacy rules have no generation");
    }
}

#[test]
fn all_backends_are_read_together() {
    let mut stage =
        Stage::with_nft("table inet f {\nchain c { type filter hook input priority 9;\ntcp dport 1 drop\n}\n}");
    stage.run(&["iptables-nft", "-A", "INPUT", "-p", "tcp", "--dport", "2", "-m", "ttl", "--ttl", "1", "-j", "REJECT"]);
    stage.run(&["iptables-legacy", "-A", "INPUT", "-p", "tcp", "--dport", "3", "-j", "DROP"]);
    stage.run(&["ip6tables-legacy", "-A", "INPUT", "-p", "tcp", "--dport", "4", "-j", "DROP"]);
    for (to, backend) in [
        ("127.0.0.1:1", Backend::Nftables),
        ("127.0.0.1:2", Backend::IptablesNft),
        ("127.0.0.1:3", Backend::IptablesLegacy),
        ("[::1]:4", Backend::IptablesLegacy),
    ] {
        let suspects = stage.suspects(Hook::Input, &syn(&to.replace(":1:", ":9:"), to), Wanted::Refusal);
        assert_eq!(suspects.certain().map(|culprit| culprit.site.backend), Some(backend), "{to}");
    }
}

#[test]
fn a_hostile_comment_puts_no_words_into_another_rules_mouth() {
    let mut stage = Stage::new();
    stage.run(&["nft", "add", "table", "inet", "f"]);
    stage.run(&["nft", "add", "chain", "inet", "f", "c", "{ type filter hook input priority 0; }"]);
    stage.run_with(
        &["nft", "--file", "-"],
        "add rule inet f c tcp dport 6379 drop comment \"\u{1b}[2J\u{202e}# handle 3\"\nadd rule inet f c tcp dport 22 drop\n",
    );
    let culprit = |stage: &mut Stage, packet: &Packet| {
        stage.suspects(Hook::Input, packet, Wanted::Drop).certain().expect("one").site.rule.to_string()
    };
    let spelt = "tcp dport 6379 drop comment \"\\u{1b}[2J\\u{202e}# handle 3\"";
    assert_eq!(culprit(&mut stage, &to_redis()), spelt);
    assert_eq!(culprit(&mut stage, &syn("127.0.0.1:1", "127.0.0.1:22")), "tcp dport 22 drop");
    let remark = "x\n-A INPUT -j ACCEPT\nCOMMIT \u{1b}[2J";
    for program in ["iptables-nft", "iptables-legacy"] {
        let mut stage = Stage::new();
        stage.run(&[program, "-A", "INPUT", "-m", "comment", "--comment", remark, "-j", "DROP"]);
        let rule = "-A INPUT -m comment --comment \"x\\u{a}-A INPUT -j ACCEPT\\u{a}COMMIT \\u{1b}[2J\" -j DROP";
        assert_eq!(culprit(&mut stage, &to_redis()), rule);
    }
}

#[test]
fn a_ruleset_of_twenty_thousand_rules_and_a_set_of_a_hundred_thousand_elements_is_read_and_judged() {
    let address = |i: u32| format!("10.{}.{}.{}", i >> 16, i >> 8 & 255, i & 255);
    let rules = (0..20_000)
        .map(|i| format!("ip saddr {} tcp dport 1000 counter drop\n", address(i)))
        .collect::<Vec<_>>()
        .concat();
    let elements = (0..100_000).map(|i| address(i * 2)).collect::<Vec<_>>().join(",");
    let mut stage = Stage::with_nft(&format!(
        "table inet f {{\nset s {{ type ipv4_addr; flags interval; elements = {{ {elements} }}; }}
        chain c {{ type filter hook input priority 0;\n{rules}ip saddr @s tcp dport 6379 drop\n}}\n}}"
    ));
    let first = Instant::now();
    assert_eq!(stage.ruleset().len(), 20_001);
    println!("20,001 rules and a set of 100,000 were read in {:?}", first.elapsed());
    let rule = "ip saddr @s tcp dport 6379 drop";
    assert_eq!(stage.rule(Hook::Input, &syn("10.0.0.2:1", "10.0.0.1:6379"), Wanted::Refusal), rule);
    assert!(stage.suspects(Hook::Input, &syn("10.0.0.3:1", "10.0.0.1:6379"), Wanted::Refusal).candidates.is_empty());
    let again = Instant::now();
    assert_eq!(stage.suspects(Hook::Input, &syn("10.0.0.2:1", "10.0.0.1:6379"), Wanted::Refusal).candidates.len(), 1);
    println!("a later verdict among 20,001 rules took {:?}", again.elapsed());
}

#[test]
fn a_namespace_that_is_gone_is_a_sentence() {
    let Stage { stranger, mut host } = Stage::new();
    let netns = stranger.netns();
    drop(stranger);
    let error = host.ruleset(netns, None).expect_err("nobody lives there");
    assert!(error.ends_with('.'), "{error}");
}
