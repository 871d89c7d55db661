//! Keeps the facts of a run in a file.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use crate::failure::{Exit, Failure};
use crate::sink::Sink;
use crate::sink::pcapng::Pcapng;
use crate::trace::fact::Fact;
use crate::trace::recording::{Header, line};

/// A recording that is being made.
pub struct Recorder {
    path: PathBuf,
    file: BufWriter<File>,
    fault: Option<io::Error>,
    /// The recordings before this one are.
    were_whole: bool,
    packets: Option<Pcapng>,
}

/// A new file, readable by its owner alone.
fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

/// A new file, or why there is none.
fn create(path: &Path) -> Result<File, Failure> {
    open(path).map_err(|why| {
        Failure::new(Exit::Usage, format!("cannot create the file {}: {why}", path.display()))
            .attempt("another file name; an existing file is never overwritten")
    })
}

/// A new file for the packets of what is refused.
pub fn packets(path: &Path) -> Result<Pcapng, Failure> {
    Ok(Pcapng::new(BufWriter::new(create(path)?)))
}

impl Recorder {
    /// Creates the file, and one for packets where that is wanted.
    pub fn create(path: &Path, packets: Option<&Path>) -> Result<Self, Failure> {
        let file = create(path)?;
        let packets = packets.map(self::packets).transpose()?;
        let mut recorder =
            Self { path: path.to_owned(), file: BufWriter::new(file), fault: None, were_whole: true, packets };
        recorder.begin();
        Ok(recorder)
    }

    /// The recording was moved away: another begins in its place, with these facts. The fault of the one before is not its.
    pub fn reopen(&mut self, facts: &[Fact]) {
        match open(&self.path) {
            Err(why) => {
                let path = self.path.display();
                eprintln!("{path} cannot be begun anew, the recording goes on as it was: {why}");
            }
            Ok(file) => {
                self.settle();
                self.file = BufWriter::new(file);
                self.were_whole &= self.fault.take().is_none();
                self.begin();
                for fact in facts {
                    self.keep(fact);
                }
                eprintln!("{} is begun anew", self.path.display());
            }
        }
    }

    /// Writes the first line.
    fn begin(&mut self) {
        let kernel = rustix::system::uname().release().to_string_lossy().into_owned();
        self.write(line(&Header::new(&kernel)));
    }

    /// Where it is.
    pub fn directory(&self) -> PathBuf {
        let parent = self.path.parent().filter(|parent| !parent.as_os_str().is_empty());
        parent.unwrap_or(Path::new(".")).to_owned()
    }

    /// Keeps a fact. After the first fault of the disk nothing more is kept, and what was is good.
    pub fn keep(&mut self, fact: &Fact) {
        if self.fault.is_none() {
            self.write(line(fact));
        }
    }

    /// Ends the recording; false when it is not whole, which was said when it happened.
    pub fn finish(mut self) -> bool {
        self.settle();
        let are_whole = self.packets.as_ref().is_none_or(Pcapng::finish);
        self.is_whole() && are_whole
    }

    /// What keeps the packets of what is refused, where that is wanted.
    pub fn packets(&self) -> Option<Box<dyn Sink>> {
        self.packets.clone().map(|packets| Box::new(packets) as Box<dyn Sink>)
    }

    /// Everything so far was kept.
    pub fn is_whole(&self) -> bool {
        self.were_whole && self.fault.is_none() && self.packets.as_ref().is_none_or(Pcapng::is_whole)
    }

    /// Waits until the disk has what was written: only then it says whether it could keep it.
    fn settle(&mut self) {
        if let Err(why) = self.file.flush().and_then(|()| self.file.get_ref().sync_data()) {
            self.fail(why);
        }
    }

    fn write(&mut self, line: io::Result<Vec<u8>>) {
        if let Err(why) = line.and_then(|line| self.file.write_all(&line)) {
            self.fail(why);
        }
    }

    fn fail(&mut self, why: io::Error) {
        if self.fault.is_none() {
            eprintln!("the recording ends here, watching goes on: {why}");
            self.fault = Some(why);
        }
    }
}
