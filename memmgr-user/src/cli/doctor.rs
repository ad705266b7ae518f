//! `doctor`: what this host allows, what is missing, and the command that mends it.

use std::{path::Path, time::Duration};

use serde::Serialize;

use memmgr::{
    aggregate::Filter,
    bpf::Kernel,
    capture::{CapturePlan, Selection, Session, StackOption, hazards::running_kernel},
    escape::Safe,
    govern::Budget,
    source::{cgroup::MemoryCgroup, host::read_host, roots::Roots},
    units::Pid,
};

use super::{args::Doctor, exit::Lacking};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    Ok,
    /// memmgr works without it, with less.
    Missing,
    /// memmgr cannot capture without it.
    Fatal,
}

#[derive(Debug, Serialize)]
struct Check {
    what: &'static str,
    verdict: Verdict,
    found: String,
    remedy: Option<String>,
}

/// Looks at the host and says what it found; an error when a capture cannot work.
pub fn run(options: &Doctor) -> anyhow::Result<()> {
    let roots = Roots::default();
    let mut checks = vec![kernel(), rights(), lockdown(), btf()];
    checks.extend(programs());
    checks.push(probes(&roots));
    checks.extend([mappings(), cgroup(&roots), pressure(&roots), debug_files()]);
    if options.json {
        println!("{}", serde_json::to_string_pretty(&checks)?);
    } else {
        for check in &checks {
            let mark = match check.verdict {
                Verdict::Ok => "ok     ",
                Verdict::Missing => "missing",
                Verdict::Fatal => "FATAL  ",
            };
            println!("{mark}  {:<22} {}", check.what, Safe::text(&check.found));
            if let Some(remedy) = &check.remedy {
                println!("{:33}{}", "", Safe::text(remedy));
            }
        }
    }
    let fatal: Vec<&Check> =
        checks.iter().filter(|check| check.verdict == Verdict::Fatal).collect();
    if let Some(first) = fatal.first() {
        let remedy = first.remedy.clone().unwrap_or_default();
        return Err(Lacking(format!(
            "{} of {} checks failed, first: {}\n{remedy}",
            fatal.len(),
            checks.len(),
            first.what
        ))
        .into());
    }
    Ok(())
}

fn ok(what: &'static str, found: impl Into<String>) -> Check {
    Check { what, verdict: Verdict::Ok, found: found.into(), remedy: None }
}

fn lacking(
    what: &'static str,
    verdict: Verdict,
    found: impl Into<String>,
    remedy: impl Into<String>,
) -> Check {
    Check { what, verdict, found: found.into(), remedy: Some(remedy.into()) }
}

/// A failure whose message ends with its remedy, on a line of its own.
fn failed(what: &'static str, message: &str) -> Check {
    let (found, remedy) = message.trim_end().rsplit_once('\n').unwrap_or((message, ""));
    Check {
        what,
        verdict: Verdict::Fatal,
        found: found.to_owned(),
        remedy: (!remedy.is_empty()).then(|| remedy.to_owned()),
    }
}

fn kernel() -> Check {
    let release = running_kernel();
    let (major, minor, patch) = release;
    let found = format!("Linux {major}.{minor}.{patch} on {}", std::env::consts::ARCH);
    if release >= (5, 15, 0) {
        ok("kernel", found)
    } else {
        lacking(
            "kernel",
            Verdict::Fatal,
            found,
            "memmgr needs Linux 5.15 or later (attach cookies)",
        )
    }
}

fn rights() -> Check {
    if rustix::process::geteuid().is_root() {
        ok("rights", "root")
    } else {
        lacking("rights", Verdict::Fatal, "not root", "run it as root: sudo memmgr doctor")
    }
}

/// `/sys/kernel/security/lockdown`: `none [integrity] confidentiality`.
fn lockdown() -> Check {
    match std::fs::read_to_string("/sys/kernel/security/lockdown") {
        Ok(modes) if modes.contains("[confidentiality]") => lacking(
            "lockdown",
            Verdict::Fatal,
            "confidentiality: the kernel lets nobody read memory with BPF",
            "boot without lockdown=confidentiality",
        ),
        Ok(modes) => ok("lockdown", modes.trim().to_owned()),
        Err(_) => ok("lockdown", "none"),
    }
}

