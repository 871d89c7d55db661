//! apt with a state of its own: packages of several of Debian's suites, downloaded and unpacked aside. What this machine has
//! installed stays untouched, and signatures are checked all the same.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::run::{output, run};

/// The suites that hold what is fetched.
const SUITES: [&str; 4] = ["bullseye", "bookworm", "trixie", "trixie-backports"];

/// apt, which knows these suites and nothing else.
pub(crate) struct Apt {
    /// Its configuration file.
    configuration: PathBuf,
}

impl Apt {
    /// Prepares the state below `directory` and reads what the suites hold now.
    pub(crate) fn open(directory: &Path) -> Result<Self> {
        let state = directory.join("apt");
        for place in ["lists/partial", "cache/archives/partial"] {
            fs::create_dir_all(state.join(place)).with_context(|| format!("cannot create {}", state.display()))?;
        }
        let mirror = mirror()?;
        let keyring = "/usr/share/keyrings/debian-archive-keyring.gpg";
        let sources =
            SUITES.map(|suite| format!("deb [arch=amd64 signed-by={keyring}] {mirror} {suite} main\n")).concat();
        fs::write(state.join("sources.list"), sources)?;
        let at = state.display();
        let configuration = format!(
            "Dir::Etc::SourceList \"{at}/sources.list\";\nDir::Etc::SourceParts \"-\";\n\
             Dir::State::Lists \"{at}/lists\";\nDir::Cache \"{at}/cache\";\nAcquire::Languages \"none\";\n\
             Acquire::IndexTargets::deb::DEP-11::DefaultEnabled \"false\";\nAPT::Sandbox::User \"root\";\n"
        );
        fs::write(state.join("apt.conf"), configuration)?;
        let apt = Self { configuration: state.join("apt.conf") };
        run(apt.command("apt-get").args(["--quiet", "update"]))?;
        Ok(apt)
    }

    /// A command of apt's, in this state.
    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env("APT_CONFIG", &self.configuration);
        command
    }

    /// The packages of all suites whose names are like this regular expression.
    pub(crate) fn named(&self, expression: &str) -> Result<Vec<String>> {
        let found = output(self.command("apt-cache").args(["search", "--names-only", expression]))?;
        Ok(found.lines().filter_map(|line| line.split(' ').next()).map(str::to_owned).collect())
    }

    /// Downloads packages into a directory.
    pub(crate) fn download(&self, packages: &[String], directory: &Path) -> Result<()> {
        run(self.command("apt-get").args(["--quiet", "download"]).args(packages).current_dir(directory))
    }

    /// Downloads a suite's packages into a directory, and all that they need, as if this machine had nothing of it.
    pub(crate) fn download_whole(&self, suite: &str, packages: &[&str], directory: &Path) -> Result<()> {
        fs::create_dir_all(directory.join("partial"))?;
        let nothing = directory.join("status");
        fs::write(&nothing, "")?;
        let option = |name: &str, path: &Path| ["--option".to_owned(), format!("{name}={}", path.display())];
        let mut install = self.command("apt-get");
        install.args(["--quiet", "--yes", "--no-install-recommends", "--download-only", "--target-release", suite]);
        install.args(option("Dir::State::status", &nothing)).args(option("Dir::Cache::archives", directory));
        run(install.arg("install").args(packages))
    }
}

/// Unpacks all packages of a directory into a tree, and removes them.
pub(crate) fn unpack(directory: &Path, tree: &Path) -> Result<()> {
    for package in fs::read_dir(directory)?.collect::<std::io::Result<Vec<_>>>()? {
        if package.path().extension().is_some_and(|extension| extension == "deb") {
            run(Command::new("dpkg-deb").arg("-x").arg(package.path()).arg(tree))?;
            fs::remove_file(package.path())?;
        }
    }
    Ok(())
}

/// The Debian mirror that this machine itself uses.
fn mirror() -> Result<String> {
    let configured = || {
        let format = "$(REPO_URI) $(ORIGIN) $(LABEL)";
        output(Command::new("apt-get").args(["indextargets", "--format", format, "Created-By: Packages"]))
    };
    let mut targets = configured()?;
    if targets.is_empty() {
        run(Command::new("apt-get").args(["--quiet", "update"]))?;
        targets = configured()?;
    }
    let main = targets.lines().find_map(|line| line.strip_suffix(" Debian Debian"));
    match main {
        Some(mirror) => Ok(mirror.to_owned()),
        None => bail!("this machine's apt sources name no Debian mirror to take packages from.\n  try   a Debian host"),
    }
}
