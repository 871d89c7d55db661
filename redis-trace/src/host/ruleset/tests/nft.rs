//! Rules of nft.

use super::*;

/// A table with one chain on input.
fn input(rules: &str) -> Stage {
    Stage::with_nft(&format!(
        "table inet filter {{\nchain input {{ type filter hook input priority 0;\n{rules}\n}}\n}}"
    ))
}

#[test]
fn every_kind_of_refusal_is_told_by_its_rule() {
    for (rule, effect, ipv6) in [
        ("reject with tcp reset", Effect::Reset, false),
        ("reject", Effect::Icmp(Some(3)), false),
        ("reject", Effect::Icmp(Some(4)), true),
        ("reject with icmp admin-prohibited", Effect::Icmp(Some(13)), false),
        ("reject with icmpx admin-prohibited", Effect::Icmp(Some(1)), true),
        ("reject with icmpv6 no-route", Effect::Icmp(Some(0)), true),
        ("drop", Effect::Drop, false),
    ] {
        let mut stage = input(&format!("tcp dport 22 accept\ntcp dport 6379 {rule}\ntcp dport 80 drop"));
        let packet = if ipv6 { syn("[::1]:50000", "[::1]:6379") } else { to_redis() };
        let culprit = stage.culprit(Hook::Input, &packet, Wanted::Refusal);
        assert_eq!(culprit.site.rule.as_str(), format!("tcp dport 6379 {rule}"));
        assert_eq!((culprit.effect, culprit.must, culprit.site.number), (effect, true, Some(2)));
        assert_eq!((culprit.site.table.as_str(), culprit.site.chain.as_str()), ("filter", "input"));
        assert_eq!((culprit.site.backend, culprit.site.owner), (Backend::Nftables, None));
    }
}

#[test]
fn a_policy_is_told_when_no_rule_decides() {
    for hook in ["input", "forward", "output"] {
        let mut stage = Stage::with_nft(&format!(
            "table ip f {{\nchain c {{ type filter hook {hook} priority 0; policy drop;\ntcp dport 22 accept\n}}\n}}"
        ));
        let hook = match hook {
            "input" => Hook::Input,
            "forward" => Hook::Forward,
            _ => Hook::Output,
        };
        let culprit = stage.culprit(hook, &to_redis(), Wanted::Drop);
        assert_eq!((culprit.site.rule.as_str(), culprit.site.handle, culprit.site.hook), ("policy drop", None, hook));
        assert_eq!(texts(&stage.suspects(Hook::Prerouting, &to_redis(), Wanted::Drop)), [""; 0]);
        assert_eq!(texts(&stage.suspects(hook, &syn("[::1]:1", "[::1]:6379"), Wanted::Drop)), [""; 0]);
    }
}

