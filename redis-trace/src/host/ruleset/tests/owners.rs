//! Rules in the shapes in which other programs leave them.

use super::*;
use crate::firewall::Owner;

/// A namespace with rules that iptables restored.
fn restored(rules: &str) -> Stage {
    let stage = Stage::new();
    stage.run_with(&["iptables-nft-restore"], rules);
    stage
}

#[test]
fn a_service_without_endpoints_is_named() {
    for remark in ["default/redis:redis has no endpoints", "default/redis:redis has no local endpoints"] {
        let mut stage = restored(&format!(
            "*filter\n:INPUT ACCEPT\n:OUTPUT ACCEPT\n:KUBE-EXTERNAL-SERVICES - [0:0]\n:KUBE-SERVICES - [0:0]\n:KUBE-FIREWALL - [0:0]\n\
             -A INPUT -m conntrack --ctstate NEW -m comment --comment \"kubernetes externally-visible service portals\" -j KUBE-EXTERNAL-SERVICES\n\
             -A INPUT -j KUBE-FIREWALL\n\
             -A OUTPUT -m conntrack --ctstate NEW -m comment --comment \"kubernetes service portals\" -j KUBE-SERVICES\n\
             -A KUBE-FIREWALL -m mark --mark 0x8000/0x8000 -j DROP\n\
             -A KUBE-EXTERNAL-SERVICES -p tcp -m comment --comment \"{remark}\" -m addrtype --dst-type LOCAL -m tcp --dport 6379 -j REJECT\n\
             -A KUBE-SERVICES -d 10.96.0.9/32 -p tcp -m comment --comment \"{remark}\" -m tcp --dport 6379 -j REJECT\nCOMMIT\n"
        ));
        for (hook, packet) in [(Hook::Input, to_redis()), (Hook::Output, syn("10.0.0.1:1", "10.96.0.9:6379"))] {
            let culprit = stage.culprit(hook, &packet, Wanted::Refusal);
            assert_eq!((culprit.site.owner, culprit.effect), (Some(Owner::KubeProxy), Effect::Icmp(Some(3))));
            let service = culprit.site.service.expect("it is named");
            assert_eq!((service.namespace.as_str(), service.name.as_str()), ("default", "redis"));
            assert_eq!(service.port.map(|port| port.to_string()), Some("redis".to_owned()));
        }
    }
}

