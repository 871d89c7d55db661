//! What the committed eBPF object was built from and with: the lock file beside it.
//!
//! Standard library only: `build.rs` and `cargo xtask ebpf` both include this file by its path.

use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};

/// What the object is built from, relative to the workspace; a directory stands for every file below it.
pub(crate) const SOURCES: [&str; 4] =
    ["redis-trace-common/Cargo.toml", "redis-trace-common/src", "redis-trace-ebpf/Cargo.toml", "redis-trace-ebpf/src"];

/// The lock file: one `key = "value"` a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Lock {
    /// Digest of the sources that the object was built from.
    pub(crate) sources: String,
    /// Digest of the object itself.
    pub(crate) object: String,
    /// The programs that built it, with their versions, in the order of the build.
    pub(crate) toolchain: Vec<(String, String)>,
}

impl Lock {
    /// Reads a lock file's text; `None` when it lacks a digest.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut entries: Vec<(String, String)> = text
            .lines()
            .filter_map(|line| line.split_once(" = "))
            .map(|(key, value)| (key.to_owned(), value.trim_matches('"').to_owned()))
            .collect();
        let mut take = |wanted: &str| {
            let at = entries.iter().position(|(key, _)| key == wanted)?;
            Some(entries.remove(at).1)
        };
        let (sources, object) = (take("sources")?, take("object")?);
        Some(Self { sources, object, toolchain: entries })
    }
}

/// The digest of everything the object is built from; `None` where the sources are not there, as in a packaged crate.
pub(crate) fn source_digest(workspace: &Path) -> io::Result<Option<String>> {
    let mut files = Vec::new();
    for source in SOURCES {
        let path = workspace.join(source);
        if !path.exists() {
            return Ok(None);
        }
        collect(&path, &mut files)?;
    }
    files.sort();
    let mut all = Vec::new();
    for file in files {
        let name = file.strip_prefix(workspace).map_err(io::Error::other)?;
        let bytes = std::fs::read(&file)?;
        // Name and length go in too, so that moving a line from one file to the next is a change.
        all.extend_from_slice(format!("{}\n{}\n", name.display(), bytes.len()).as_bytes());
        all.extend_from_slice(&bytes);
    }
    Ok(Some(sha256(&all)))
}

/// Adds `path`, or every file below it, to `files`.
fn collect(path: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    if path.is_dir() {
        for entry in std::fs::read_dir(path)? {
            collect(&entry?.path(), files)?;
        }
    } else {
        files.push(path.to_owned());
    }
    Ok(())
}

/// SHA-256 (FIPS 180-4) in hexadecimal.
#[expect(clippy::cast_possible_truncation, reason = "only the low 32 bits of each root are the standard's constants")]
pub(crate) fn sha256(message: &[u8]) -> String {
    let primes: Vec<u128> = (2..=311).filter(|n| (2..*n).all(|divisor| n % divisor != 0)).collect();
    // 32 bits behind the point: of the square roots of the first 8 primes, and of the cube roots of the first 64.
    let mut state: Vec<u32> = primes.iter().take(8).map(|prime| (prime << 64).isqrt() as u32).collect();
    let constants: Vec<u32> = primes.iter().map(|prime| cube_root(prime << 96) as u32).collect();
    let mut padded = message.to_vec();
    padded.push(0x80);
    padded.resize((padded.len() + 8).next_multiple_of(64) - 8, 0);
    padded.extend_from_slice(&(message.len() as u64 * 8).to_be_bytes());
    for block in padded.chunks_exact(64) {
        compress(&mut state, &constants, block);
    }
    state.iter().fold(String::with_capacity(64), |mut hex, word| {
        let _ = write!(hex, "{word:08x}");
        hex
    })
}

/// The cube root of a number below 2^105, rounded down.
fn cube_root(number: u128) -> u128 {
    (0..35).rev().fold(0, |root, bit| {
        let larger = root | 1 << bit;
        if larger * larger * larger <= number { larger } else { root }
    })
}

/// Takes one block of 64 bytes into the state.
fn compress(state: &mut [u32], constants: &[u32], block: &[u8]) {
    let mut words: Vec<u32> =
        block.chunks_exact(4).map(|four| four.iter().fold(0, |word, byte| word << 8 | u32::from(*byte))).collect();
    for t in 16..64 {
        let (early, late) = (words[t - 15], words[t - 2]);
        let small0 = early.rotate_right(7) ^ early.rotate_right(18) ^ early >> 3;
        let small1 = late.rotate_right(17) ^ late.rotate_right(19) ^ late >> 10;
        words.push(words[t - 16].wrapping_add(small0).wrapping_add(words[t - 7]).wrapping_add(small1));
    }
    let mut v = state.to_vec();
    for (word, constant) in words.iter().zip(constants) {
        let big1 = v[4].rotate_right(6) ^ v[4].rotate_right(11) ^ v[4].rotate_right(25);
        let choice = v[4] & v[5] ^ !v[4] & v[6];
        let first = v[7].wrapping_add(big1).wrapping_add(choice).wrapping_add(*constant).wrapping_add(*word);
        let big0 = v[0].rotate_right(2) ^ v[0].rotate_right(13) ^ v[0].rotate_right(22);
        let majority = v[0] & v[1] ^ v[0] & v[2] ^ v[1] & v[2];
        v.rotate_right(1);
        v[4] = v[4].wrapping_add(first);
        v[0] = first.wrapping_add(big0).wrapping_add(majority);
    }
    for (total, value) in state.iter_mut().zip(v) {
        *total = total.wrapping_add(value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sha256_gives_the_digests_of_the_standard_s_examples() {
        let digests = [
            ("", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
            ("abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
            (
                "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
                "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1",
            ),
        ];
        for (message, digest) in digests {
            assert_eq!(sha256(message.as_bytes()), digest, "of {message:?}");
        }
    }

    #[test]
    fn a_lock_without_a_digest_is_no_lock() {
        assert_eq!(Lock::parse("sources = \"00\"\nrustc = \"1.96\"\n"), None);
        let lock = Lock::parse("# words\nsources = \"00\"\nobject = \"01\"\nrustc = \"1.96\"\n").expect("a whole lock");
        assert_eq!((lock.sources.as_str(), lock.object.as_str()), ("00", "01"));
        assert_eq!(lock.toolchain, [("rustc".to_owned(), "1.96".to_owned())]);
    }
}
