//! The live table in a real terminal, which tmux gives: what it shows of what really happens, keys, sizes, and its end.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::fs::OpenOptionsExt as _;
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::OFlags;
use rustix::net::{AddressFamily, SocketType, bind, connect, getsockname, listen, socket};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// How long a screen may take to show something, on a slow machine too.
const PATIENCE: Duration = Duration::from_mins(2);

/// A terminal of tmux's, and the server that gives it; gone when this value is.
struct Terminal {
    home: TempDir,
    /// What is written to the terminal: tells when to look again.
    written: fs::File,
}

impl Terminal {
    /// Starts the table with these arguments.
    fn start(arguments: &str) -> Self {
        Self::of(&format!("top --color never {arguments}"))
    }

    /// Starts the program with these arguments under a shell that says how it ended, and how the terminal then is.
    fn of(arguments: &str) -> Self {
        assert!(rustix::process::geteuid().is_root(), "probes are loaded: run the tests as root");
        let home = TempDir::new().expect("a directory");
        let file = |name: &str| home.path().join(name).display().to_string();
        let (pid, pipe, program) = (file("pid"), file("written"), env!("CARGO_BIN_EXE_redis-trace"));
        let made = Command::new("mkfifo").arg(&pipe).status().expect("mkfifo starts");
        assert!(made.success(), "no pipe could be made");
        // Open at both ends, so that neither end waits for the other.
        let mut options = fs::OpenOptions::new();
        let options =
            options.read(true).write(true).custom_flags(i32::try_from(OFlags::NONBLOCK.bits()).expect("flags"));
        let written = options.open(&pipe).expect("the pipe");
        let terminal = Self { home, written };
        let script = format!(
            "echo before; read go; sh -c 'echo $$ > {pid}; exec {program} {arguments}'; \
             echo ended with $?; stty -a | grep -o -w -e '-*icanon' -e '-*echo' | tr '\\n' ' '; echo is the terminal; cat"
        );
        terminal.tmux(&["-f", "/dev/null", "new-session", "-d", "-s", "top", "-x", "110", "-y", "30", &script]);
        terminal.tmux(&["pipe-pane", "-t", "top", "-O", &format!("cat > {pipe}")]);
        terminal.press(&["go", "Enter"]);
        terminal
    }

    fn tmux(&self, arguments: &[&str]) -> String {
        let socket = self.home.path().join("tmux");
        let output = Command::new("tmux").arg("-S").arg(socket).args(arguments).output().expect("tmux is installed");
        assert!(output.status.success(), "tmux {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn press(&self, keys: &[&str]) {
        self.tmux(&[&["send-keys", "-t", "top"], keys].concat());
    }

    fn size(&self, columns: u16, lines: u16) {
        self.tmux(&["resize-window", "-t", "top", "-x", &columns.to_string(), "-y", &lines.to_string()]);
    }

    /// Looks whenever something was written until the screen is as wanted; how it is then.
    fn wait(&self, wanted: &str, is_so: impl Fn(&str) -> bool) -> String {
        let end = Instant::now() + PATIENCE;
        loop {
            let screen = self.tmux(&["capture-pane", "-p", "-t", "top"]);
            if is_so(&screen) {
                return screen;
            }
            let left = Timespec::try_from(end.saturating_duration_since(Instant::now())).expect("a time");
            let ready = poll(&mut [PollFd::new(&self.written, PollFlags::IN)], Some(&left)).expect("the pipe is heard");
            assert!(ready > 0, "waited in vain for {wanted} on:\n{screen}");
            let mut bytes = [0; 8_192];
            rustix::io::read(&self.written, &mut bytes).expect("what was written");
        }
    }

    /// Waits until the screen says all of this.
    fn says(&self, words: &[&str]) -> String {
        self.wait(&format!("{words:?}"), |screen| words.iter().all(|word| screen.contains(word)))
    }

    /// The table itself.
    fn pid(&self) -> Pid {
        let pid = fs::read_to_string(self.home.path().join("pid")).expect("it was started");
        Pid::from_raw(pid.trim().parse().expect("a number")).expect("a process")
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let socket = self.home.path().join("tmux");
        let _ = Command::new("tmux").arg("-S").arg(socket).arg("kill-server").output();
    }
}

/// Dials a port of this host on which nobody listens, from an address of this test's own.
fn refused(from: Ipv4Addr) {
    let client = socket(AddressFamily::INET, SocketType::STREAM, None).expect("a socket");
    bind(&client, &SocketAddr::from((from, 0))).expect("an address of this host");
    connect(&client, &SocketAddr::from((Ipv4Addr::LOCALHOST, 1))).expect_err("nobody listens there");
}

/// The cells of the line that says this.
fn row<'a>(screen: &'a str, word: &str) -> Vec<&'a str> {
    let line = screen.lines().find(|line| line.contains(word)).unwrap_or_else(|| panic!("no {word} on:\n{screen}"));
    line.split_whitespace().collect()
}

