//! Anonymous memory by who mapped it: allocators and the heaps of language runtimes, told apart.

use std::{collections::HashMap, path::Path};

use serde::{Deserialize, Serialize};

use super::{Frame, Stack, Target};
use crate::track::Class;

/// Memory that one file's code mapped for one purpose, since the attach.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MappedBy {
    /// What it is, as far as that can be told.
    pub what: String,
    /// The file whose code asked for it; empty where no stack tells.
    pub module: String,
    /// Mappings outstanding.
    pub live_count: u64,
    /// Bytes outstanding: address space. What was there before the attach is not part of it, so that this is what it grew by.
    pub live_bytes: u64,
    /// Bytes mapped, outstanding or not.
    pub alloc_bytes: u64,
}

/// What the files of runtimes map memory for, by how their names begin.
const RUNTIMES: [(&str, &str); 2] =
    [("libjvm.so", "the JVM's heap, metaspace and code"), ("libcoreclr", ".NET's heap and code")];

/// Files of V8, which maps its heap without any access and opens it part by part (src/base/platform/platform-posix.cc), so
/// that no mapping tells when it grows.
const OPENS_LATER: [&str; 2] = ["node", "libnode"];

/// Whether this file's code holds memory that no mapping tells of.
pub(super) fn opens_later(path: &Path) -> bool {
    // `libnode.so.108` and the like: what stands in front of the first dot.
    let file = path.file_name().unwrap_or_default().to_string_lossy();
    OPENS_LATER.contains(&file.split('.').next().unwrap_or_default())
}

/// Whether this file's code has memory of which mappings tell how much there may be, and not what is in it.
pub(super) fn fills_later(path: &Path) -> bool {
    path.file_name().is_some_and(|file| file.to_string_lossy().starts_with("libjvm.so"))
}

/// What fills anonymous memory beside the allocator where this file is mapped.
pub(super) fn runtime_heap(path: &Path) -> Option<&'static str> {
    let file = path.file_name()?.to_str()?;
    if fills_later(path) {
        Some("the JVM's heap")
    } else if file.starts_with("libcoreclr") {
        Some(".NET's heap")
    } else {
        opens_later(path).then_some("V8's heap")
    }
}

const ARENAS_OF_ALLOCATOR: &str = "arenas of the allocator";

/// Sizes of CPython's arenas: 256 KiB until 3.9, 1 MiB since (`ARENA_BITS` in Include/internal/pycore_obmalloc.h).
const ARENAS: [u64; 2] = [256 << 10, 1 << 20];

/// Sums over the stacks of anonymous mappings.
pub(super) fn mapped_by(stacks: &[Stack], target: &Target) -> Vec<MappedBy> {
    let allocators: Vec<&str> = target.allocators.iter().map(|a| a.path.as_str()).collect();
    let mut sums: HashMap<(&str, &str), MappedBy> = HashMap::new();
    for stack in stacks.iter().filter(|stack| stack.class == Class::Mapping.name()) {
        let (what, module) = purpose(stack, &allocators, &target.exe);
        let sum = sums.entry((what, module)).or_insert_with(|| MappedBy {
            what: what.to_owned(),
            module: module.to_owned(),
            ..MappedBy::default()
        });
        sum.live_count += stack.live_count;
        sum.live_bytes += stack.live_bytes;
        sum.alloc_bytes += stack.alloc_bytes;
    }
    let mut rows: Vec<MappedBy> = sums.into_values().collect();
    rows.sort_by(|a, b| {
        (b.live_bytes, b.alloc_bytes, &a.module).cmp(&(a.live_bytes, a.alloc_bytes, &b.module))
    });
    rows
}

/// What a mapping is for, and the file whose code asked for it: of the frames, leaf first, the first one that is not the C library's
/// own way to the kernel.
fn purpose<'a>(stack: &'a Stack, allocators: &[&str], exe: &str) -> (&'static str, &'a str) {
    let mut within = "";
    for (at, frame) in stack.frames.iter().enumerate() {
        let module = module_of(frame);
        let is_library = is_c_library(module);
        let name = frame.function.as_deref().unwrap_or_default();
        if is_library && (name.contains("pthread_create") || name == "allocate_stack") {
            return ("stacks of threads", module);
        }
        if is_library && allocates(frame) {
            return (ARENAS_OF_ALLOCATOR, module);
        }
        if is_library {
            within = module;
            continue;
        }
        // A program may have its allocator inside, beside all its other code.
        let mut inner = stack.frames[at..].iter().take_while(|frame| module_of(frame) == module);
        if allocators.contains(&module) && (module != exe || inner.any(|frame| allocates(frame))) {
            return (ARENAS_OF_ALLOCATOR, module);
        }
        return (own_purpose(stack, frame, module), module);
    }
    ("other mappings", within)
}

/// What a file that maps memory by itself does with it.
fn own_purpose(stack: &Stack, frame: &Frame, module: &str) -> &'static str {
    let file = Path::new(module).file_name().unwrap_or_default().to_string_lossy();
    if file.starts_with("python3") || file.starts_with("libpython3") {
        // Distributions strip the interpreter; then the size tells, which nothing else in it has at every call.
        let is_arena = match frame.function.as_deref() {
            Some(name) => name.contains("Arena") || name == "new_arena",
            None => ARENAS.iter().any(|size| stack.alloc_bytes == stack.alloc_count * size),
        };
        return if is_arena { "arenas of Python's objects (pymalloc)" } else { "other mappings" };
    }
    let runtime = RUNTIMES.iter().find(|(name, _)| file.starts_with(name));
    runtime.map_or("other mappings", |(_, what)| what)
}