#[test]
fn a_rule_of_any_shape_is_told() {
    for rule in [
        "tcp dport { 80, 6000-7000 } drop",
        "tcp dport 6000-7000 drop",
        "tcp dport != 22 drop",
        "tcp dport > 5000 drop",
        "ip saddr @blocked drop",
        "ip saddr . tcp dport @pairs drop",
        "ip saddr . tcp dport { 127.0.0.0/8 . 6379 } drop",
        "tcp dport vmap { 22 : accept, 6379 : drop }",
        "tcp dport vmap @verdicts",
        "ct state new drop",
        "ct state { new, untracked } drop",
        "ct state vmap { established : accept, new : drop }",
        "ct state != established drop",
        "ct direction original drop",
        "ct original ip daddr 127.0.0.1 drop",
        "iifname \"lo\" drop",
        "iif \"lo\" drop",
        "iifname \"l*\" drop",
        "iifname != \"eth0\" drop",
        "iifname @interfaces drop",
        "tcp flags syn drop",
        "tcp flags syn / fin,syn,rst,ack drop",
        "meta l4proto tcp drop",
        "meta nfproto ipv4 tcp dport 6379 drop",
        "ip protocol tcp drop",
        "meta mark 0x00000000 drop",
        "meta mark & 0x00000001 == 0x00000000 drop",
        "fib daddr type local drop",
        "th dport 6379 drop",
        "ip daddr 127.0.0.0/8 counter drop comment \"why not\"",
    ] {
        let mut stage = Stage::with_nft(&format!(
            "table inet filter {{
            set blocked {{ type ipv4_addr; flags interval; elements = {{ 10.0.0.0/8, 127.0.0.0-127.0.0.9 }}; }}
            set pairs {{ type ipv4_addr . inet_service; flags interval; elements = {{ 127.0.0.0/8 . 6000-7000 }}; }}
            set interfaces {{ type ifname; elements = {{ \"lo\", \"eth0\" }}; }}
            map verdicts {{ type inet_service : verdict; elements = {{ 22 : accept, 6379 : drop }}; }}
            chain input {{ type filter hook input priority 0;
            iifname \"eth9\" drop\n tcp dport 23 drop\n {rule}\n drop\n }}\n}}"
        ));
        let culprit = stage.culprit(Hook::Input, &to_redis(), Wanted::Drop);
        assert_eq!((culprit.site.rule.as_str(), culprit.site.number, culprit.must), (rule, Some(3), true));
    }
}

#[test]
fn what_does_not_concern_a_packet_is_no_candidate() {
    for rule in [
        "udp dport 6379 drop",
        "udp dport != 6379 drop",
        "ip6 saddr != ::2 drop",
        "ip saddr 10.0.0.0/8 drop",
        "iifname \"eth*\" drop",
        "oifname \"lo\" drop",
        "tcp flags & (syn|ack) == syn|ack drop",
        "ct state established,related drop",
        "ct status dnat drop",
        "tcp dport { 1, 2 } drop",
        "tcp dport vmap { 22 : drop }",
        "meta mark 5 drop",
        "meta nfproto ipv6 drop",
        "reject with icmpv6 no-route",
    ] {
        assert_eq!(texts(&input(rule).suspects(Hook::Input, &to_redis(), Wanted::Refusal)), [""; 0], "{rule}");
    }
}

#[test]
fn a_rule_in_a_chain_that_was_jumped_to_is_told() {
    let mut stage = Stage::with_nft(
        "table inet filter {
        chain deepest { tcp dport 6379 reject with tcp reset\n }
        chain deep { tcp dport 22 accept\n goto deepest\n }
        chain back { tcp dport 22 drop\n return\n drop\n }
        chain input { type filter hook input priority 0; policy drop;\n jump back\n jump deep\n drop\n }\n}",
    );
    let culprit = stage.culprit(Hook::Input, &to_redis(), Wanted::Reset);
    assert_eq!((culprit.site.chain.as_str(), culprit.must), ("deepest", true));
    assert_eq!(stage.rule(Hook::Input, &syn("127.0.0.1:1", "127.0.0.1:80"), Wanted::Refusal), "drop");
}

#[test]
fn of_two_rules_that_match_the_first_is_told_unless_it_is_a_maybe() {
    let mut stage = input("tcp dport 6379 drop\ntcp dport 6379 counter drop");
    assert_eq!(stage.rule(Hook::Input, &to_redis(), Wanted::Drop), "tcp dport 6379 drop");
    let mut stage = input("limit rate 5/second drop\ntcp dport 6379 counter drop\ntcp dport 6379 reject");
    let suspects = stage.suspects(Hook::Input, &to_redis(), Wanted::Refusal);
    assert_eq!(texts(&suspects), ["limit rate 5/second drop", "tcp dport 6379 counter drop"]);
    assert_eq!(suspects.candidates.iter().map(|one| one.must).collect::<Vec<_>>(), [false, false]);
    assert!(suspects.certain().is_none() && suspects.complete);
    let suspects = stage.suspects(Hook::Input, &to_redis(), Wanted::Icmp(None));
    assert_eq!(texts(&suspects), [""; 0], "a drop comes before it in any case");
}

#[test]
fn what_is_not_known_of_a_packet_makes_a_maybe() {
    let unknown = Packet { transport: Some(6), ..Packet::default() };
    for rule in [
        "tcp dport 6379 drop",
        "tcp dport != 6379 drop",
        "ip saddr 10.0.0.0/8 drop",
        "ct state new drop",
        "ct state != new drop",
        "meta mark 1 drop",
        "iifname \"lo\" drop",
        "tcp dport vmap { 6379 : drop }",
        "limit rate 5/second drop",
        "numgen random mod 2 0 drop",
        "socket transparent 1 drop",
    ] {
        let suspects = input(rule).suspects(Hook::Input, &unknown, Wanted::Drop);
        assert_eq!(suspects.candidates.iter().map(|one| one.must).collect::<Vec<_>>(), [false], "{rule}");
    }
}

#[test]
fn a_mark_set_by_a_rule_is_seen_by_the_next() {
    let mut stage = input("tcp dport 6379 meta mark set meta mark | 0x10\nmeta mark & 0x10 == 0x10 drop\ndrop");
    assert_eq!(stage.rule(Hook::Input, &to_redis(), Wanted::Drop), "meta mark & 0x00000010 == 0x00000010 drop");
    assert_eq!(stage.rule(Hook::Input, &syn("127.0.0.1:1", "127.0.0.1:80"), Wanted::Drop), "drop");
}

#[test]
fn chains_come_by_priority_and_of_equals_only_one_that_alone_refuses_is_sure() {
    let chain = |table: &str, priority: i32, rule: &str| {
        format!("table inet {table} {{\nchain c {{ type filter hook input priority {priority};\n{rule}\n}}\n}}\n")
    };
    let mut stage = Stage::with_nft(&(chain("late", 5, "drop") + &chain("early", -5, "tcp dport 6379 drop")));
    assert_eq!(stage.culprit(Hook::Input, &to_redis(), Wanted::Drop).site.table.as_str(), "early");
    let mut stage = Stage::with_nft(&(chain("a", 0, "accept") + &chain("b", 0, "drop")));
    assert!(stage.culprit(Hook::Input, &to_redis(), Wanted::Drop).must, "an accept ends one chain only");
    let mut stage = Stage::with_nft(&(chain("a", 0, "tcp dport 6379 drop") + &chain("b", 0, "drop")));
    let suspects = stage.suspects(Hook::Input, &to_redis(), Wanted::Drop);
    assert_eq!(suspects.candidates.iter().map(|one| one.must).collect::<Vec<_>>(), [false, false]);
}

#[test]
fn a_new_destination_is_told_and_seen_by_later_chains() {
    let mut stage = Stage::with_nft(
        "table ip nat {
        chain pre { type nat hook prerouting priority dstnat;\n tcp dport 6379 redirect to :1\n }
        chain out { type nat hook output priority -100;\n ip daddr 10.96.0.1 tcp dport 6379 dnat to 127.0.0.1:2\n }
        chain later { type filter hook output priority 0;\n tcp dport 6379 drop\n tcp dport 2 reject\n }\n}",
    );
    let culprit = stage.culprit(Hook::Prerouting, &to_redis(), Wanted::Translation);
    assert_eq!(culprit.site.rule.as_str(), "tcp dport 6379 redirect to :1");
    assert_eq!(culprit.effect, Effect::Translate { address: None, port: Some(1), redirect: true });
    let cluster = syn("10.0.0.1:5", "10.96.0.1:6379");
    let culprit = stage.culprit(Hook::Output, &cluster, Wanted::Translation);
    let address = "127.0.0.1".parse().ok();
    assert_eq!(culprit.effect, Effect::Translate { address, port: Some(2), redirect: false });
    assert_eq!(stage.rule(Hook::Output, &cluster, Wanted::Refusal), "tcp dport 2 reject");
    assert_eq!(stage.rule(Hook::Output, &to_redis(), Wanted::Refusal), "tcp dport 6379 drop");
}

#[test]
fn a_set_that_changes_by_itself_is_a_maybe() {
    for (flags, adder, many) in [("timeout", "", 2), ("dynamic", "add @seen { ip saddr }", 2), ("interval", "", 1)] {
        let mut stage = Stage::with_nft(&format!(
            "table inet filter {{
            set seen {{ type ipv4_addr; flags {flags}; }}
            chain input {{ type filter hook input priority 0;\n ip saddr @seen drop\n tcp dport 6379 drop\n {adder}\n }}\n}}",
        ));
        let suspects = stage.suspects(Hook::Input, &to_redis(), Wanted::Drop);
        assert_eq!(suspects.candidates.len(), many, "{flags}");
        assert_eq!(suspects.candidates.iter().any(|one| one.must), many == 1);
    }
}

#[test]
fn before_conntrack_has_seen_a_packet_its_state_is_invalid() {
    let mut stage = Stage::with_nft(
        "table inet early {
        chain pre { type filter hook prerouting priority raw;\n ct state new drop\n ct status dnat drop\n ct state invalid drop\n }
        chain out { type filter hook output priority raw;\n ct state new drop\n }
        chain late { type filter hook output priority filter;\n ct state new drop\n }\n}",
    );
    let remote = Packet { input: Interface::Named("eth0".to_owned()), ..to_redis() };
    assert_eq!(stage.rule(Hook::Prerouting, &remote, Wanted::Drop), "ct state invalid drop");
    assert_eq!(stage.rule(Hook::Prerouting, &to_redis(), Wanted::Drop), "ct state new drop", "known since output");
    assert_eq!(stage.culprit(Hook::Output, &to_redis(), Wanted::Drop).site.chain.as_str(), "late");
}

#[test]
fn states_with_the_same_verdict_need_not_be_told_apart() {
    let mut stage = input("ct state vmap { new : drop, invalid : drop, established : accept }");
    let packet = Packet { states: State::NEW.or(State::INVALID), ..to_redis() };
    assert!(stage.culprit(Hook::Input, &packet, Wanted::Drop).must);
    let packet = Packet { states: State::NEW.or(State::ESTABLISHED), ..to_redis() };
    assert!(!stage.culprit(Hook::Input, &packet, Wanted::Drop).must);
}

#[test]
fn tables_that_are_dormant_or_only_see_bridges_refuse_nothing() {
    let mut stage = Stage::with_nft(
        "table inet sleeps { flags dormant;\n chain input { type filter hook input priority 0;\n drop\n }\n}
        table bridge b {\n chain input { type filter hook input priority 0;\n drop\n }\n}",
    );
    assert_eq!(texts(&stage.suspects(Hook::Input, &to_redis(), Wanted::Drop)), [""; 0]);
}

#[test]
fn counters_decide_between_two_rules() {
    let mut stage = input("limit rate over 900/second counter drop\ntcp dport 6379 counter reject with tcp reset");
    let before = stage.counted(Hook::Input, &to_redis());
    assert_eq!(before.candidates.len(), 2);
    assert_eq!(before.clone().moved_since(&before), before, "no counter moved");
    stage.refused(6379);
    let after = stage.counted(Hook::Input, &to_redis()).moved_since(&before);
    let culprit = after.certain().expect("one counter moved");
    assert_eq!(culprit.site.rule.as_str(), "tcp dport 6379 counter reject with tcp reset");
    assert!(!culprit.must, "but for the counters it was a maybe");
}

#[test]
fn the_kernel_counts_at_the_very_rule_that_is_told() {
    let mut stage = Stage::with_nft(
        "table inet filter {
        set ports { type inet_service; flags interval; elements = { 10-19 }; }
        map verdicts { type inet_service : verdict; elements = { 20 : goto sub, 21 : return }; }
        chain sub { counter reject with tcp reset\n }
        chain input { type filter hook input priority 0;
        tcp flags rst accept
        ct state established,related counter accept
        iifname != \"lo\" counter reject with tcp reset
        tcp dport @ports counter reject with tcp reset
        tcp dport vmap @verdicts
        ip saddr . tcp dport { 127.0.0.0/8 . 30 } counter reject with tcp reset
        ct state new tcp dport 40-49 meta mark set 7
        meta mark 7 counter reject with tcp reset
        tcp dport { 50, 60 } tcp flags & (syn|ack) == syn counter reject with tcp reset
        tcp dport >= 70 counter reject with tcp reset
        counter reject with tcp reset\n }\n}",
    );
    for port in [9, 10, 19, 20, 22, 30, 31, 40, 49, 50, 60, 69, 70, 6379] {
        let packet = syn("127.0.0.1:50000", &format!("127.0.0.1:{port}"));
        let before = stage.counted(Hook::Input, &packet);
        stage.refused(port);
        let after = stage.counted(Hook::Input, &packet);
        let count = |suspects: &Suspects| suspects.certain().and_then(|one| one.counter).map(|counter| counter.packets);
        assert_eq!(count(&after), count(&before).map(|packets| packets + 1), "{port}: {after:#?}");
    }
}
