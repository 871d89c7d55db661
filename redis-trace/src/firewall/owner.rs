//! Which program wrote a rule, by the signs it leaves.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::model::{Chain, Rule, Table};
use super::statement::{Statement, Verdict};
use crate::trace::text::Text;

/// A program that writes rules of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Owner {
    /// ufw: chains `ufw-…`.
    Ufw,
    /// firewalld: table `firewalld`, or chains of zones.
    Firewalld,
    /// Docker: chains `DOCKER…`.
    Docker,
    /// kube-proxy: chains `KUBE-…`, or table `kube-proxy`.
    KubeProxy,
    /// Calico: chains `cali-…`, remarks `cali:…`.
    Calico,
}

/// A Kubernetes service.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub struct Service {
    /// Its namespace.
    pub namespace: Text,
    /// Its name.
    pub name: Text,
    /// The name of its port, when the port has one.
    pub port: Option<Text>,
}

/// Chains that firewalld makes with iptables: zones, and what leads to them.
const FIREWALLD_CHAINS: [&str; 10] = [
    "INPUT_ZONES",
    "FORWARD_IN_ZONES",
    "FORWARD_OUT_ZONES",
    "FORWARD_ZONES",
    "OUTPUT_ZONES",
    "IN_",
    "FWDI_",
    "FWDO_",
    "INPUT_direct",
    "FORWARD_direct",
];

impl Owner {
    /// By the name of a table or a chain.
    fn of_names(table: &str, chain: &str) -> Option<Self> {
        let begins = |with: &[&str]| with.iter().any(|sign| chain.starts_with(sign));
        match table {
            "firewalld" => Some(Self::Firewalld),
            "kube-proxy" => Some(Self::KubeProxy),
            "docker-bridges" => Some(Self::Docker),
            "calico" => Some(Self::Calico),
            _ if begins(&["ufw-", "ufw6-"]) => Some(Self::Ufw),
            _ if begins(&["DOCKER"]) => Some(Self::Docker),
            _ if begins(&["KUBE-"]) => Some(Self::KubeProxy),
            _ if begins(&["cali-"]) => Some(Self::Calico),
            _ if begins(&FIREWALLD_CHAINS) => Some(Self::Firewalld),
            _ => None,
        }
    }

    /// Who wrote a rule.
    pub(super) fn of_rule(table: &Table, chain: &Chain, rule: &Rule) -> Option<Self> {
        let calico = rule.comment.as_ref().is_some_and(|comment| comment.starts_with("cali:"));
        Self::of_names(&table.name, &chain.name).or(calico.then_some(Self::Calico))
    }

    /// Who set a policy: the only one whose chains are entered from there.
    pub(super) fn of_policy(table: &Table, chain: &Chain) -> Option<Self> {
        let led = chain.rules.iter().flat_map(|rule| &rule.statements).filter_map(|statement| match statement {
            Statement::Decide(Verdict::Jump(to) | Verdict::Goto(to)) => Self::of_names(&table.name, to),
            _ => None,
        });
        let mut owners = led.chain(Self::of_names(&table.name, &chain.name));
        let first = owners.next()?;
        owners.all(|owner| owner == first).then_some(first)
    }
}

impl Service {
    /// The map in which kube-proxy, with nftables, keeps services without endpoints, each with its name as a remark.
    pub(super) const WITHOUT_ENDPOINTS: &str = "no-endpoint-services";

    /// The service of a remark such as `default/redis:redis has no endpoints`, on a rule of kube-proxy.
    pub(super) fn without_endpoints(comment: &str) -> Option<Self> {
        let (service, _) = comment.split_once(" has no ")?;
        let kind = &comment[service.len()..];
        (kind.ends_with(" endpoints")).then(|| Self::named(service)).flatten()
    }

    /// `default/redis:redis`, or without a port's name.
    pub(super) fn named(service: &str) -> Option<Self> {
        let (namespace, name) = service.split_once('/')?;
        let (name, port) = name.split_once(':').map_or((name, None), |(name, port)| (name, Some(port)));
        let plain =
            |word: &str| !word.is_empty() && word.bytes().all(|b| b.is_ascii_alphanumeric() || b"-.".contains(&b));
        let port = port.filter(|port| !port.is_empty());
        (plain(namespace) && plain(name) && port.is_none_or(plain)).then(|| Self {
            namespace: Text::from(namespace),
            name: Text::from(name),
            port: port.map(Text::from),
        })
    }
}