fn is_c_library(module: &str) -> bool {
    let file = Path::new(module).file_name().unwrap_or_default().to_string_lossy();
    ["libc.so", "libc-", "libc.musl", "ld-musl", "ld-linux", "libpthread"]
        .iter()
        .any(|name| file.starts_with(name))
}

fn module_of(frame: &Frame) -> &str {
    frame.module.as_deref().unwrap_or_default()
}

/// Whether a function's name is one of an allocator, with whatever stands in front of it.
fn allocates(frame: &Frame) -> bool {
    let name = frame.function.as_deref().unwrap_or_default();
    ["malloc", "calloc", "realloc", "memalign", "aligned_alloc", "allocx"]
        .iter()
        .any(|part| name.contains(part))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::report::Allocator;

    /// A stack of `module!function` frames, leaf first, that mapped `count` times `size` bytes.
    fn check(frames: &[&str], count: u64, size: u64, expected: (&str, &str)) {
        let frame = |text: &&str| {
            let (module, function) = text.split_once('!').expect("module!function");
            Arc::new(Frame {
                module: Some(module.to_owned()),
                function: (!function.is_empty()).then(|| function.to_owned()),
                ..Frame::default()
            })
        };
        let stack = Stack {
            class: Class::Mapping.name().to_owned(),
            frames: frames.iter().map(frame).collect(),
            alloc_count: count,
            alloc_bytes: count * size,
            live_count: count,
            live_bytes: count * size,
            ..Stack::default()
        };
        let allocator = |path: &str| Allocator { path: path.to_owned(), ..Allocator::default() };
        let allocators = vec![allocator("/lib/libjemalloc.so.2"), allocator("/app")];
        let target = Target { exe: "/app".into(), allocators, ..Target::default() };
        let rows = mapped_by(&[stack.clone(), stack], &target);
        let [row] = &rows[..] else { panic!("{rows:?}") };
        assert_eq!((row.what.as_str(), row.module.as_str()), expected, "{frames:?}");
        assert_eq!((row.live_count, row.live_bytes), (2 * count, 2 * count * size));
    }

    #[test]
    fn who_maps_memory_for_what() {
        let pymalloc = "arenas of Python's objects (pymalloc)";
        let python = "/usr/bin/python3.11";
        check(&["/lib/libc.so.6!__mmap", "/usr/bin/python3.11!"], 3, 1 << 20, (pymalloc, python));
        check(
            &["/lib/libc.so.6!__mmap", "/usr/bin/python3.11!"],
            3,
            65536,
            ("other mappings", python),
        );
        check(
            &["/lib/libc.so.6!mmap", "/usr/bin/python3.11!_PyObject_ArenaMmap"],
            1,
            256 << 10,
            (pymalloc, python),
        );
        check(
            &["/lib/libc.so.6!mmap", "/usr/bin/python3.11!new_mmap_object"],
            1,
            1 << 20,
            ("other mappings", python),
        );
        check(
            &[
                "/lib/libc.so.6!mmap",
                "/lib/libc.so.6!",
                "/lib/libc.so.6!malloc",
                "/usr/bin/python3.11!",
            ],
            1,
            1 << 20,
            ("arenas of the allocator", "/lib/libc.so.6"),
        );
        check(
            &[
                "/lib/libc.so.6!mmap",
                "/lib/libjemalloc.so.2!",
                "/lib/libjemalloc.so.2!malloc",
                "/app!main",
            ],
            1,
            1 << 21,
            ("arenas of the allocator", "/lib/libjemalloc.so.2"),
        );
        check(
            &["/lib/libc.so.6!mmap", "/app!pages_map", "/app!_rjem_malloc", "/app!main"],
            1,
            1 << 21,
            ("arenas of the allocator", "/app"),
        );
        check(&["/lib/libc.so.6!mmap", "/app!main"], 1, 4096, ("other mappings", "/app"));
        check(
            &["/lib/libc.so.6!mmap", "/jvm/lib/server/libjvm.so!", "/lib/libc.so.6!"],
            1,
            1 << 21,
            ("the JVM's heap, metaspace and code", "/jvm/lib/server/libjvm.so"),
        );
        check(
            &["/lib/libc.so.6!mmap", "/lib/libc.so.6!pthread_create@@GLIBC_2.34", "/app!main"],
            1,
            8 << 20,
            ("stacks of threads", "/lib/libc.so.6"),
        );
        // With debug information of the C library, in a runtime whose own memory is told by its file.
        let frames = [
            "/lib/libc.so.6!__mmap",
            "/lib/libc.so.6!allocate_stack",
            "/lib/libc.so.6!__pthread_create_2_1",
            "/jvm/lib/server/libjvm.so!os::create_thread",
        ];
        check(&frames, 1, 1 << 20, ("stacks of threads", "/lib/libc.so.6"));
        check(&["/lib/libc.so.6!brk"], 1, 4096, ("other mappings", "/lib/libc.so.6"));
        check(&["/app!map_it"], 1, 4096, ("other mappings", "/app"));
    }
}