fn btf() -> Check {
    if Path::new("/sys/kernel/btf/vmlinux").exists() {
        ok("kernel types (BTF)", "/sys/kernel/btf/vmlinux")
    } else {
        lacking(
            "kernel types (BTF)",
            Verdict::Missing,
            "none: memory that a target maps by itself is not seen",
            "use a kernel built with CONFIG_DEBUG_INFO_BTF",
        )
    }
}

/// Loads every program, which asks the verifier of this very kernel.
fn programs() -> Vec<Check> {
    let kernel = match Kernel::load(1 << 16) {
        Ok(kernel) => kernel,
        Err(error) => {
            return vec![failed("BPF maps", &error.to_string())];
        }
    };
    let (mut loaded, mut refused) = (0, Vec::new());
    for (name, outcome) in kernel.try_every_program() {
        match outcome {
            Ok(()) => loaded += 1,
            Err(error) => refused.push(format!("{name}: {error}")),
        }
    }
    let mut checks = vec![ok("BPF programs", format!("{loaded} load"))];
    if !refused.is_empty() {
        let remedy = "an older way is used where there is one; please report a verifier's refusal";
        checks.push(lacking("BPF programs", Verdict::Missing, refused.join("; "), remedy));
    }
    checks
}

/// Attaches to memmgr itself, for real, and detaches.
fn probes(roots: &Roots) -> Check {
    let plan = CapturePlan {
        pid: Pid(std::process::id()),
        selection: Selection::Exact,
        stack: StackOption::FramePointers,
        stack_bytes: 4096,
        ring_bytes: 1 << 16,
        duration: Some(Duration::ZERO),
        interval: Duration::from_secs(1),
        filter: Filter::default(),
        allocators: Vec::new(),
        probes: Vec::new(),
        allow_traced: true,
        budget: Budget::Off,
        in_group: false,
    };
    match Session::attach(roots, &plan, None) {
        Ok(session) => {
            let functions = session.plan.functions();
            let emulated = functions.iter().filter(|(_, function)| function.site.emulated).count();
            ok(
                "probes",
                format!(
                    "attached to {} functions of memmgr itself by {} in {:.0} ms; {emulated} on cheap instructions",
                    functions.len(),
                    session.attached_by(),
                    session.attach_s * 1e3
                ),
            )
        }
        Err(error) => failed("probes", &error.to_string()),
    }
}

/// Attaches for real, and detaches.
fn mappings() -> Check {
    const WHAT: &str = "mapping calls";
    let attached = Kernel::load(1 << 16)
        .and_then(|mut kernel| kernel.attach_mappings(|| None).map(ToString::to_string));
    match attached {
        Ok(way) => ok(WHAT, way),
        Err(error) => Check { verdict: Verdict::Missing, ..failed(WHAT, &error.to_string()) },
    }
}

fn cgroup(roots: &Roots) -> Check {
    match MemoryCgroup::find(roots, Pid(std::process::id())) {
        Some(cgroup) => {
            let cgroup = cgroup.read();
            ok("memory cgroup", format!("{} {}", cgroup.version, cgroup.path))
        }
        None => lacking(
            "memory cgroup",
            Verdict::Missing,
            "none: reports have no cgroup figures",
            "mount a cgroup hierarchy with the memory controller",
        ),
    }
}

fn pressure(roots: &Roots) -> Check {
    match read_host(roots) {
        Ok(host) if host.pressure.is_some() => ok("memory pressure", "/proc/pressure/memory"),
        _ => lacking(
            "memory pressure",
            Verdict::Missing,
            "not kept by this kernel",
            "boot with psi=1",
        ),
    }
}

fn debug_files() -> Check {
    if Path::new("/usr/lib/debug/.build-id").is_dir() {
        ok("debug files", "/usr/lib/debug/.build-id")
    } else {
        lacking(
            "debug files",
            Verdict::Missing,
            "none: functions of stripped libraries show as addresses, and no lines",
            "install the debug packages of what you look at, on Debian for example libc6-dbg",
        )
    }
}
