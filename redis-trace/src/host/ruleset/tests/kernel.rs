//! Rules put together by chance, and the kernel asked which of them it used: what is told must agree.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use super::*;

/// Ports that are dialled.
const PORTS: [u16; 4] = [1, 5, 7, 6379];

/// Conditions of nft that a SYN over loopback meets, or does not: a rule has one of each line of thought, or none.
const NFT: [&[&str]; 3] = [
    &[
        "",
        "tcp dport 5",
        "tcp dport != 5",
        "tcp dport { 1, 7 }",
        "tcp dport 2-6",
        "tcp dport != { 1-5 }",
        "tcp dport > 5",
        "tcp dport <= 5",
        "tcp dport @ports",
        "tcp dport != @ports",
        "th dport 5",
    ],
    &[
        "",
        "",
        "ip saddr 127.0.0.0/8",
        "ip saddr != 127.0.0.0/24",
        "ip daddr @hosts",
        "ip saddr & 255.0.0.255 == 127.0.0.1",
        "ip6 daddr ::1",
        "ip6 saddr != ::1",
        "ip saddr . tcp dport @pairs",
        "ip daddr . tcp dport { 127.0.0.1 . 7, 10.0.0.0/8 . 1-9 }",
        "ct original ip daddr 127.0.0.1",
    ],
    &[
        "",
        "",
        "",
        "iifname \"lo\"",
        "iifname != \"lo\"",
        "iifname \"l*\"",
        "iifname { \"eth0\", \"lo\" }",
        "oifname \"lo\"",
        "iif lo",
        "ct state new",
        "ct state established,related",
        "ct state != new",
        "ct state { new, invalid }",
        "ct status dnat",
        "ct direction original",
        "tcp flags syn",
        "tcp flags & (syn|ack) == syn",
        "tcp flags & (syn|ack) != syn",
        "tcp flags ! ack",
        "meta mark & 0x3 == 0x1",
        "meta mark != 0",
        "fib daddr type local",
        "fib daddr type != local",
        "limit rate 9000/second",
    ],
];

/// What a rule of nft then does.
const NFT_VERDICTS: [&str; 10] = [
    "counter reject with tcp reset",
    "counter reject with tcp reset",
    "counter reject with tcp reset",
    "accept",
    "return",
    "jump a",
    "jump b",
    "goto b",
    "meta mark set meta mark | 1",
    "meta mark set 2",
];

/// The same for iptables.
const IPTABLES: [&[&str]; 3] = [
    &[
        "-p tcp",
        "-p tcp -m tcp --dport 5",
        "-p tcp -m tcp ! --dport 5",
        "-p tcp -m tcp --dport 2:6",
        "-p tcp -m multiport --dports 1,7",
        "-p tcp -m multiport ! --dports 1,5:6",
        "-p tcp -m tcp --tcp-flags SYN,ACK SYN",
        "-p tcp -m tcp ! --tcp-flags SYN,RST,ACK,FIN SYN",
    ],
    &[
        "",
        "",
        "-s 127.0.0.0/8",
        "! -s 127.0.0.0/24",
        "-d 127.0.0.1/255.0.0.255",
        "! -d 127.0.0.1",
        "-i lo",
        "! -i lo",
        "-i l+",
    ],
    &[
        "",
        "",
        "-m conntrack --ctstate NEW",
        "-m conntrack ! --ctstate NEW",
        "-m conntrack --ctstate RELATED,ESTABLISHED",
        "-m conntrack --ctstate DNAT",
        "-m conntrack --ctorigdst 127.0.0.1 --ctdir ORIGINAL",
        "-m state --state INVALID,NEW",
        "-m mark --mark 0x1/0x3",
        "-m mark ! --mark 0x0",
        "-m addrtype --dst-type LOCAL",
        "-m addrtype ! --dst-type LOCAL",
        "-m iprange --src-range 127.0.0.1-127.0.0.9",
        "-m limit --limit 9000/sec",
    ],
];

/// What a rule of iptables then does.
const IPTABLES_TARGETS: [&str; 10] = [
    "-j REJECT --reject-with tcp-reset",
    "-j REJECT --reject-with tcp-reset",
    "-j REJECT --reject-with tcp-reset",
    "-j ACCEPT",
    "-j RETURN",
    "-j a",
    "-j b",
    "-g b",
    "-j MARK --set-xmark 0x1/0x1",
    "-j MARK --set-xmark 0x2/0xffffffff",
];

/// Some rules of a chain.
fn rules(of: [&'static [&'static str]; 3], verdicts: Vec<&'static str>) -> impl Strategy<Value = Vec<String>> {
    let [first, second, third] = of.map(select);
    vec((first, second, third, select(verdicts)).prop_map(|(a, b, c, verdict)| format!("{a} {b} {c} {verdict}")), 2..9)
}

