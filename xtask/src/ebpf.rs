//! `cargo xtask ebpf`: the eBPF object, from source to the committed bytes.

use crate::{
    object, process,
    stamp::{self, Inputs, Stamp},
    toolchain::Toolchain,
    workspace::{self, Workspace},
};
use anyhow::{Context, Result, bail};
use std::{env, ffi::OsString, fs, path::PathBuf, process::Command};

/// The committed object, from the root.
pub(crate) const OBJECT: &str = "memmgr-ebpf/memmgr.bpf.o";
const STAMP: &str = "memmgr-ebpf/memmgr.bpf.stamp";
/// The last build, below the target directory.
const STRIPPED: &str = "ebpf/memmgr.bpf.o";
const TARGET: &str = "bpfel-unknown-none";

/// Compiler flags besides the remapped paths. bpf-linker makes BTF from the debug information;
/// v3 is the instruction set of kernel 5.1 and later, with 32-bit arithmetic and jumps.
const FLAGS: [&str; 4] =
    ["-Cdebuginfo=2", "-Ctarget-cpu=v3", "-Clink-arg=--btf", "--cfg=bpf_target_arch=\"x86_64\""];

/// Variables that would change the bytes or the place of the output.
const DISTURBING: [&str; 6] = [
    "RUSTFLAGS",
    "CARGO_BUILD_",
    "CARGO_PROFILE_",
    "CARGO_TARGET_",
    "CARGO_ENCODED_RUSTFLAGS",
    "RUSTC_",
];

/// Options of `cargo xtask ebpf`.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Write nothing: fail when the committed object is not what the sources give
    #[arg(long)]
    check: bool,
}

/// Builds the object and its stamp, or checks the committed ones.
pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<()> {
    if options.check {
        return check(workspace);
    }
    Toolchain::install_linker(workspace)?;
    let toolchain = Toolchain::find(workspace)?;
    let object = build(workspace, &toolchain)?;
    let stamp = Stamp {
        inputs: Inputs::of(workspace, &FLAGS)?,
        versions: toolchain.versions,
        object: stamp::hash(&object),
    };
    fs::write(workspace.path(OBJECT), &object).with_context(|| format!("cannot write {OBJECT}"))?;
    fs::write(workspace.path(STAMP), stamp.to_string())
        .with_context(|| format!("cannot write {STAMP}"))?;
    println!("wrote {OBJECT} ({} bytes) and its stamp", object.len());
    Ok(())
}

/// Holds the committed object to its stamp, to the sources, and, where the toolchain is, to a fresh build.
pub(crate) fn check(workspace: &Workspace) -> Result<()> {
    let committed =
        committed(workspace).context("run `cargo xtask ebpf` and commit what it writes")?;
    let toolchain = match Toolchain::find(workspace) {
        Ok(toolchain) => toolchain,
        Err(why) if process::is_ci() => return Err(why.context("CI rebuilds the eBPF object")),
        Err(why) => {
            println!("{OBJECT} fits its stamp; not rebuilt: {why:#}");
            return Ok(());
        }
    };
    let rebuilt = build(workspace, &toolchain)?;
    if toolchain.versions != committed.versions {
        // Another compiler gives other bytes, which says nothing about the committed ones.
        println!(
            "{OBJECT} builds from source; bytes not compared: it was made by {} and {}, here are {} and {}",
            committed.versions.rustc,
            committed.versions.linker,
            toolchain.versions.rustc,
            toolchain.versions.linker
        );
    } else if stamp::hash(&rebuilt) == committed.object {
        println!("{OBJECT} is what the sources give, byte for byte");
    } else {
        bail!(
            "{OBJECT} is not what the sources give (they are in {}): run `cargo xtask ebpf` and commit what it writes",
            workspace.target.join(STRIPPED).display()
        );
    }
    Ok(())
}

