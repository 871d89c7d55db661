//! The kernels of the test machines: found in Debian's suites, fetched with apt, kept in a cache.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use super::modules;
use crate::apt::{Apt, unpack};

/// The archive of a kernel's modules; the number grows with the list of them, so that none is kept that lacks some.
const MODULES: &str = "modules-4.cpio";

/// A kernel series that redis-trace supports, and where Debian keeps it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Series {
    /// What `--kernel` calls it.
    pub(crate) name: &'static str,
    /// A regular expression for the packages that hold its image.
    packages: &'static str,
}

/// Every series that must pass, oldest first.
pub(crate) const SERIES: [Series; 5] = [
    Series { name: "5.10", packages: r"^linux-image-5\.10\..*-cloud-amd64$" },
    Series { name: "6.1", packages: r"^linux-image-6\.1\..*-cloud-amd64$" },
    Series { name: "6.12", packages: r"^linux-image-6\.12\..*-cloud-amd64$" },
    Series { name: "6.18", packages: r"^linux-image-6\.18\..*-cloud-amd64$" },
    // Since 6.19 linux-image is an empty shell around linux-binary and linux-modules.
    Series { name: "7.x", packages: r"^linux-binary-7\..*-cloud-amd64$" },
];

/// A kernel that can be booted.
#[derive(Clone, Debug)]
pub(crate) struct Kernel {
    /// What `--kernel` calls its series.
    pub(crate) name: &'static str,
    /// The image to boot.
    pub(crate) image: PathBuf,
    /// An archive of the modules that tests need.
    pub(crate) modules: PathBuf,
}

/// The kernels kept on this machine.
pub(crate) struct Cache(PathBuf);

impl Cache {
    /// Opens the cache in `REDIS_TRACE_VM_CACHE`, which clones may share, or below the target directory.
    pub(crate) fn open(workspace: &Path) -> Result<Self> {
        let directory =
            std::env::var_os("REDIS_TRACE_VM_CACHE").map_or_else(|| workspace.join("target/vm-cache"), PathBuf::from);
        fs::create_dir_all(&directory).with_context(|| format!("cannot create {}", directory.display()))?;
        let directory = directory.canonicalize().with_context(|| format!("cannot resolve {}", directory.display()))?;
        Ok(Self(directory))
    }

    /// Where it is.
    pub(crate) fn directory(&self) -> &Path {
        &self.0
    }

    /// The newest kernels of the series, fetched unless they are here.
    pub(crate) fn kernels(&self, series: &[Series]) -> Result<Vec<Kernel>> {
        let missing: Vec<Series> = series.iter().copied().filter(|series| self.kept(*series).is_none()).collect();
        if !missing.is_empty() {
            let apt = Apt::open(&self.0)?;
            missing.iter().try_for_each(|series| self.fetch(*series, &apt))?;
        }
        let kept = |series: &Series| {
            self.kept(*series)
                .with_context(|| format!("kernel {} is not in {} after fetching it", series.name, self.0.display()))
        };
        series.iter().map(kept).collect()
    }

    /// The kernel of a series, if it is kept.
    fn kept(&self, series: Series) -> Option<Kernel> {
        let kernel = Kernel {
            name: series.name,
            image: self.0.join(series.name).join("vmlinuz"),
            modules: self.0.join(series.name).join(MODULES),
        };
        (kernel.image.is_file() && kernel.modules.is_file()).then_some(kernel)
    }

    /// Downloads and unpacks the newest kernel of a series.
    fn fetch(&self, series: Series, apt: &Apt) -> Result<()> {
        let image = newest(series, apt)?;
        println!("vm: fetching {image}");
        let work = self.0.join(format!("{}.{}", series.name, std::process::id()));
        let tree = work.join("tree");
        fs::create_dir_all(&tree).with_context(|| format!("cannot create {}", tree.display()))?;
        let mut packages = vec![image.clone()];
        packages.extend(image.strip_prefix("linux-binary-").map(|rest| format!("linux-modules-{rest}")));
        apt.download(&packages, &work)?;
        unpack(&work, &tree)?;
        let release = image.splitn(3, '-').nth(2).context("a kernel's package is named after its release")?;
        fs::copy(find_image(&tree, release)?, work.join("vmlinuz"))?;
        modules::pack(&tree, release, &work.join(MODULES))?;
        fs::remove_dir_all(&tree)?;
        // One that was packed with fewer modules makes room.
        let kept = self.0.join(series.name);
        if kept.is_dir() && !kept.join(MODULES).is_file() {
            fs::remove_dir_all(&kept)?;
        }
        // Whole or not at all: another clone may share this cache. The later one's rename fails, and does not matter.
        if fs::rename(&work, self.0.join(series.name)).is_err() {
            fs::remove_dir_all(&work)?;
        }
        Ok(())
    }
}

/// Where a package keeps the image: /boot, or since 6.19 beside the modules.
fn find_image(tree: &Path, release: &str) -> Result<PathBuf> {
    let places = [format!("boot/vmlinuz-{release}"), format!("usr/lib/modules/{release}/vmlinuz")];
    let found = places.iter().map(|place| tree.join(place)).find(|place| place.is_file());
    found.with_context(|| format!("the packages of kernel {release} hold no image at {}", places.join(" or ")))
}

/// The newest image package of a series.
fn newest(series: Series, apt: &Apt) -> Result<String> {
    let names = apt.named(series.packages)?;
    let newest = names.into_iter().filter(|name| !name.contains("rc")).max_by_key(|name| numbers(name));
    newest.with_context(|| format!("Debian's suites hold no package {}", series.packages))
}

/// The numbers in a package's name, in order: what makes one newer than the next.
fn numbers(name: &str) -> Vec<u64> {
    name.split(|c: char| !c.is_ascii_digit()).filter_map(|digits| digits.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::numbers;

    #[test]
    fn a_two_digit_version_is_newer_than_a_one_digit_one() {
        assert!(numbers("linux-image-6.12.117+deb13-cloud-amd64") > numbers("linux-image-6.12.9+deb13-cloud-amd64"));
        assert!(numbers("linux-image-5.10.0-32-cloud-amd64") > numbers("linux-image-5.10.0-9-cloud-amd64"));
    }
}
