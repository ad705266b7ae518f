//! Which runtime a process has, and for those that cannot be asked from outside what helps instead.

use std::{fs::File, path::Path};

use crate::{
    allocator::elf::Elf,
    go::GoStat,
    report::{Cgroup, Process},
    source::{
        mappings::{Kind, Mapping},
        process_dir::ProcessDir,
    },
    units::human_bytes,
};

/// Whose garbage collector runs in a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Runtime {
    /// OpenJDK's HotSpot and its relatives.
    Jvm,
    /// Node.js.
    Node,
    /// Go.
    Go,
    /// CPython, with its minor version of Python 3 where it shows.
    Python(Option<u32>),
    /// .NET.
    DotNet,
}

impl Runtime {
    /// Finds it by the files that are mapped; nothing for a program without one that is known.
    pub fn of(dir: &ProcessDir, exe: Option<&Path>, mappings: &[Mapping]) -> Option<Self> {
        let mut files = mappings.iter().filter_map(|mapping| match &mapping.kind {
            Kind::File { path, .. } if mapping.permissions.execute => Some(path.as_path()),
            _ => None,
        });
        if let Some(runtime) = files.find_map(by_library) {
            return Some(runtime);
        }
        let name = exe?.file_name()?.to_str()?;
        if matches!(name, "node" | "nodejs") {
            return Some(Runtime::Node);
        }
        if let Some(version) = name.strip_prefix("python3") {
            return Some(Runtime::Python(minor(version)));
        }
        let elf = File::open(dir.path().join("exe")).ok().and_then(|file| Elf::open(file).ok())?;
        elf.is_go().then_some(Runtime::Go)
    }
}

fn by_library(path: &Path) -> Option<Runtime> {
    let name = path.file_name()?.to_str()?;
    if name == "libjvm.so" {
        Some(Runtime::Jvm)
    } else if name.starts_with("libnode.so") {
        Some(Runtime::Node)
    } else if name == "libcoreclr.so" {
        Some(Runtime::DotNet)
    } else {
        name.strip_prefix("libpython3").map(|version| Runtime::Python(minor(version)))
    }
}

/// `.11` of `python3.11`, `.11.so.1.0` of a library.
fn minor(version: &str) -> Option<u32> {
    version.strip_prefix('.')?.split('.').next()?.parse().ok()
}

/// Why this runtime cannot be asked to collect garbage, and what helps, with the figures of the process.
pub fn advice(
    runtime: Option<Runtime>,
    pid: u32,
    process: &Process,
    cgroup: Option<&Cgroup>,
    own: Option<&GoStat>,
) -> String {
    match runtime {
        Some(Runtime::Go) => go(process, cgroup, own),
        Some(Runtime::Python(Some(minor))) if minor >= 14 => format!(
            "memmgr does not put code into a process; Python 3.{minor} lets you: echo 'import gc; gc.collect()' > /tmp/collect.py; \
             sudo python3.{minor} -c 'import sys; sys.remote_exec({pid}, \"/tmp/collect.py\")'"
        ),
        Some(Runtime::Python(_)) => format!(
            "CPython before 3.14 offers no way to collect garbage from outside; what it counts down to 0 is free already, only cycles wait \
             (gc.collect() in the program); memory that it keeps free goes back by MALLOC_TRIM_THRESHOLD_=65536 at its next start, \
             or now by `memmgr optimize trim -p {pid}`"
        ),
        Some(Runtime::DotNet) => format!(
            ".NET collects when its own tool asks: dotnet-gcdump collect -p {pid} forces a full collection; \
             DOTNET_GCConserveMemory=5 at its next start keeps less"
        ),
        Some(Runtime::Jvm | Runtime::Node) | None => format!(
            "process {pid} has no runtime with garbage that memmgr knows (JVM, Node.js): `memmgr optimize trim -p {pid}` has its allocator give \
             back what it holds free, `memmgr optimize plan -p {pid}` shows what else helps"
        ),
    }
}

/// Go has no way in from outside; its two settings are read at its start (runtime, "Environment Variables").
fn go(process: &Process, cgroup: Option<&Cgroup>, own: Option<&GoStat>) -> String {
    let held = own.map_or_else(String::new, |own| {
        let heap = &own.figures.heap;
        format!(
            "{} were alive at its last collection, {} are allocated, and {} are idle and not given back; ",
            human_bytes(own.figures.gc.live_bytes),
            human_bytes(heap.alloc_bytes),
            human_bytes(heap.idle_bytes.saturating_sub(heap.released_bytes))
        )
    });
    let resident = process.rss_bytes.unwrap_or(0);
    let limit = cgroup.and_then(|cgroup| cgroup.limit_bytes);
    // What is not the heap counts too: a tenth is left for it, as the guide to the collector recommends (go.dev/doc/gc-guide).
    let (bytes, whence) = match limit {
        Some(limit) => {
            (limit / 10 * 9, format!("90 % of its cgroup's limit of {}", human_bytes(limit)))
        }
        None => (
            resident / 10 * 9,
            format!("90 % of the {} that it has resident", human_bytes(resident)),
        ),
    };
    format!(
        "Go offers no way to collect garbage from outside; {held}at its next start GOMEMLIMIT={}MiB ({whence}) makes it collect before it takes more, \
         and GOGC=50 lets half as much garbage gather as GOGC=100 for more processor time; now the kernel can take what is cold: `memmgr optimize reclaim` or `pageout`",
        (bytes >> 20).max(1)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_tell_runtimes() {
        let check =
            |path: &str, runtime| assert_eq!(by_library(Path::new(path)), runtime, "{path}");
        check("/usr/lib/jvm/java-17/lib/server/libjvm.so", Some(Runtime::Jvm));
        check("/usr/lib/libnode.so.108", Some(Runtime::Node));
        check("/usr/lib/libpython3.11.so.1.0", Some(Runtime::Python(Some(11))));
        check("/usr/share/dotnet/libcoreclr.so", Some(Runtime::DotNet));
        check("/usr/lib/libc.so.6", None);
    }

    #[test]
    fn advice_has_the_figures() {
        let process = Process { rss_bytes: Some(1000 << 20), ..Process::default() };
        let cgroup = Cgroup { limit_bytes: Some(2000 << 20), ..Cgroup::default() };
        let check = |runtime, cgroup, part: &str| {
            let text = advice(runtime, 7, &process, cgroup, None);
            assert!(text.contains(part), "{text}");
        };
        check(
            Some(Runtime::Go),
            None,
            "GOMEMLIMIT=900MiB (90 % of the 1000.0 MiB that it has resident)",
        );
        check(
            Some(Runtime::Go),
            Some(&cgroup),
            "GOMEMLIMIT=1800MiB (90 % of its cgroup's limit of 2.0 GiB)",
        );
        let mut own = crate::go::example();
        own.figures.gc.live_bytes = 300 << 20;
        own.figures.heap.idle_bytes = 90 << 20;
        own.figures.heap.released_bytes = 50 << 20;
        let text = advice(Some(Runtime::Go), 7, &process, None, Some(&own));
        assert!(text.contains("300.0 MiB were alive"), "{text}");
        assert!(text.contains("40.0 MiB are idle and not given back"), "{text}");
        check(Some(Runtime::Python(Some(14))), None, "sys.remote_exec(7, ");
        check(Some(Runtime::Python(Some(11))), None, "before 3.14");
        check(None, None, "optimize trim -p 7");
    }
}
