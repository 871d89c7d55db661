//! Rules of iptables, of both kinds and both families.

use super::*;

/// The four programs, their backends, and whether they are for IPv6.
const PROGRAMS: [(&str, Backend, bool); 4] = [
    ("iptables-nft", Backend::IptablesNft, false),
    ("ip6tables-nft", Backend::IptablesNft, true),
    ("iptables-legacy", Backend::IptablesLegacy, false),
    ("ip6tables-legacy", Backend::IptablesLegacy, true),
];

/// A namespace with rules that one of these programs restored.
fn restored(program: &str, rules: &str) -> Stage {
    let stage = Stage::new();
    stage.run_with(&[&format!("{program}-restore")], rules);
    stage
}

/// One to the port of Redis, of either family.
fn packet(ipv6: bool) -> Packet {
    if ipv6 { syn("[::1]:50000", "[::1]:6379") } else { to_redis() }
}

/// The handle that nft lists for a rule of the chain INPUT.
fn handle(stage: &Stage, number: usize) -> Option<u64> {
    let listing = stage.run(&["nft", "--handle", "list", "ruleset"]);
    let (_, rules) = listing.split_once("chain INPUT {")?;
    // The first of these is that of the chain.
    let rule = rules.lines().filter(|line| line.contains(" # handle ")).nth(number)?;
    rule.rsplit(' ').next()?.parse().ok()
}

#[test]
fn both_kinds_and_both_families_tell_the_rule_its_number_and_its_handle() {
    for (program, backend, ipv6) in PROGRAMS {
        for (with, effect) in [
            ("REJECT --reject-with tcp-reset", Effect::Reset),
            (
                if ipv6 {
                    "REJECT --reject-with icmp6-port-unreachable"
                } else {
                    "REJECT --reject-with icmp-port-unreachable"
                },
                Effect::Icmp(Some(if ipv6 { 4 } else { 3 })),
            ),
            (
                if ipv6 {
                    "REJECT --reject-with icmp6-adm-prohibited"
                } else {
                    "REJECT --reject-with icmp-admin-prohibited"
                },
                Effect::Icmp(Some(if ipv6 { 1 } else { 13 })),
            ),
            ("DROP", Effect::Drop),
        ] {
            let rule = format!("-A INPUT -p tcp -m tcp --dport 6379 -j {with}");
            let rules =
                format!("*filter\n:INPUT ACCEPT\n-A INPUT -p tcp -m tcp --dport 22 -j ACCEPT\n{rule}\nCOMMIT\n");
            let mut stage = restored(program, &rules);
            let culprit = stage.culprit(Hook::Input, &packet(ipv6), Wanted::Refusal);
            // iptables-save would load modules to tell of a rule that has no expression of iptables.
            let plain = backend == Backend::IptablesNft && effect == Effect::Drop;
            let text = if plain { "tcp dport 6379 counter drop" } else { &*rule };
            assert_eq!((culprit.site.rule.as_str(), culprit.effect, culprit.must), (text, effect, true), "{program}");
            assert_eq!((culprit.site.backend, culprit.site.number), (backend, Some(2)));
            assert_eq!((culprit.site.table.as_str(), culprit.site.chain.as_str()), ("filter", "INPUT"));
            let known = (backend == Backend::IptablesNft).then(|| handle(&stage, 2)).flatten();
            assert_eq!(culprit.site.handle, known, "{program}");
            assert_eq!(known.is_some(), backend == Backend::IptablesNft);
            assert_eq!(
                texts(&stage.suspects(Hook::Input, &packet(!ipv6), Wanted::Refusal)),
                [""; 0],
                "the other family"
            );
        }
    }
}

#[test]
fn a_policy_is_told_as_iptables_sets_it() {
    for (program, backend, ipv6) in PROGRAMS {
        let mut stage = restored(program, "*filter\n:FORWARD DROP\n-A FORWARD -i eth7 -j ACCEPT\nCOMMIT\n");
        let culprit = stage.culprit(Hook::Forward, &packet(ipv6), Wanted::Drop);
        assert_eq!((culprit.site.rule.as_str(), culprit.site.handle), ("-P FORWARD DROP", None), "{program}");
        assert_eq!((culprit.site.backend, culprit.site.number), (backend, None));
    }
}

