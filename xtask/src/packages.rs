//! The Debian packages that building and testing need, and their installation.

use crate::{process, toolchain::Toolchain, workspace::Workspace};
use anyhow::{Context, Result, bail};
use std::{
    fs::{self, OpenOptions},
    io::{ErrorKind, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
    process::{Command, Stdio},
};

/// Each package and what it is for.
const PACKAGES: [(&str, &str); 35] = [
    ("binutils", "strip, for the release archive"),
    ("busybox-static", "the shell of kernel guests"),
    ("chromium", "opens the pages of the html format"),
    ("default-jdk-headless", "a JVM as a target, and jcmd"),
    ("g++", "C++ workloads: operator new and exceptions"),
    ("gcc", "C workloads, and SQLite inside the binary"),
    ("gdb", "a second opinion on stacks and heaps"),
    ("golang-go", "go tool pprof, which reads our profiles back"),
    ("heaptrack", "heaptrack_print, which reads our data files back"),
    ("libc6-dbg", "glibc's arena layout, checked against its own debug information"),
    ("libc6-dev", "headers of the C workloads"),
    ("libgoogle-perftools-dev", "tcmalloc, linked into a workload"),
    ("libjemalloc-dev", "jemalloc, linked into a workload"),
    ("libjemalloc2", "jemalloc workloads"),
    ("libmimalloc2.0", "mimalloc workloads"),
    ("librsvg2-bin", "rsvg-convert, which reads the flame graphs back"),
    ("libtcmalloc-minimal4", "tcmalloc workloads"),
    ("llvm-22-dev", "the LLVM that bpf-linker is built against"),
    ("musl-tools", "statically linked workloads with another allocator"),
    ("nginx", "a server with its own pools"),
    ("nodejs", "a runtime with an inspector as a target"),
    ("postgresql", "a server with memory contexts and many processes"),
    ("prometheus", "scrapes and checks what `memmgr serve` tells"),
    ("python3", "an interpreter as a target, and readers of our formats"),
    ("python3-pip", "fetches toolchains of Go"),
    ("qemu-system-x86", "kernel guests"),
    ("redis-server", "a server on jemalloc that reports its own memory"),
    ("redis-tools", "redis-cli and redis-benchmark"),
    ("rust-web-src", "the library source that core for BPF is built from"),
    ("rustc-web", "the compiler of the eBPF object"),
    ("smem", "what reading many processes is compared with"),
    ("strace", "a second opinion on system calls"),
    ("stress-ng", "memory pressure"),
    ("tmux", "the terminal of memmgr top"),
    ("valgrind", "ms_print, which reads our massif files back"),
];

/// Where Debian's package scripts ask whether they may start a service.
const POLICY: &str = "/usr/sbin/policy-rc.d";

/// Installs the packages that are missing, and bpf-linker. Without root it says what to type and goes on,
/// except on CI, where everything has to be there.
pub(crate) fn install(workspace: &Workspace) -> Result<()> {
    let missing = missing()?;
    if missing.is_empty() {
        println!("all {} packages are installed", PACKAGES.len());
    } else if rustix::process::geteuid().is_root() {
        apt(&missing)?;
    } else {
        let names: Vec<&str> = missing.iter().map(|(name, _)| *name).collect();
        let advice = format!(
            "not installed:\n{}install them: sudo apt-get install {}",
            describe(&missing),
            names.join(" ")
        );
        if process::is_ci() {
            bail!(advice);
        }
        println!("{advice}");
    }
    match Toolchain::install_linker(workspace) {
        Err(why) if !process::is_ci() => {
            println!("the eBPF object will not be rebuilt: {why:#}");
            Ok(())
        }
        result => result,
    }
}

/// The packages of the list that this system does not have.
fn missing() -> Result<Vec<(&'static str, &'static str)>> {
    // dpkg-query fails when it knows one of the names not at all, so its exit status says nothing.
    let output = Command::new("dpkg-query")
        .args(["--show", "--showformat=${Package} ${db:Status-Status}\\n"])
        .args(PACKAGES.map(|(name, _)| name))
        .stderr(Stdio::null())
        .output();
    match output {
        Ok(output) => Ok(not_installed(&String::from_utf8_lossy(&output.stdout))),
        Err(error) if error.kind() == ErrorKind::NotFound && !process::is_ci() => {
            println!("no dpkg here: the tests use what they find of\n{}", describe(&PACKAGES));
            Ok(Vec::new())
        }
        Err(error) => Err(error).context("cannot start dpkg-query"),
    }
}

/// The packages of the list that the output of dpkg-query does not call installed.
fn not_installed(shown: &str) -> Vec<(&'static str, &'static str)> {
    let installed =
        |name: &str| shown.lines().any(|line| line.strip_prefix(name) == Some(" installed"));
    PACKAGES.into_iter().filter(|(name, _)| !installed(name)).collect()
}

fn apt(missing: &[(&str, &str)]) -> Result<()> {
    println!("installing\n{}", describe(missing));
    let _quiet = NoServices::begin()?;
    let apt = || {
        let mut command = Command::new("apt-get");
        command.env("DEBIAN_FRONTEND", "noninteractive").stdin(Stdio::null());
        command
    };
    process::run(apt().args(["update", "--quiet=2"]))?;
    process::run(
        apt()
            .args(["install", "--yes", "--quiet=2", "--no-install-recommends"])
            .args(missing.iter().map(|(name, _)| name)),
    )
}

fn describe(packages: &[(&str, &str)]) -> String {
    packages.iter().map(|(name, why)| format!("  {name:<20} {why}\n")).collect::<Vec<_>>().concat()
}

/// While this lives, the packages' scripts start no service. A policy that is there already is left alone.
struct NoServices {
    ours: bool,
}

impl NoServices {
    fn begin() -> Result<Self> {
        // The policy looks whether we still run, so that a killed xtask forbids nothing for ever.
        let policy = format!(
            "#!/bin/sh\n# Written by cargo xtask test (process {0}): no service starts while it installs.\n\
             kill -0 {0} 2>/dev/null && exit 101\nexit 0\n",
            std::process::id()
        );
        match OpenOptions::new().write(true).create_new(true).mode(0o755).open(POLICY) {
            Ok(mut file) => {
                let quiet = NoServices { ours: true };
                file.write_all(policy.as_bytes())
                    .with_context(|| format!("cannot write {POLICY}"))?;
                Ok(quiet)
            }
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                Ok(NoServices { ours: false })
            }
            Err(error) => Err(error).with_context(|| format!("cannot create {POLICY}")),
        }
    }
}

impl Drop for NoServices {
    fn drop(&mut self) {
        if self.ours
            && let Err(error) = fs::remove_file(Path::new(POLICY))
        {
            eprintln!("cannot remove {POLICY}: {error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_installed_packages_count() {
        let all = PACKAGES.map(|(name, _)| format!("{name} installed\n")).concat();
        let check = |shown: &str, expected: &[&str]| {
            let names: Vec<&str> = not_installed(shown).into_iter().map(|(name, _)| name).collect();
            assert_eq!(names, expected);
        };
        check(&all, &[]);
        check(&all.replace("nginx installed", "nginx config-files"), &["nginx"]);
        // The name of one package begins with the name of another.
        check(&all.replace("gdb installed\n", "gdb-minimal installed\n"), &["gdb"]);
    }

    #[test]
    fn the_list_is_sorted() {
        assert!(PACKAGES.is_sorted());
    }
}
