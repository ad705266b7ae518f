//! Debian's kernel packages: found in apt's lists, downloaded and unpacked, never installed.

use crate::process;
use anyhow::{Context, Result, bail};
use std::{
    fmt, fs,
    path::{Path, PathBuf},
    process::Command,
    str::FromStr,
};

/// Two numbers of a kernel version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Series(pub(super) u32, pub(super) u32);

impl Series {
    /// The way to attach that a kernel of this series must take. Not the program's own table: a
    /// wrong entry there is to be found out.
    pub(super) fn rung(self) -> &'static str {
        match self {
            series if series >= Series(6, 13) => "session",
            series if series >= Series(6, 10) => "multi",
            _ => "perf",
        }
    }
}

impl FromStr for Series {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.split_once('.')
            .and_then(|(major, minor)| Some(Series(major.parse().ok()?, minor.parse().ok()?)))
            .ok_or("a kernel series looks like 6.1")
    }
}

impl fmt::Display for Series {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.0, self.1)
    }
}

/// A kernel to boot.
pub(super) struct Kernel {
    /// As `uname -r` says it.
    pub(super) release: String,
    /// The compressed kernel.
    pub(super) image: PathBuf,
}

/// Downloads and unpacks the newest kernel of a series, unless it is below `folder` already. Root, who
/// may, brings apt's lists up to date when they name no kernel or one that is gone.
pub(super) fn get(series: Series, folder: &Path) -> Result<Kernel> {
    newest_known(series, folder).or_else(|why| {
        if !rustix::process::geteuid().is_root() {
            return Err(why);
        }
        process::output(Command::new("apt-get").args(["update", "--quiet=2"]))?;
        newest_known(series, folder)
    })
}

/// The newest kernel that apt's lists name.
fn newest_known(series: Series, folder: &Path) -> Result<Kernel> {
    let names = process::output(
        Command::new("apt-cache").args(["pkgnames", &format!("linux-image-{series}.")]),
    )
    .context("kernels come from Debian's packages")?;
    let Some(release) = newest(&names, series) else {
        bail!("apt knows no package of it: run `apt-get update`, or take a Debian that offers it");
    };
    let kernel = folder.join(&release);
    let image = kernel.join(format!("boot/vmlinuz-{release}"));
    if !image.is_file() {
        // Unpacked aside and renamed, so that what is there is whole.
        let aside = folder.join(format!("{release}.part"));
        if aside.exists() {
            fs::remove_dir_all(&aside)
                .with_context(|| format!("cannot clear {}", aside.display()))?;
        }
        fs::create_dir_all(&aside).with_context(|| format!("cannot create {}", aside.display()))?;
        let package = format!("linux-image-{release}");
        // Root's apt would change to another user, who may not write here.
        process::output(
            Command::new("apt-get")
                .args(["download", "--quiet=2", "-oAPT::Sandbox::User=root", &package])
                .current_dir(&aside),
        )?;
        let archive = fs::read_dir(&aside)?.next().context("apt-get downloaded nothing")??.path();
        process::output(Command::new("dpkg-deb").arg("--extract").arg(&archive).arg(&aside))?;
        fs::remove_file(&archive)?;
        fs::rename(&aside, &kernel).with_context(|| format!("cannot make {}", kernel.display()))?;
    }
    if !image.is_file() {
        bail!("its package has no {}", image.display());
    }
    Ok(Kernel { release, image })
}

/// The newest release of a series among package names. The kernels for clouds have everything that
/// a guest needs built in and are a third of the size.
fn newest(names: &str, series: Series) -> Option<String> {
    let prefix = format!("linux-image-{series}.");
    names
        .lines()
        .filter(|name| name.starts_with(&prefix) && name.ends_with("-cloud-amd64"))
        .filter_map(|name| name.strip_prefix("linux-image-"))
        .max_by_key(|release| numbers(release))
        .map(str::to_owned)
}

/// The numbers in a release, in their order.
fn numbers(release: &str) -> Vec<u64> {
    release.split(|c: char| !c.is_ascii_digit()).filter_map(|part| part.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn newest_is_by_number() {
        let names = "linux-image-6.1.0-9-cloud-amd64\n\
            linux-image-6.1.0-56-cloud-amd64\n\
            linux-image-6.1.0-57-cloud-amd64-unsigned\n\
            linux-image-6.1.0-58-cloud-amd64-dbg\n\
            linux-image-6.1.0-59-amd64\n\
            linux-image-6.12-cloud-amd64\n\
            linux-image-6.12.101+deb12-cloud-amd64\n\
            linux-image-6.12.99+deb12-cloud-amd64\n";
        let check = |series: &str, expected: Option<&str>| {
            assert_eq!(newest(names, series.parse().unwrap()).as_deref(), expected, "{series}");
        };
        check("6.1", Some("6.1.0-56-cloud-amd64"));
        check("6.12", Some("6.12.101+deb12-cloud-amd64"));
        check("6.13", None);
        assert!(["6", "6.x", ""].iter().all(|text| text.parse::<Series>().is_err()));
    }
}
