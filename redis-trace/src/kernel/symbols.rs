//! Where the running kernel's functions are, as `/proc/kallsyms` shows it to the privileged.

use std::collections::BTreeMap;

/// How many addresses are remembered; the kernel drops packets in some hundred places.
const KEPT: usize = 1024;

/// The functions of addresses that were asked for.
#[derive(Debug, Default)]
pub struct Symbols {
    named: BTreeMap<u64, Option<String>>,
}

impl Symbols {
    /// The function that has this address; reads the kernel's list once for each address.
    pub fn function(&mut self, address: u64) -> Option<&str> {
        if !self.named.contains_key(&address) {
            if self.named.len() >= KEPT {
                self.named.clear();
            }
            let list = List::read();
            let below = list.functions().filter(|(start, _)| *start <= address);
            let name = below.max_by_key(|(start, _)| *start).map(|(_, name)| original(name).to_owned());
            self.named.insert(address, name);
        }
        self.named.get(&address)?.as_deref()
    }
}

/// The kernel's list of its symbols, read once for all that is asked of it: to write it takes the kernel a tenth of a second.
pub(super) struct List(String);

impl List {
    /// Reads it; nothing is listed where that cannot be done.
    pub(super) fn read() -> Self {
        Self(std::fs::read_to_string("/proc/kallsyms").unwrap_or_default())
    }

    /// Those of these functions that the running kernel or one of its modules has.
    pub(super) fn present<'a>(&self, names: &[&'a str]) -> Vec<&'a str> {
        self.functions().filter_map(|(_, function)| names.iter().find(|name| **name == function).copied()).collect()
    }

    /// Where these functions begin and end; zeros for those that the kernel does not have.
    pub(super) fn ranges(&self, names: &[&str]) -> Vec<[u64; 2]> {
        let mut starts: Vec<u64> = Vec::new();
        let mut found = vec![[0; 2]; names.len()];
        for (start, name) in self.functions() {
            starts.push(start);
            if !is_apart(name)
                && let Some(place) = names.iter().position(|wanted| *wanted == original(name))
            {
                found[place] = [start, start];
            }
        }
        starts.sort_unstable();
        for [start, end] in &mut found {
            let next = starts.partition_point(|other| other <= start);
            *end = starts.get(next).copied().unwrap_or(*start);
        }
        found
    }

    /// Where these variables are; zeros unless all are listed.
    pub(super) fn variables<const N: usize>(&self, names: [&str; N]) -> [u64; N] {
        let mut found = [0; N];
        for (address, name) in self.symbols("bBdDrR") {
            if let Some(place) = names.iter().position(|wanted| *wanted == name) {
                found[place] = address;
            }
        }
        if found.contains(&0) { [0; N] } else { found }
    }

    /// The kernel's functions: address and name. None where addresses are hidden.
    fn functions(&self) -> impl Iterator<Item = (u64, &str)> {
        self.symbols("tTwW")
    }

    /// The kernel's symbols of these kinds.
    fn symbols(&self, kinds: &'static str) -> impl Iterator<Item = (u64, &str)> {
        self.0.lines().filter_map(|line| {
            let mut words = line.split_ascii_whitespace();
            let (address, kind, name) = (words.next()?, words.next()?, words.next()?);
            let address = u64::from_str_radix(address, 16).ok().filter(|address| *address != 0)?;
            kinds.contains(kind).then_some((address, name))
        })
    }
}

/// A function as its source has it: the compiler calls a version that it changed `name.isra.0`.
fn original(name: &str) -> &str {
    name.split('.').next().unwrap_or(name)
}

/// Whether it is the part of a function that the compiler has set apart.
fn is_apart(name: &str) -> bool {
    name.rsplit_once('.').is_some_and(|(_, part)| part == "cold")
}

/// Whether what a thread sends is copied to pages of its own, where it can be read afterwards: since Linux 5.16, which has
/// this function no more.
pub fn keeps_last_words() -> bool {
    List::read().present(&["sk_stream_alloc_skb"]).is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_function_is_known_by_an_address_within_it() {
        if !rustix::process::geteuid().is_root() {
            return eprintln!("skipped: only root sees where functions are");
        }
        let [[start, end]] = List::read().ranges(&["nf_hook_slow"])[..] else { panic!("one was asked for") };
        assert!(start < end);
        assert_eq!(Symbols::default().function(start + 1), Some("nf_hook_slow"));
        assert_eq!(Symbols::default().function(end - 1), Some("nf_hook_slow"));
    }
}
