//! Where the running kernel's functions are, as `/proc/kallsyms` shows it to the privileged.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead as _, BufReader};

/// How many addresses are remembered; the kernel drops packets in some hundred places.
const KEPT: usize = 1024;

/// Kinds of symbols that are functions, and that are variables: nm(1).
const FUNCTIONS: &[u8] = b"tTwW";
const VARIABLES: &[u8] = b"bBdDrR";

/// Digits of an address.
const ADDRESS: usize = 16;

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
            let mut nearest: Option<(u64, String)> = None;
            each_symbol(|start, kind, name| {
                let is_nearer = start <= address && nearest.as_ref().is_none_or(|(other, _)| start >= *other);
                if FUNCTIONS.contains(&kind) && is_nearer {
                    nearest = Some((start, text(original(name))));
                }
            });
            self.named.insert(address, nearest.map(|(_, name)| name));
        }
        self.named.get(&address)?.as_deref()
    }
}

/// What is asked of the kernel's list of its symbols, read once: to write it takes the kernel a tenth of a second, and to keep it
/// ten megabytes.
#[derive(Default)]
pub(super) struct List {
    /// Addresses and names of the functions that were asked for.
    functions: Vec<(u64, String)>,
    /// Those of the variables.
    variables: Vec<(u64, String)>,
    /// Where any function begins.
    starts: Vec<u64>,
}

impl List {
    /// Reads what it says of these functions and variables; nothing is listed where that cannot be done.
    pub(super) fn read(functions: &[&str], variables: &[&str]) -> Self {
        let mut list = Self::default();
        each_symbol(|address, kind, name| {
            let is_among = |names: &[&str], name| names.iter().any(|asked| asked.as_bytes() == name);
            if FUNCTIONS.contains(&kind) {
                list.starts.push(address);
                if is_among(functions, original(name)) {
                    list.functions.push((address, text(name)));
                }
            } else if VARIABLES.contains(&kind) && is_among(variables, name) {
                list.variables.push((address, text(name)));
            }
        });
        list
    }

    /// Those of these functions that the running kernel or one of its modules has.
    pub(super) fn present<'a>(&self, names: &[&'a str]) -> Vec<&'a str> {
        let is_present = |name: &&str| self.functions.iter().any(|(_, function)| function == name);
        names.iter().copied().filter(is_present).collect()
    }

    /// Where these functions begin and end; zeros for those that the kernel does not have.
    pub(super) fn ranges(&self, names: &[&str]) -> Vec<[u64; 2]> {
        let range = |name: &&str| {
            let is_it = |(_, function): &&(u64, String)| {
                !is_apart(function) && original(function.as_bytes()) == name.as_bytes()
            };
            self.functions.iter().rfind(is_it).map_or([0; 2], |(start, _)| {
                let next = self.starts.iter().filter(|other| *other > start).min();
                [*start, *next.unwrap_or(start)]
            })
        };
        names.iter().map(range).collect()
    }

    /// Where these variables are; zeros unless all are listed.
    pub(super) fn variables<const N: usize>(&self, names: [&str; N]) -> [u64; N] {
        let found = names.map(|name| self.variables.iter().rfind(|(_, variable)| variable == name).map(|(at, _)| *at));
        if found.contains(&None) { [0; N] } else { found.map(Option::unwrap_or_default) }
    }
}

/// Goes through the kernel's list: the address, the kind and the name of each symbol. None where addresses are hidden.
fn each_symbol(mut see: impl FnMut(u64, u8, &[u8])) {
    let Ok(mut list) = File::open("/proc/kallsyms").map(BufReader::new) else { return };
    let mut line = Vec::new();
    while list.read_until(b'\n', &mut line).is_ok_and(|length| length > 0) {
        if let Some((address @ 1.., kind, name)) = symbol(&line) {
            see(address, kind, name);
        }
        line.clear();
    }
}

/// A line of the list: `ffffffff81000000 T _text`, and behind a tab the module. There are more than a hundred thousand: read as
/// text and its words they take longer than the kernel takes to write them.
fn symbol(line: &[u8]) -> Option<(u64, u8, &[u8])> {
    let (address, [b' ', kind, b' ', rest @ ..]) = line.split_at_checked(ADDRESS)? else { return None };
    // Letters are 9 behind their lowest bits.
    let address = address.iter().fold(0, |number, digit| number << 4 | u64::from((digit & 0xf) + 9 * (digit >> 6)));
    Some((address, *kind, rest.split(|byte| matches!(byte, b'\t' | b'\n')).next()?))
}

/// A function as its source has it: the compiler calls a version that it changed `name.isra.0`.
fn original(name: &[u8]) -> &[u8] {
    name.split(|byte| *byte == b'.').next().unwrap_or(name)
}

/// A name as text.
fn text(name: &[u8]) -> String {
    String::from_utf8_lossy(name).into_owned()
}

/// Whether it is the part of a function that the compiler has set apart.
fn is_apart(name: &str) -> bool {
    name.rsplit_once('.').is_some_and(|(_, part)| part == "cold")
}

/// Whether what a thread sends is copied to pages of its own, where it can be read afterwards: since Linux 5.16, which has
/// this function no more.
pub fn keeps_last_words() -> bool {
    let function = ["sk_stream_alloc_skb"];
    List::read(&function, &[]).present(&function).is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_function_is_known_by_an_address_within_it() {
        if !rustix::process::geteuid().is_root() {
            return eprintln!("skipped: only root sees where functions are");
        }
        let [[start, end]] = List::read(&["nf_hook_slow"], &[]).ranges(&["nf_hook_slow"])[..] else {
            panic!("one was asked for")
        };
        assert!(start < end);
        assert_eq!(Symbols::default().function(start + 1), Some("nf_hook_slow"));
        assert_eq!(Symbols::default().function(end - 1), Some("nf_hook_slow"));
    }
}
