//! A guest: its files, and QEMU that runs it.

use super::kernel::Kernel;
use crate::{process, workspace::Workspace};
use anyhow::{Context, Result, bail};
use std::{
    fs::{self, File},
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

/// A guest that has not ended after this long hangs; one takes 20 s on two cores.
const LIMIT: Duration = Duration::from_mins(4);
/// Two processors: per-processor maps and counters are summed, and threads move.
const PROCESSORS: &str = "2";
const MEMORY_MIB: &str = "1280";
const WORKLOADS: [&str; 2] = ["holds-known-blocks", "gives-back"];
/// Two disks: one whose pages are read into the cache, one for swap.
const DISKS_MIB: [u64; 2] = [512, 400];

/// Programs that a guest needs from this system.
pub(super) struct Tools {
    qemu: PathBuf,
    /// Statically linked: it is the shell and all tools of the guest.
    busybox: PathBuf,
}

impl Tools {
    /// Finds them; the error says what to install.
    pub(super) fn find() -> Result<Self> {
        let find = |name: &str, package: &str| {
            process::find_program(name)
                .with_context(|| format!("there is no {name}: apt-get install {package}"))
        };
        let tools = Tools {
            qemu: find("qemu-system-x86_64", "qemu-system-x86")?,
            busybox: find("busybox", "busybox-static")?,
        };
        if !libraries(&tools.busybox)?.is_empty() {
            bail!("the busybox here is no static one: apt-get install busybox-static");
        }
        Ok(tools)
    }
}

/// Packs everything that a guest holds, and gives the archive.
pub(super) fn initramfs(
    workspace: &Workspace,
    tools: &Tools,
    memmgr: &Path,
    folder: &Path,
) -> Result<PathBuf> {
    let root = folder.join("root");
    if root.exists() {
        fs::remove_dir_all(&root).with_context(|| format!("cannot clear {}", root.display()))?;
    }
    for name in ["bin", "dev", "proc", "sys"] {
        fs::create_dir_all(root.join(name))
            .with_context(|| format!("cannot create {name} in {}", root.display()))?;
    }
    let bin = root.join("bin");
    fs::copy(&tools.busybox, bin.join("busybox")).context("cannot copy busybox")?;
    symlink("busybox", bin.join("sh")).context("cannot link the shell")?;
    fs::copy(workspace.path("xtask/vm/init.sh"), root.join("init"))
        .context("cannot copy init.sh")?;
    process::run(Command::new("chmod").arg("755").arg(root.join("init")))?;
    // Its line numbers are most of it, and every byte is copied by an emulated processor.
    process::run(Command::new("strip").arg("-o").arg(bin.join("memmgr")).arg(memmgr))?;
    let mut programs = vec![memmgr.to_owned()];
    for workload in WORKLOADS {
        let program = bin.join(workload);
        process::run(
            Command::new("cc")
                .args(["-O1", "-g", "-fno-omit-frame-pointer", "-pthread", "-o"])
                .arg(&program)
                .arg(workspace.path(format!("tests/workloads/{workload}.c"))),
        )?;
        programs.push(program);
    }
    for program in &programs {
        for library in libraries(program)? {
            let to = root.join(library.strip_prefix("/").unwrap_or(&library));
            fs::create_dir_all(to.parent().context("a library has a folder")?)?;
            fs::copy(&library, &to)
                .with_context(|| format!("cannot copy {}", library.display()))?;
        }
    }
    pack(tools, &root, &folder.join("initramfs.cpio"))
}

/// The files that the dynamic linker would load, itself included; none for a static program.
fn libraries(program: &Path) -> Result<Vec<PathBuf>> {
    // ldd fails for a static program, and its words depend on the language.
    let output = Command::new("ldd").arg(program).output().context("cannot start ldd")?;
    Ok(loaded(&String::from_utf8_lossy(&output.stdout)))
}

/// The files in the output of ldd: `name => /path (0x…)`, or `/path (0x…)` for the linker.
fn loaded(ldd: &str) -> Vec<PathBuf> {
    ldd.lines()
        .filter_map(|line| {
            let line = line.rsplit_once("=> ").map_or(line, |(_, path)| path).trim();
            let (path, _) = line.rsplit_once(" (")?;
            path.starts_with('/').then(|| path.into())
        })
        .collect()
}

/// Makes the archive that the kernel takes as its first file system.
fn pack(tools: &Tools, root: &Path, archive: &Path) -> Result<PathBuf> {
    let mut find = Command::new("find")
        .arg(".")
        .current_dir(root)
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start find")?;
    let names = find.stdout.take().context("find has no output")?;
    let file =
        File::create(archive).with_context(|| format!("cannot create {}", archive.display()))?;
    let packed = process::run(
        Command::new(&tools.busybox)
            .args(["cpio", "-o", "-H", "newc"])
            .current_dir(root)
            .stdin(names)
            .stdout(file)
            .stderr(Stdio::null()),
    );
    let found = find.wait().context("cannot wait for find")?;
    packed?;
    if !found.success() {
        bail!("cannot list {}: {found}", root.display());
    }
    Ok(archive.to_path_buf())
}

/// Boots a kernel and gives the folder of the evidence that its init script sent.
pub(super) fn boot(
    tools: &Tools,
    kernel: &Kernel,
    initramfs: &Path,
    folder: &Path,
) -> Result<PathBuf> {
    let log = folder.join(format!("{}.log", kernel.release));
    let sent = folder.join(format!("{}.tar", kernel.release));
    let serial = |file: &Path| format!("file:{}", file.display());
    let mut command = Command::new(&tools.qemu);
    command
        .args(["-accel", "tcg", "-smp", PROCESSORS, "-m", MEMORY_MIB])
        .args(["-display", "none", "-monitor", "none", "-nic", "none", "-no-reboot"])
        .arg("-kernel")
        .arg(&kernel.image)
        .arg("-initrd")
        .arg(initramfs)
        // A panic reboots at once, which ends QEMU.
        // Emulation on a busy machine is too slow for the kernel's test of its timer.
        .args(["-append", "console=ttyS0 quiet panic=-1 no_timer_check psi=1"])
        .args(["-serial", &serial(&log), "-serial", &serial(&sent)])
        .args(disks(folder)?)
        .stdin(Stdio::null());
    let child =
        command.spawn().with_context(|| format!("cannot start `{}`", process::line(&command)))?;
    let ended = Guest(child).wait(LIMIT).with_context(|| format!("see {}", log.display()))?;
    if !ended {
        bail!("the guest had not ended after {} s: see {}", LIMIT.as_secs(), log.display());
    }
    let evidence = folder.join(format!("{}.evidence", kernel.release));
    if evidence.exists() {
        fs::remove_dir_all(&evidence)?;
    }
    fs::create_dir_all(&evidence)?;
    process::output(Command::new("tar").arg("-xf").arg(&sent).arg("-C").arg(&evidence))
        .with_context(|| format!("the guest sent no evidence: see {}", log.display()))?;
    Ok(evidence)
}

/// Empty disks that take no room, as NVMe: the kernels for clouds have its driver built in.
fn disks(folder: &Path) -> Result<Vec<String>> {
    let mut arguments = Vec::new();
    for (number, mebibytes) in DISKS_MIB.iter().enumerate() {
        let path = folder.join(format!("disk{number}"));
        let file =
            File::create(&path).with_context(|| format!("cannot create {}", path.display()))?;
        file.set_len(mebibytes << 20)?;
        let drive = format!("file={},format=raw,if=none,id=disk{number}", path.display());
        let device = format!("nvme,serial=disk{number},drive=disk{number}");
        arguments.extend(["-drive".to_owned(), drive, "-device".to_owned(), device]);
    }
    Ok(arguments)
}

/// A running QEMU; ended when this is dropped.
struct Guest(Child);

impl Guest {
    /// Whether it ended within the time; an error when it failed.
    fn wait(mut self, limit: Duration) -> Result<bool> {
        let begin = Instant::now();
        while begin.elapsed() < limit {
            if let Some(status) = self.0.try_wait().context("cannot wait for QEMU")? {
                if !status.success() {
                    bail!("QEMU failed: {status}");
                }
                return Ok(true);
            }
            thread::sleep(Duration::from_millis(100));
        }
        Ok(false)
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        // Nothing to do about a failure: it has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_of_ldd() {
        let check = |ldd: &str, expected: &[&str]| {
            assert_eq!(loaded(ldd), expected.iter().map(PathBuf::from).collect::<Vec<_>>());
        };
        check(
            "\tlinux-vdso.so.1 (0x00007f82684e9000)\n\
             \tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f8267b3e000)\n\
             \t/lib64/ld-linux-x86-64.so.2 (0x00007f82684eb000)\n",
            &["/lib/x86_64-linux-gnu/libc.so.6", "/lib64/ld-linux-x86-64.so.2"],
        );
        check("\tnot a dynamic executable\n", &[]);
    }
}