#[test]
fn what_happens_is_shown_worst_first_and_keys_and_sizes_are_obeyed() {
    let from = Ipv4Addr::new(127, 77, 0, 21);
    let terminal = Terminal::start("--from 127.77.0.21");
    terminal.says(&["redis-trace top", "only --from", "nobody was refused yet", "LISTENER", "q end"]);
    let full = socket(AddressFamily::INET, SocketType::STREAM, None).expect("a socket");
    bind(&full, &SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).expect("a free port");
    listen(&full, 5).expect("it listens");
    let address: SocketAddr = getsockname(&full).expect("a name").try_into().expect("an internet address");
    let waiting: Vec<TcpStream> = (0..6).map(|_| TcpStream::connect(address).expect("there is room")).collect();
    (0..3).for_each(|_| refused(from));

    let place = address.to_string();
    terminal.says(&["RT1001", &place, "6/5", "FULL", "3 refusals"]);
    let three = |screen: &str| row(screen, "RT1001 no-listener")[3] == "3";
    let screen = terminal.wait("a count of 3", three);
    let listeners = screen.split_once("LISTENER").expect("the listeners").1;
    assert_eq!(row(listeners, ":")[..3], [place.as_str(), "6/5", "FULL"], "the fullest is first:\n{screen}");
    assert!(listeners.lines().nth(1).is_some_and(|first| first.contains(&place)), "it is the first line:\n{screen}");
    assert!(screen.contains("nothing listens on 127.0.0.1:1"), "why, for the one that is selected:\n{screen}");
    assert!(screen.contains("lost 0"), "{screen}");

    let is_ours = |screen: &str| screen.lines().any(|line| line.contains(&place) && line.contains("top-"));
    terminal.wait("whose listener it is", is_ours);

    (0..7).for_each(|_| refused(from));
    let ten = |screen: &str| screen.lines().any(|line| line.contains("RT1001") && line.contains(" 10 "));
    terminal.wait("a count of 10", ten);

    terminal.press(&["/"]);
    terminal.press(&["-l", &place]);
    let screen = terminal.says(&[&format!("/{place}"), "no cause says that"]);
    assert!(screen.contains("6/5") && !screen.contains("RT1001"), "only what says that is shown:\n{screen}");
    terminal.press(&["Enter"]);
    terminal.says(&[&format!("filter: {place}")]);
    terminal.press(&["Escape"]);
    terminal.says(&["RT1001", "/ filter   "]);

    terminal.press(&["?"]);
    let screen = terminal.says(&["Any key goes back."]);
    assert!(!screen.contains("RT1001"), "the help has the screen:\n{screen}");
    terminal.press(&["x"]);
    terminal.says(&["RT1001"]);

    terminal.size(60, 14);
    let narrow = |screen: &str| screen.contains("RT1001") && screen.contains(&place) && !screen.contains("NETNS");
    let screen = terminal.wait("a narrower table", narrow);
    assert!(screen.lines().count() <= 14 && screen.lines().all(|line| line.chars().count() <= 60), "{screen}");
    terminal.size(110, 30);
    terminal.says(&["NETNS", "WHO"]);

    drop(waiting);
    terminal.press(&["q"]);
    let screen = terminal.says(&["before", "ended with 0", "icanon echo is the terminal", "10 refusals"]);
    assert!(!screen.contains("LISTENER") && !screen.contains("-icanon"), "the screen is as it was:\n{screen}");
}

#[test]
fn sigterm_and_control_c_give_the_terminal_back() {
    let terminal = Terminal::start("--port 1");
    terminal.says(&["LISTENER", "q end"]);
    kill_process(terminal.pid(), Signal::TERM).expect("it lives");
    let screen = terminal.says(&["before", "ended with 0", "icanon echo is the terminal"]);
    assert!(!screen.contains("LISTENER"), "{screen}");

    let terminal = Terminal::start("--port 1");
    terminal.says(&["LISTENER", "q end"]);
    terminal.press(&["C-c"]);
    terminal.says(&["before", "ended with 0", "icanon echo is the terminal"]);
}

#[test]
fn a_panic_gives_the_terminal_back_before_it_says_what_it_is() {
    let terminal = Terminal::of("demo-actor panic-on-screen");
    let screen = terminal.says(&["taken"]);
    assert!(!screen.contains("before"), "it has the screen to itself:\n{screen}");
    terminal.press(&["x"]);
    let screen = terminal.says(&["before", "the screen was taken", "ended with 70", "icanon echo is the terminal"]);
    assert!(!screen.contains("taken\n") && !screen.contains("-icanon"), "the screen is as it was:\n{screen}");
}

#[test]
fn without_a_terminal_it_says_what_to_do_instead() {
    let output = Command::new(env!("CARGO_BIN_EXE_redis-trace")).arg("top").output().expect("it starts");
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("redis-trace watch"), "{output:?}");
}