#[test]
fn every_condition_that_is_met_is_told() {
    for condition in [
        "-s 127.0.0.0/8 -p tcp -m tcp --dport 6379",
        "! -s 10.0.0.0/8 -p tcp",
        "-d 127.0.0.1/32 -i lo",
        "-d 127.0.0.1/255.0.0.255",
        "-i l+ -p tcp",
        "! -i eth0 -p tcp",
        "-p tcp -m tcp ! --dport 1:5",
        "-p tcp -m tcp --tcp-flags FIN,SYN,RST,ACK SYN",
        "-p tcp -m multiport --dports 22,6000:7000",
        "-p tcp -m multiport ! --dports 22,80",
        "-m conntrack --ctstate NEW",
        "-m conntrack ! --ctstate RELATED,ESTABLISHED",
        "-m state --state NEW,UNTRACKED",
        "-p tcp -m conntrack --ctorigdst 127.0.0.1 --ctorigdstport 6379 --ctdir ORIGINAL",
        "-m mark --mark 0x0/0x8000",
        "-m mark ! --mark 0x5",
        "-m addrtype --dst-type LOCAL",
        "-m iprange --src-range 127.0.0.1-127.0.0.9",
        "-m comment --comment \"-j ACCEPT \\\"x\\\" \\\\\" -p tcp",
    ] {
        for program in ["iptables-nft", "iptables-legacy"] {
            let rules =
                format!("*filter\n:INPUT ACCEPT\n-A INPUT -p udp -j DROP\n-A INPUT {condition} -j DROP\nCOMMIT\n");
            let culprit = restored(program, &rules).culprit(Hook::Input, &to_redis(), Wanted::Drop);
            assert_eq!((culprit.must, culprit.site.number), (true, Some(2)), "{program} {condition}");
        }
    }
}

#[test]
fn a_condition_that_is_not_met_rules_out_and_one_that_is_not_known_is_a_maybe() {
    for (condition, many) in [
        ("-m conntrack --ctstate RELATED,ESTABLISHED", 0),
        ("-m conntrack --ctstate DNAT", 0),
        ("-p tcp -m multiport --dports 22,80", 0),
        ("! -i lo", 0),
        ("-m mark --mark 0x8000/0x8000", 0),
        ("-p udp -m udp ! --dport 5", 0),
        ("-m limit --limit 5/min", 1),
        ("-m string --string \"-j ACCEPT\" --algo bm", 1),
        ("-m recent --update --seconds 60 --name x --rsource", 1),
        ("-m statistic --mode random --probability 0.5", 1),
        ("-m ttl --ttl-lt 5", 1),
        ("-m length --length 5:10", 1),
    ] {
        for program in ["iptables-nft", "iptables-legacy"] {
            let rules = format!("*filter\n:INPUT ACCEPT\n-A INPUT {condition} -j DROP\nCOMMIT\n");
            let suspects = restored(program, &rules).suspects(Hook::Input, &to_redis(), Wanted::Drop);
            let maybes = suspects.candidates.iter().filter(|candidate| !candidate.must).count();
            assert_eq!((suspects.candidates.len(), maybes), (many, many), "{program} {condition}");
        }
    }
}

#[test]
fn chains_marks_and_new_destinations_are_followed() {
    for (program, _, ipv6) in PROGRAMS {
        let to = if ipv6 { "[::1]:2" } else { "127.0.0.1:2" };
        let rules = format!(
            "*filter\n:INPUT ACCEPT\n:OUTPUT ACCEPT\n:a - [0:0]\n:b - [0:0]\n\
             -A INPUT -p tcp -j MARK --set-xmark 0x4/0x4\n-A INPUT -j a\n-A INPUT -j DROP\n\
             -A a -p udp -j RETURN\n-A a -g b\n-A a -j DROP\n\
             -A b -m mark --mark 0x4/0x4 -p tcp -j REJECT --reject-with tcp-reset\n\
             -A OUTPUT -p tcp -m tcp --dport 2 -j DROP\nCOMMIT\n\
             *nat\n:PREROUTING ACCEPT\n:OUTPUT ACCEPT\n-A PREROUTING -p tcp -m tcp --dport 6379 -j REDIRECT --to-ports 1\n\
             -A OUTPUT -p tcp -m tcp --dport 6379 -j DNAT --to-destination {to}\nCOMMIT\n"
        );
        let mut stage = restored(program, &rules);
        let culprit = stage.culprit(Hook::Input, &packet(ipv6), Wanted::Refusal);
        assert_eq!((culprit.site.chain.as_str(), culprit.effect), ("b", Effect::Reset), "{program}");
        let redirect = stage.culprit(Hook::Prerouting, &packet(ipv6), Wanted::Translation);
        assert_eq!(redirect.effect, Effect::Translate { address: None, port: Some(1), redirect: true });
        let dnat = stage.culprit(Hook::Output, &packet(ipv6), Wanted::Translation);
        let address = packet(ipv6).destination.map(|end| end.ip);
        assert_eq!(dnat.effect, Effect::Translate { address, port: Some(2), redirect: false });
        assert_eq!(stage.culprit(Hook::Output, &packet(ipv6), Wanted::Drop).site.chain.as_str(), "OUTPUT");
    }
}

#[test]
fn counters_of_iptables_are_read() {
    for program in ["iptables-nft", "iptables-legacy"] {
        let mut stage = restored(
            program,
            "*filter\n:INPUT ACCEPT\n-A INPUT -m ttl --ttl-lt 5 -j DROP\n-A INPUT -p tcp --dport 6379 -j REJECT --reject-with tcp-reset\nCOMMIT\n",
        );
        let before = stage.counted(Hook::Input, &to_redis());
        assert_eq!(before.candidates.len(), 2, "{program}");
        stage.refused(6379);
        let after = stage.counted(Hook::Input, &to_redis()).moved_since(&before);
        assert_eq!(after.certain().and_then(|culprit| culprit.site.number), Some(2), "{program}");
    }
}
