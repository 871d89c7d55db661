//! A disk that fails when it is told to: a FUSE file system of one new file. include/uapi/linux/fuse.h has the messages.

use std::fs::File;
use std::io::{ErrorKind, Read as _, Write as _};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use rustix::io::Errno;

/// Operations that are answered.
const LOOKUP: u32 = 1;
const FORGET: u32 = 2;
const GETATTR: u32 = 3;
const WRITE: u32 = 16;
const RELEASE: u32 = 18;
const FSYNC: u32 = 20;
const FLUSH: u32 = 25;
const INIT: u32 = 26;
const CREATE: u32 = 35;
const INTERRUPT: u32 = 36;

/// Sizes of `fuse_in_header` and of `fuse_write_in`, after which the bytes come.
const HEADER: usize = 40;
const WRITE_HEADER: usize = 40;

/// The number of the root, and of its file.
const ROOT: u64 = 1;
const FILE: u64 = 2;

/// What a disk does, and has.
#[derive(Default)]
pub(crate) struct Disk {
    /// It takes no more.
    pub(crate) is_broken: AtomicBool,
    /// What it took it could not keep.
    pub(crate) forgets: AtomicBool,
    /// What it took.
    pub(crate) taken: Mutex<Vec<u8>>,
}

impl Disk {
    /// Serves whoever mounts this connection until he has unmounted it.
    pub(crate) fn serve(mut connection: File) -> Arc<Self> {
        let disk = Arc::<Self>::default();
        let served = Arc::clone(&disk);
        thread::spawn(move || {
            let mut request = vec![0; 1 << 20];
            loop {
                let length = match connection.read(&mut request) {
                    Ok(length) => length,
                    // It is not mounted yet.
                    Err(why) if why.kind() == ErrorKind::PermissionDenied => {
                        thread::yield_now();
                        continue;
                    }
                    Err(_) => return,
                };
                if let Some(answer) = served.answer(&request[..length]) {
                    // Whoever asked may have been interrupted.
                    let _ = connection.write_all(&answer);
                }
            }
        });
        disk
    }

    /// The answer to a request; some have none.
    fn answer(&self, request: &[u8]) -> Option<Vec<u8>> {
        let operation = u32::from_ne_bytes(request[4..8].try_into().expect("four bytes"));
        let node = u64::from_ne_bytes(request[16..24].try_into().expect("eight bytes"));
        let answer = match operation {
            FORGET | INTERRUPT => return None,
            INIT => Ok([&words(&[7, 31, 0, 0, 0, 1 << 16, 1]), &[0; 36][..]].concat()),
            GETATTR => Ok([&[0; 16][..], &attributes(node)].concat()),
            LOOKUP => Err(Errno::NOENT),
            // The entry, and a file whose writes are not cached.
            CREATE => Ok([&FILE.to_ne_bytes()[..], &[0; 32], &attributes(FILE), &words(&[0, 0, 1, 0])].concat()),
            WRITE if self.is_broken.load(Ordering::Relaxed) => Err(Errno::IO),
            WRITE => {
                let bytes = &request[HEADER + WRITE_HEADER..];
                self.taken.lock().expect("nobody panics with it").extend(bytes);
                Ok(words(&[u32::try_from(bytes.len()).expect("a small one"), 0]))
            }
            FSYNC if self.forgets.load(Ordering::Relaxed) => Err(Errno::IO),
            FSYNC | FLUSH | RELEASE => Ok(Vec::new()),
            _ => Err(Errno::NOSYS),
        };
        let (error, body) = answer.map_or_else(|why| (-why.raw_os_error(), Vec::new()), |body| (0, body));
        let length = u32::try_from(16 + body.len()).expect("a small one");
        Some([&length.to_ne_bytes()[..], &error.to_ne_bytes(), &request[8..16], &body].concat())
    }
}

/// `fuse_attr` of the root, which is a directory, or of the file.
fn attributes(node: u64) -> Vec<u8> {
    let mode = if node == ROOT { 0o040_755 } else { 0o100_600 };
    [&node.to_ne_bytes()[..], &[0; 52], &words(&[mode, 1, 0, 0, 0, 4096, 0])].concat()
}

fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_ne_bytes()).collect()
}
