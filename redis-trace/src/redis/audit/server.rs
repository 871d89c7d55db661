//! Which server a configuration is for: its rules of protected mode, and what it knows, depend on it.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// The family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Product {
    /// Redis.
    Redis,
    /// Valkey, which began as Redis 7.2.
    Valkey,
    /// KeyDB, which began as Redis 6.
    KeyDb,
}

/// A server's family and version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Server {
    /// Whose.
    pub product: Product,
    /// `(7, 2)`.
    pub version: (u32, u32),
}

impl Server {
    /// What is assumed when nobody says.
    pub const DEFAULT: Self = Self { product: Product::Redis, version: (8, 0) };

    /// The Redis whose configuration it understands.
    pub fn as_redis(self) -> (u32, u32) {
        match self.product {
            Product::Redis => self.version,
            Product::Valkey => (7, 2),
            Product::KeyDb => (6, 2),
        }
    }

    /// Protected mode ends with the first `bind`: Redis before 7.0 (redis#9034) and KeyDB.
    pub fn bind_ends_protection(self) -> bool {
        self.as_redis() < (7, 0)
    }

    /// Whether protected mode takes this client for one of its own host: exactly 127.0.0.1 until 7.0, all of 127/8 since.
    pub fn is_local(self, client: IpAddr) -> bool {
        match client.to_canonical() {
            IpAddr::V4(ip) if self.as_redis() >= (7, 2) => ip.is_loopback(),
            IpAddr::V4(ip) => ip.octets() == [127, 0, 0, 1],
            IpAddr::V6(ip) => ip.is_loopback(),
        }
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let product = match self.product {
            Product::Redis => "Redis",
            Product::Valkey => "Valkey",
            Product::KeyDb => "KeyDB",
        };
        write!(f, "{product} {}.{}", self.version.0, self.version.1)
    }
}

impl FromStr for Server {
    type Err = String;

    /// `7.2`, `redis-7.2`, `valkey-8.1`, `keydb-6.3`.
    fn from_str(text: &str) -> Result<Self, String> {
        let lower = text.to_ascii_lowercase();
        let (product, version) = lower.split_once(['-', ' ']).unwrap_or(("redis", &lower));
        let product = match product {
            "redis" => Product::Redis,
            "valkey" => Product::Valkey,
            "keydb" => Product::KeyDb,
            _ => return Err("a server is redis-7.4, valkey-8.1 or keydb-6.3".to_owned()),
        };
        let mut numbers = version.split('.').map(str::parse);
        match (numbers.next(), numbers.next()) {
            (Some(Ok(major)), Some(Ok(minor))) => Ok(Self { product, version: (major, minor) }),
            (Some(Ok(major)), None) => Ok(Self { product, version: (major, 0) }),
            _ => Err("a version is written as 7.4".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_written_as_people_do() {
        let shown = |text: &str| text.parse::<Server>().map(|server| server.to_string());
        assert_eq!(shown("7.2").as_deref(), Ok("Redis 7.2"));
        assert_eq!(shown("7.0.15").as_deref(), Ok("Redis 7.0"));
        assert_eq!(shown("valkey-8").as_deref(), Ok("Valkey 8.0"));
        assert_eq!(shown("KeyDB-6.3").as_deref(), Ok("KeyDB 6.3"));
        assert!(shown("dragonfly-1").is_err() && shown("new").is_err());
    }

    #[test]
    fn who_counts_as_local_depends_on_the_version() {
        let local =
            |server: &str, ip: &str| server.parse::<Server>().expect("one").is_local(ip.parse().expect("an address"));
        assert!(
            local("7.0", "127.0.0.1")
                && local("6.2", "::1")
                && local("7.2", "127.0.0.2")
                && local("valkey-8", "127.9.9.9")
        );
        assert!(!local("7.0", "127.0.0.2") && !local("keydb-6.3", "127.0.0.2") && !local("8.0", "10.0.0.1"));
    }
}
