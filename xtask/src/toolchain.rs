//! What builds the eBPF object: a compiler with its library source, and bpf-linker.
//!
//! BPF is a tier 3 target: `core` is built from the source that comes with the compiler, and
//! bpf-linker reads the compiler's bitcode, so that both must be of the same LLVM.

use crate::{process, workspace::Workspace};
use anyhow::{Context, Result, bail};
use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

/// The LLVM of the compiler, of bpf-linker and of the Debian package `llvm-22-dev`.
const LLVM: &str = "22";
/// The bpf-linker that builds the committed object.
const LINKER_VERSION: &str = "0.13.0";
/// Where Debian's compiler is, whatever else `PATH` holds.
const DEBIAN_RUSTC: &str = "/usr/bin/rustc";

/// A compiler and a linker that fit each other.
pub(crate) struct Toolchain {
    /// The compiler itself, not rustup's proxy.
    pub(crate) rustc: PathBuf,
    /// Folders of the library source, as the compiler and as the file system name it.
    pub(crate) library_source: [PathBuf; 2],
    /// The bpf-linker to link with.
    pub(crate) linker: PathBuf,
    /// Takes the DWARF sections out.
    pub(crate) strip: PathBuf,
    /// Names everything that decides the bytes of the object.
    pub(crate) versions: Versions,
}

/// What decides the bytes besides the sources.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Versions {
    /// As `rustc --version` says it, and its LLVM.
    pub(crate) rustc: String,
    /// bpf-linker and the LLVM library that it loads.
    pub(crate) linker: String,
}

impl Toolchain {
    /// Finds compiler and linker; the error names what is missing and the command that installs it.
    pub(crate) fn find(workspace: &Workspace) -> Result<Self> {
        let (rustc, library, rustc_version) = find_rustc()?;
        let Some(linker) = find_linker(workspace) else {
            bail!(
                "there is no bpf-linker {LINKER_VERSION}: run `cargo xtask ebpf`, which installs it"
            );
        };
        let llvm = llvm_config("--version")?;
        let strip = PathBuf::from(llvm_config("--bindir")?).join("llvm-strip");
        let real = fs::canonicalize(&library)
            .with_context(|| format!("cannot resolve {}", library.display()))?;
        Ok(Toolchain {
            rustc,
            library_source: [library, real],
            linker,
            strip,
            versions: Versions {
                rustc: rustc_version,
                linker: format!("bpf-linker {LINKER_VERSION}, LLVM {llvm}"),
            },
        })
    }

    /// Builds bpf-linker into `target/tools` unless there is one already; takes two minutes on two cores.
    pub(crate) fn install_linker(workspace: &Workspace) -> Result<()> {
        if find_linker(workspace).is_some() {
            return Ok(());
        }
        let bindir = llvm_config("--bindir")?;
        // llvm-sys takes the first llvm-config on PATH, which may be of another LLVM.
        let folders = env::var_os("PATH").unwrap_or_default();
        let path = env::join_paths(
            std::iter::once(PathBuf::from(bindir)).chain(env::split_paths(&folders)),
        )?;
        println!("building bpf-linker {LINKER_VERSION} against LLVM {LLVM}");
        process::run(
            workspace
                .cargo(["install", "bpf-linker", "--locked", "--no-default-features"])
                .args([
                    "--version",
                    LINKER_VERSION,
                    "--features",
                    &format!("llvm-{LLVM}"),
                    "--root",
                ])
                .arg(tools(workspace))
                .env("PATH", path),
        )
    }
}

/// A compiler with its library source: the path, that source, and the version.
fn find_rustc() -> Result<(PathBuf, PathBuf, String)> {
    let nightly = process::output(
        // Asking must not start a download.
        Command::new("rustup")
            .args(["which", "--toolchain", "nightly", "rustc"])
            .env("RUSTUP_AUTO_INSTALL", "0"),
    );
    let nightly = nightly.ok().map(|path| PathBuf::from(path.trim()));
    let mut refused = Vec::new();
    for rustc in [Some(PathBuf::from(DEBIAN_RUSTC)), nightly].into_iter().flatten() {
        match examine(&rustc) {
            Ok((library, version)) => return Ok((rustc, library, version)),
            Err(why) => refused.push(format!("{}: {why:#}", rustc.display())),
        }
    }
    bail!(
        "no compiler here builds for BPF:\n  {}\n\
         Install one: apt-get install rustc-web rust-web-src, or rustup component add --toolchain nightly rust-src",
        refused.join("\n  ")
    )
}

/// The library source and the version of a compiler that can build for BPF.
fn examine(rustc: &Path) -> Result<(PathBuf, String)> {
    let verbose = process::output(Command::new(rustc).arg("-vV"))?;
    let version = verbose.lines().next().unwrap_or_default();
    let llvm = llvm_version(&verbose).context("says no LLVM version")?;
    if llvm.split('.').next() != Some(LLVM) {
        bail!("has LLVM {llvm}, bpf-linker needs {LLVM}");
    }
    let sysroot = process::output(Command::new(rustc).args(["--print", "sysroot"]))?;
    let library = Path::new(sysroot.trim()).join("lib/rustlib/src/rust");
    if !library.join("library/core/src/lib.rs").is_file() {
        bail!("has no library source in {}", library.display());
    }
    Ok((library, format!("{version}, LLVM {llvm}")))
}

/// The LLVM version in the output of `rustc -vV`.
fn llvm_version(verbose: &str) -> Option<&str> {
    verbose.lines().find_map(|line| line.strip_prefix("LLVM version: ")).map(str::trim)
}

/// The bpf-linker of the right version: on `PATH`, or the one that we built.
fn find_linker(workspace: &Workspace) -> Option<PathBuf> {
    let ours = tools(workspace).join("bin/bpf-linker");
    [process::find_program("bpf-linker"), Some(ours)].into_iter().flatten().find(|linker| {
        process::output(Command::new(linker).arg("--version"))
            .is_ok_and(|text| text.trim() == format!("bpf-linker {LINKER_VERSION}"))
    })
}

/// Where our own tools are installed.
fn tools(workspace: &Workspace) -> PathBuf {
    workspace.target.join("tools")
}

/// One answer of Debian's program that describes the LLVM installation.
fn llvm_config(question: &str) -> Result<String> {
    let answer = process::output(Command::new(format!("llvm-config-{LLVM}")).arg(question))
        .with_context(|| format!("LLVM {LLVM} is missing: apt-get install llvm-{LLVM}-dev"))?;
    Ok(answer.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn llvm_version_is_read_from_the_verbose_version() {
        let verbose =
            "rustc 1.96.0 (ac68faa20 2026-05-25)\nrelease: 1.96.0\nLLVM version: 22.1.8\n";
        assert_eq!(llvm_version(verbose), Some("22.1.8"));
        assert_eq!(llvm_version("rustc 1.96.0\n"), None);
    }
}
