//! `cargo xtask dist`: what a packager takes.

use crate::{process, stamp, workspace::Workspace};
use anyhow::{Context, Result, bail};
use std::{env, fs, path::Path, process::Command};

/// Files of the root that go with the binary.
const DOCUMENTS: [&str; 4] = ["README.md", "CHANGELOG.md", "LICENSE-APACHE", "LICENSE-MIT"];

/// Builds the release binary and packs it with man pages, completions and documents into `target/dist`.
pub(crate) fn run(workspace: &Workspace) -> Result<()> {
    process::run(&mut workspace.cargo([
        "build",
        "--release",
        "--locked",
        "--package=memmgr-user",
    ]))?;
    let binary = workspace.target.join("release/memmgr");
    let name = format!("memmgr-{}-{}-linux", env!("CARGO_PKG_VERSION"), env::consts::ARCH);
    let dist = workspace.target.join("dist");
    let folder = dist.join(&name);
    if folder.exists() {
        fs::remove_dir_all(&folder)
            .with_context(|| format!("cannot clear {}", folder.display()))?;
    }
    for what in ["man", "completions"] {
        let to = folder.join(what);
        fs::create_dir_all(&to).with_context(|| format!("cannot create {}", to.display()))?;
        process::run(Command::new(&binary).args(["generate", what]).arg(&to))?;
        let mut written =
            fs::read_dir(&to).with_context(|| format!("cannot read {}", to.display()))?;
        if written.next().is_none() {
            bail!("`memmgr generate {what}` wrote nothing into {}", to.display());
        }
    }
    process::run(Command::new("strip").arg("-o").arg(folder.join("memmgr")).arg(&binary))?;
    for document in DOCUMENTS {
        fs::copy(workspace.path(document), folder.join(document))
            .with_context(|| format!("cannot copy {document}"))?;
    }
    let archive = pack(&dist, &name, &epoch(workspace))?;
    println!("wrote {archive} in {}", dist.display());
    Ok(())
}

/// Packs a folder so that the same files give the same bytes, and writes the hash beside it.
fn pack(dist: &Path, name: &str, epoch: &str) -> Result<String> {
    let archive = format!("{name}.tar.gz");
    process::run(
        Command::new("tar")
            .args([
                "--create",
                "--gzip",
                "--sort=name",
                "--owner=0",
                "--group=0",
                "--numeric-owner",
            ])
            .args(["--mode=u=rwX,go=rX", &format!("--mtime=@{epoch}"), "--file", &archive, name])
            .current_dir(dist),
    )?;
    let bytes = fs::read(dist.join(&archive)).with_context(|| format!("cannot read {archive}"))?;
    let hash = format!("{archive}.sha256");
    fs::write(dist.join(&hash), format!("{}  {archive}\n", stamp::hash(&bytes)))
        .with_context(|| format!("cannot write {hash}"))?;
    Ok(archive)
}

/// The time in the archive, in seconds since 1970: the packager's, or that of the last commit.
fn epoch(workspace: &Workspace) -> String {
    env::var("SOURCE_DATE_EPOCH").unwrap_or_else(|_| {
        let mut git = Command::new("git");
        git.args(["log", "-1", "--format=%ct"]).current_dir(&workspace.root);
        process::output(&mut git).map_or_else(|_| "0".to_owned(), |time| time.trim().to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_files_give_the_same_archive() {
        let dist = env::temp_dir().join(format!("memmgr-dist-{}", std::process::id()));
        let pack = |seconds: u64| {
            let folder = dist.join("name");
            fs::create_dir_all(&folder).unwrap();
            let file = fs::File::create(folder.join("README.md")).unwrap();
            file.set_modified(std::time::UNIX_EPOCH + std::time::Duration::from_secs(seconds))
                .unwrap();
            pack(&dist, "name", "1000").unwrap();
            fs::read_to_string(dist.join("name.tar.gz.sha256")).unwrap()
        };
        let (first, second) = (pack(5000), pack(9000));
        fs::remove_dir_all(&dist).unwrap();
        assert_eq!(first, second);
        assert!(first.ends_with("  name.tar.gz\n"), "{first}");
    }
}