#[test]
fn kube_proxy_with_nftables_names_the_service_in_the_element_of_its_map() {
    let mut stage = Stage::with_nft(
        "table ip kube-proxy {
        map no-endpoint-services { type ipv4_addr . inet_proto . inet_service : verdict;
          elements = { 10.96.0.9 . tcp . 6379 comment \"default/redis:redis\" : goto reject-chain, 10.96.0.8 . tcp . 80 comment \"default/web\" : goto reject-chain }; }
        chain reject-chain { reject\n }
        chain service-endpoints-check { ip daddr . meta l4proto . th dport vmap @no-endpoint-services\n }
        chain filter-output { type filter hook output priority -110;\n ct state new jump service-endpoints-check\n }\n}",
    );
    let culprit = stage.culprit(Hook::Output, &syn("10.0.0.1:1", "10.96.0.9:6379"), Wanted::Refusal);
    assert_eq!((culprit.site.owner, culprit.site.rule.as_str()), (Some(Owner::KubeProxy), "reject"));
    assert_eq!(culprit.site.service.map(|service| service.name.to_string()), Some("redis".to_owned()));
    let culprit = stage.culprit(Hook::Output, &syn("10.0.0.1:1", "10.96.0.8:80"), Wanted::Refusal);
    assert_eq!(culprit.site.service.map(|service| service.name.to_string()), Some("web".to_owned()));
    assert!(stage.suspects(Hook::Output, &to_redis(), Wanted::Refusal).candidates.is_empty());
}

#[test]
fn a_remark_that_only_looks_like_one_of_kube_proxy_names_no_service() {
    let mut stage = restored(
        "*filter\n:INPUT ACCEPT\n-A INPUT -p tcp -m comment --comment \"default/redis:redis has no endpoints\" -m tcp --dport 6379 -j REJECT\nCOMMIT\n",
    );
    let culprit = stage.culprit(Hook::Input, &to_redis(), Wanted::Refusal);
    assert_eq!((culprit.site.owner, culprit.site.service), (None, None));
}

#[test]
fn ufw_is_told_by_its_chains_and_by_the_policy_it_sets() {
    let rules = "*filter\n:INPUT DROP\n:ufw-before-input - [0:0]\n:ufw-user-input - [0:0]\n:ufw-after-input - [0:0]\n:ufw-skip-to-policy-input - [0:0]\n\
        -A INPUT -j ufw-before-input\n-A INPUT -j ufw-after-input\n\
        -A ufw-before-input -i lo -j ACCEPT\n-A ufw-before-input -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT\n\
        -A ufw-before-input -m conntrack --ctstate INVALID -j DROP\n-A ufw-before-input -j ufw-user-input\n\
        -A ufw-user-input -p tcp -m tcp --dport 22 -j ACCEPT\n-A ufw-user-input -p tcp -m tcp --dport 6379 -j REJECT --reject-with tcp-reset\n\
        -A ufw-after-input -p tcp -m tcp --dport 139 -j ufw-skip-to-policy-input\n-A ufw-skip-to-policy-input -j DROP\nCOMMIT\n";
    let mut stage = restored(rules);
    let remote = |port: u16| Packet {
        input: Interface::Named("eth0".to_owned()),
        ..syn("10.0.0.2:50000", &format!("10.0.0.1:{port}"))
    };
    let culprit = stage.culprit(Hook::Input, &remote(6379), Wanted::Reset);
    assert_eq!((culprit.site.owner, culprit.site.chain.as_str()), (Some(Owner::Ufw), "ufw-user-input"));
    let culprit = stage.culprit(Hook::Input, &remote(7000), Wanted::Drop);
    assert_eq!((culprit.site.owner, culprit.site.rule.as_str()), (Some(Owner::Ufw), "-P INPUT DROP"));
    assert_eq!(stage.culprit(Hook::Input, &remote(139), Wanted::Drop).site.chain.as_str(), "ufw-skip-to-policy-input");
    assert!(stage.suspects(Hook::Input, &to_redis(), Wanted::Drop).candidates.is_empty(), "loopback is let in");
    assert!(stage.suspects(Hook::Input, &remote(22), Wanted::Drop).candidates.is_empty());
}

#[test]
fn firewalld_is_told_by_its_table() {
    let mut stage = Stage::with_nft(
        "table inet firewalld {
        chain filter_INPUT { type filter hook input priority filter + 10; policy accept;
          ct state { established, related } accept
          ct status dnat accept
          iifname \"lo\" accept
          ct state invalid drop
          jump filter_INPUT_ZONES
          reject with icmpx admin-prohibited\n }
        chain filter_INPUT_ZONES { goto filter_IN_public\n }
        chain filter_IN_public { jump filter_IN_public_deny\n jump filter_IN_public_allow\n meta l4proto { icmp, ipv6-icmp } accept\n reject with icmpx admin-prohibited\n }
        chain filter_IN_public_deny { }
        chain filter_IN_public_allow { tcp dport 22 accept\n }\n}",
    );
    for packet in [syn("10.0.0.2:1", "10.0.0.1:6379"), syn("[fd00::2]:1", "[fd00::1]:6379")] {
        let packet = Packet { input: Interface::Named("eth0".to_owned()), ..packet };
        let culprit = stage.culprit(Hook::Input, &packet, Wanted::Refusal);
        assert_eq!((culprit.site.owner, culprit.must), (Some(Owner::Firewalld), true));
        assert_eq!(culprit.site.chain.as_str(), "filter_IN_public");
        assert_eq!(culprit.effect, Effect::Icmp(Some(if packet.ipv6 { 1 } else { 13 })));
    }
    assert!(stage.suspects(Hook::Input, &syn("10.0.0.2:1", "10.0.0.1:22"), Wanted::Refusal).candidates.is_empty());
}

#[test]
fn docker_and_calico_are_told_by_their_chains() {
    let mut stage = restored(
        "*filter\n:INPUT ACCEPT\n:FORWARD DROP\n:DOCKER - [0:0]\n:DOCKER-USER - [0:0]\n:cali-INPUT - [0:0]\n\
         -A INPUT -m comment --comment \"cali:Cz_u1IQiXIMmKD4c\" -j cali-INPUT\n\
         -A INPUT -p tcp -m comment --comment \"cali:xyz\" -m tcp --dport 81 -j DROP\n\
         -A FORWARD -j DOCKER-USER\n-A FORWARD -o docker0 -j DOCKER\n\
         -A DOCKER -d 172.17.0.2/32 ! -i docker0 -o docker0 -p tcp -m tcp --dport 6379 -j ACCEPT\n-A DOCKER ! -i docker0 -o docker0 -j DROP\n\
         -A cali-INPUT -p tcp -m tcp --dport 6379 -j DROP\nCOMMIT\n",
    );
    assert_eq!(stage.culprit(Hook::Input, &to_redis(), Wanted::Drop).site.owner, Some(Owner::Calico));
    let other = syn("10.0.0.2:1", "10.0.0.1:81");
    assert_eq!(stage.culprit(Hook::Input, &other, Wanted::Drop).site.owner, Some(Owner::Calico));
    let forwarded = |port: u16, out: &str| Packet {
        input: Interface::Named("eth0".to_owned()),
        output: Interface::Named(out.to_owned()),
        ..syn("10.0.0.2:1", &format!("172.17.0.2:{port}"))
    };
    let culprit = stage.culprit(Hook::Forward, &forwarded(6380, "docker0"), Wanted::Drop);
    assert_eq!((culprit.site.owner, culprit.site.chain.as_str()), (Some(Owner::Docker), "DOCKER"));
    let culprit = stage.culprit(Hook::Forward, &forwarded(6379, "eth1"), Wanted::Drop);
    assert_eq!((culprit.site.owner, culprit.site.rule.as_str()), (Some(Owner::Docker), "-P FORWARD DROP"));
    assert!(stage.suspects(Hook::Forward, &forwarded(6379, "docker0"), Wanted::Drop).candidates.is_empty());
}