/// The stamp of the committed object, once object, stamp and sources agree.
fn committed(workspace: &Workspace) -> Result<Stamp> {
    let text = fs::read_to_string(workspace.path(STAMP))
        .with_context(|| format!("cannot read {STAMP}"))?;
    let stamp: Stamp = text.parse().with_context(|| format!("cannot use {STAMP}"))?;
    let object =
        fs::read(workspace.path(OBJECT)).with_context(|| format!("cannot read {OBJECT}"))?;
    if let Some(what) = Inputs::of(workspace, &FLAGS)?.difference(&stamp.inputs) {
        bail!("{OBJECT} is stale: {what} changed since it was built");
    }
    if stamp::hash(&object) != stamp.object {
        bail!("{OBJECT} is not the object that {STAMP} describes");
    }
    Ok(stamp)
}

/// Compiles, strips and verifies; gives the bytes.
fn build(workspace: &Workspace, toolchain: &Toolchain) -> Result<Vec<u8>> {
    // The folder of the registry's sources is known once they are there.
    process::run(
        workspace
            .cargo(["fetch", "--quiet", "--locked"])
            .arg("--manifest-path")
            .arg(workspace.path("Cargo.toml")),
    )?;
    let target = workspace.target.join("ebpf");
    let mut command = workspace.cargo([
        "build",
        "--locked",
        "--release",
        "--package=memmgr-ebpf",
        "-Zbuild-std=core",
        "--target",
        TARGET,
    ]);
    undisturbed(&mut command);
    process::run(
        command
            .arg("--target-dir")
            .arg(&target)
            .env("RUSTC", &toolchain.rustc)
            .env("RUSTC_BOOTSTRAP", "1")
            .env("CARGO_TARGET_BPFEL_UNKNOWN_NONE_LINKER", &toolchain.linker)
            .env("CARGO_ENCODED_RUSTFLAGS", encoded_flags(&remaps(workspace, toolchain)?)),
    )?;
    let stripped = workspace.target.join(STRIPPED);
    let linked = target.join(TARGET).join("release/memmgr-ebpf");
    process::run(
        Command::new(&toolchain.strip).arg("--strip-debug").arg("-o").arg(&stripped).arg(linked),
    )?;
    let object =
        fs::read(&stripped).with_context(|| format!("cannot read {}", stripped.display()))?;
    let home = env::var_os("HOME").map(PathBuf::from);
    let private: Vec<_> =
        [workspace.root.clone(), workspace::cargo_home()?].into_iter().chain(home).collect();
    object::verify(&object, &private)?;
    Ok(object)
}

/// Takes the variables away that would change the bytes.
fn undisturbed(command: &mut Command) {
    for (name, _) in env::vars_os() {
        if DISTURBING.iter().any(|prefix| name.as_encoded_bytes().starts_with(prefix.as_bytes())) {
            command.env_remove(name);
        }
    }
}

/// Folders of this machine and the names that stand for them. The last that fits a path wins.
fn remaps(workspace: &Workspace, toolchain: &Toolchain) -> Result<Vec<(PathBuf, &'static str)>> {
    let sources = workspace::cargo_home()?.join("registry/src");
    let mut remaps = Vec::new();
    // One folder a registry; its name depends on where the registry is mirrored.
    for registry in
        fs::read_dir(&sources).with_context(|| format!("cannot read {}", sources.display()))?
    {
        remaps.push((registry?.path(), "/registry"));
    }
    remaps.sort();
    remaps.extend(toolchain.library_source.iter().map(|folder| (folder.clone(), "/rustc")));
    remaps.push((workspace.root.clone(), "/memmgr"));
    Ok(remaps)
}

/// All flags in the form that `CARGO_ENCODED_RUSTFLAGS` takes, which lets a path hold spaces.
fn encoded_flags(remaps: &[(PathBuf, &'static str)]) -> OsString {
    let mut flags = OsString::from(FLAGS.join("\x1f"));
    for (from, to) in remaps {
        flags.push("\x1f--remap-path-prefix=");
        flags.push(from);
        flags.push("=");
        flags.push(to);
    }
    flags
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_with_a_space_stays_one_flag() {
        let flags = encoded_flags(&[(PathBuf::from("/a b"), "/memmgr")]).into_string().unwrap();
        let flags: Vec<&str> = flags.split('\x1f').collect();
        assert_eq!(flags[..4], FLAGS);
        assert_eq!(flags[4..], ["--remap-path-prefix=/a b=/memmgr"]);
    }
}