/// The verdicts that may stand in a chain that others jump to: those of the last lead nowhere.
fn verdicts(of: &[&'static str], forbidden: &[&str]) -> Vec<&'static str> {
    of.iter().copied().filter(|verdict| !forbidden.contains(verdict)).collect()
}

/// Three chains: the first is entered on input, and each may lead to those behind it.
fn nft() -> impl Strategy<Value = String> {
    let chains = (
        rules(NFT, NFT_VERDICTS.to_vec()),
        rules(NFT, verdicts(&NFT_VERDICTS, &["jump a"])),
        rules(NFT, verdicts(&NFT_VERDICTS, &["jump a", "jump b", "goto b"])),
        select(vec!["", "tcp dport vmap { 1 : jump a, 2-5 : goto b, 7 : accept }", "ct state vmap { new : jump b }"]),
    );
    chains.prop_map(|(input, a, b, vmap)| {
        format!(
            "table inet t {{
            set ports {{ type inet_service; flags interval; elements = {{ 1-4, 7 }}; }}
            set hosts {{ type ipv4_addr; elements = {{ 127.0.0.1, 10.0.0.1 }}; }}
            set pairs {{ type ipv4_addr . inet_service; flags interval; elements = {{ 127.0.0.0/8 . 5-9 }}; }}
            chain b {{ {} \n }}\nchain a {{ {} \n }}
            chain input {{ type filter hook input priority 0; tcp flags rst accept\n {} \n {vmap} \n }}\n}}",
            b.join("\n"),
            a.join("\n"),
            input.join("\n")
        )
    })
}

/// The same for iptables.
fn iptables() -> impl Strategy<Value = String> {
    let chains = (
        rules(IPTABLES, IPTABLES_TARGETS.to_vec()),
        rules(IPTABLES, verdicts(&IPTABLES_TARGETS, &["-j a"])),
        rules(IPTABLES, verdicts(&IPTABLES_TARGETS, &["-j a", "-j b", "-g b"])),
    );
    chains.prop_map(|(input, a, b)| {
        let chain = |name: &str, rules: &[String]| {
            rules.iter().map(|rule| format!("-A {name} {rule}\n")).collect::<Vec<_>>().concat()
        };
        format!(
            "*filter\n:INPUT ACCEPT\n:a -\n:b -\n-A INPUT -p tcp -m tcp --tcp-flags RST RST -j ACCEPT\n{}{}{}COMMIT\n",
            chain("INPUT", &input),
            chain("a", &a),
            chain("b", &b)
        )
    })
}

/// How many packets all rules together rejected.
fn rejected(stage: &Stage, lister: &[&str]) -> u64 {
    let listing = stage.run(lister);
    let rules = listing.lines().filter(|line| line.contains("reject with") || line.contains("REJECT"));
    let count = |line: &str| {
        let (_, after) = line.split_once("packets ").or_else(|| line.split_once('['))?;
        after.split([' ', ':']).next()?.parse::<u64>().ok()
    };
    rules.map(|line| count(line).expect("a counter")).sum()
}

/// Dials each port, and compares what the kernel counted with what is told.
fn compare(stage: &mut Stage, lister: &[&str]) -> Result<(), TestCaseError> {
    for port in PORTS {
        let packet = syn("127.0.0.1:50000", &format!("127.0.0.1:{port}"));
        let (before, all) = (stage.counted(Hook::Input, &packet), rejected(stage, lister));
        stage.refused(port);
        let (after, used) = (stage.counted(Hook::Input, &packet), rejected(stage, lister) - all);
        let packets = |suspects: &Suspects| -> Vec<u64> {
            suspects.candidates.iter().map(|one| one.counter.map_or(0, |counter| counter.packets)).collect()
        };
        let moved: Vec<_> = packets(&after).iter().zip(packets(&before)).map(|(now, then)| now - then).collect();
        prop_assert!(after.complete && moved.len() == before.candidates.len());
        prop_assert_eq!(moved.iter().sum::<u64>(), used, "{}: all that rejected are told: {:#?}", port, after);
        for (candidate, moved) in after.candidates.iter().zip(moved) {
            prop_assert!(!candidate.must || moved == 1, "{port}: it must have been {candidate:#?}");
        }
        prop_assert!(used == 1 || after.candidates.iter().all(|candidate| !candidate.must));
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn rules_of_nft_are_judged_as_the_kernel_does(rules in nft()) {
        compare(&mut Stage::with_nft(&rules), &["nft", "list", "ruleset"])?;
    }

    #[test]
    fn rules_of_iptables_are_judged_as_the_kernel_does(rules in iptables()) {
        for program in ["iptables-nft", "iptables-legacy"] {
            let mut stage = Stage::new();
            stage.run_with(&[&format!("{program}-restore")], &rules);
            compare(&mut stage, &[&format!("{program}-save"), "--counters"])?;
        }
    }
}
