//! Tests of `discover`.

use std::collections::HashMap;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;

use super::*;
use crate::allocator::Role;
use crate::allocator::mapped::{MappedRange, open_mapped};
use crate::units::{FileOffset, Pid};

const KERNEL: KernelFacts = KernelFacts { multi_byte_nop_emulated: true };

fn request(allocators: &[&str], probes: &[&str]) -> Request {
    Request {
        allocators: allocators.iter().map(|text| text.parse().unwrap()).collect(),
        probes: probes.iter().map(|text| text.parse().unwrap()).collect(),
        ..Request::of(KERNEL)
    }
}

/// The mappings of a live process, as its procfs shows them.
fn mappings(pid: u32) -> Vec<MappedFile> {
    let main = std::fs::metadata(format!("/proc/{pid}/exe")).unwrap();
    let mut files: HashMap<u64, MappedFile> = HashMap::new();
    for line in std::fs::read_to_string(format!("/proc/{pid}/maps")).unwrap().lines() {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let hex = |text: &str| u64::from_str_radix(text, 16).unwrap();
        let (start, end) = fields[0].split_once('-').unwrap();
        let (major, minor) = fields[3].split_once(':').unwrap();
        let Some(path) = fields.get(5).filter(|path| path.starts_with('/')) else { continue };
        let inode = fields[4].parse().unwrap();
        let range = MappedRange {
            start: hex(start),
            end: hex(end),
            offset: hex(fields[2]),
            executable: fields[1].contains('x'),
        };
        let device = rustix::fs::makedev(hex(major) as u32, hex(minor) as u32);
        let new = || MappedFile {
            path: path.into(),
            device,
            inode,
            ranges: vec![],
            deleted: false,
            main: inode == main.ino(),
        };
        files.entry(inode).or_insert_with(new).ranges.push(range);
    }
    let mut files: Vec<MappedFile> = files.into_values().collect();
    files.sort_by(|a, b| a.path.cmp(&b.path));
    files
}

fn plan_of(pid: u32, request: &Request) -> AttachPlan {
    plan(&mappings(pid), |file| open_mapped(Path::new("/proc"), Pid(pid), file), request).unwrap()
}

/// A file as a mapping that covers it whole.
fn mapped(path: &Path) -> MappedFile {
    let meta = std::fs::metadata(path).unwrap();
    let range =
        MappedRange { start: 0x40_0000, end: 0x40_0000 + meta.len(), offset: 0, executable: true };
    MappedFile {
        path: path.into(),
        device: meta.dev(),
        inode: meta.ino(),
        ranges: vec![range],
        deleted: false,
        main: true,
    }
}

fn compile(dir: &Path, source: &str, flags: &[&str]) -> MappedFile {
    let (input, output) = (dir.join("input.c"), dir.join("output"));
    std::fs::write(&input, source).unwrap();
    let status = Command::new("cc")
        .args(["-O2", "-o"])
        .arg(&output)
        .arg(&input)
        .args(flags)
        .status()
        .unwrap();
    assert!(status.success(), "cc {flags:?}");
    mapped(&output)
}

/// Plans for files that are opened by their paths, and tells the plan in lines: functions with roles, then what is not covered.
fn outcome(files: &[MappedFile], request: &Request) -> String {
    let plan = match plan(files, |file| File::open(&file.path), request) {
        Ok(plan) => plan,
        Err(error) => return error.to_string(),
    };
    let function = |(allocator, f): (&PlannedAllocator, &PlannedFunction)| {
        format!("{:?} {} {} {}", allocator.family, f.role.name(), f.symbol, f.site.description)
    };
    let not_covered = plan.not_covered.iter().map(|n| format!("not {}: {}", n.what, n.why));
    plan.functions().into_iter().map(function).chain(not_covered).collect::<Vec<_>>().join("\n")
}

#[test]
fn this_process_is_planned_by_its_c_library() {
    let plan = plan_of(std::process::id(), &request(&[], &[]));
    let [libc] = &plan.allocators[..] else { panic!("{plan:#?}") };
    assert_eq!(plan.not_covered, []);
    assert!(libc.path.to_string_lossy().contains("libc"), "{libc:?}");
    assert!(libc.is_unchanged().unwrap());
    assert_eq!(std::fs::metadata(libc.attach_path()).unwrap().ino(), libc.identity.1);

    let kinds: Vec<u8> = libc.functions.iter().map(|f| f.cookie.kind()).collect();
    assert!(kinds.is_sorted_by_key(|kind| std::cmp::Reverse(*kind)), "frees first: {kinds:?}");
    let places: std::collections::BTreeSet<u64> =
        libc.functions.iter().map(|f| f.probe.0).collect();
    assert_eq!(places.len(), libc.functions.len());
    for (position, function) in libc.functions.iter().enumerate() {
        assert_eq!(usize::from(function.cookie.function()), position);
        assert_eq!(function.probe.0, function.function.0 + u64::from(function.site.offset));
        assert_eq!(function.needs_return, function.role.needs_return());
        let leaf = matches!(function.role, Role::Malloc | Role::Calloc);
        assert_eq!(function.cookie.is_leaf(), leaf, "{function:?}");
    }
    // The planned place is where this process runs malloc.
    let malloc = libc.functions.iter().find(|f| f.role == Role::Malloc).unwrap();
    let range = mappings(std::process::id())
        .into_iter()
        .filter(|file| file.path == libc.path)
        .flat_map(|file| file.ranges)
        .find(|range| range.executable)
        .unwrap();
    let address = range.start + (malloc.function.0 - range.offset);
    assert_eq!(address, libc::malloc as *const () as u64);
    assert!(malloc.symbol.split('=').any(|name| name == "malloc"));
}

const OWN: &str = r"
    #include <stddef.h>
    static char room[1 << 20]; static size_t used;
    __attribute__((noinline, used)) static void *take(size_t n) { used += n + 16; return room + used - n; }
    void *PREFIX(malloc)(size_t n) { return take(n); }
    void *PREFIX(calloc)(size_t n, size_t m) { return take(n * m); }
    void PREFIX(free)(void *p) { if (p) take((size_t)p & 1); }
    void *PREFIX(realloc)(void *p, size_t n) { PREFIX(free)(p); return take(n); }
    int main(void) { PREFIX(free)(PREFIX(realloc)(PREFIX(calloc)(1, 2), 3)); return PREFIX(malloc)(1) == 0; }
";

fn own(prefix: &str) -> String {
    OWN.replace("PREFIX(", &format!("P({prefix},"))
        .replace("#include", "#define P_(a, b) a ## b\n#define P(a, b) P_(a, b)\n#include")
}

fn check_own(flags: &[&str], prefix: &str, expected: &str) {
    let dir = tempfile::tempdir().unwrap();
    let file = compile(dir.path(), &own(prefix), flags);
    let lines = outcome(&[file], &request(&[], &[])).replace(&dir.path().display().to_string(), "");
    let without_sites: Vec<&str> = lines
        .lines()
        .map(|line| {
            line.split_inclusive(' ')
                .take(if line.starts_with("not ") { 99 } else { 3 })
                .map(str::len)
                .sum()
        })
        .zip(lines.lines())
        .map(|(len, line): (usize, &str)| line[..len].trim_end())
        .collect();
    assert_eq!(without_sites.join("\n"), expected);
}

#[test]
fn a_program_with_its_own_allocator() {
    let plain = "Other free free\nOther realloc realloc\nOther malloc malloc\nOther calloc calloc";
    check_own(&["-fno-builtin"], "", plain);
    check_own(&["-fno-builtin", "-rdynamic", "-s"], "", plain);
    check_own(
        &["-fno-builtin"],
        "_rjem_",
        "Other free _rjem_free\nOther realloc _rjem_realloc\nOther malloc _rjem_malloc\nOther calloc _rjem_calloc",
    );
    let nothing = "not /output: no allocator is visible: no mapped file has functions named malloc and free. If the program brings \
                   its own under another name, give --allocator /output:PREFIX; if its symbols are stripped, give the functions' \
                   offsets in the file: --probe malloc@0x… --probe free@0x…";
    check_own(&["-fno-builtin", "-static", "-s"], "", nothing);
    check_own(&["-fno-builtin"], "my_", nothing);
}

/// A library that calls its functions `mi_…`, with some of them doing nothing but to call another.
const MI: &str = r"
    #include <stddef.h>
    static char room[1 << 20]; static size_t used;
    __attribute__((noinline, used)) static void *take(size_t n) { used += n + 16; return room + used - n; }
    __attribute__((noinline)) void mi_free(void *p) { if (p) take((size_t)p & 1); }
    void mi_free_size(void *p, size_t n) { (void)n; mi_free(p); }
    void mi_free_aligned(void *p, size_t a) { (void)a; if (p) used += 1; }
    void *mi_malloc_aligned(size_t n, size_t a) { (void)a; return take(n); }
    void *mi_new(size_t n) { void *p = take(n); if (!p) __builtin_trap(); return p; }
    void *mi_heap_zalloc(void *heap, size_t n) { (void)heap; return take(n); }
    void *zalloc(size_t n) { return take(n); }
    void mi_heap_destroy(void *heap) { (void)heap; used = 0; }
    int main(void) { return 0; }
";

#[test]
fn functions_that_one_allocator_alone_has() {
    let dir = tempfile::tempdir().unwrap();
    for flags in [&["-fno-builtin"][..], &["-fno-builtin", "-shared", "-fPIC"]] {
        let file = compile(dir.path(), MI, flags);
        let plan = plan(&[file], |file| File::open(&file.path), &request(&[], &[])).unwrap();
        let [allocator] = &plan.allocators[..] else { panic!("{plan:#?}") };
        assert_eq!(allocator.family, Family::Mimalloc);
        let told: Vec<String> = allocator
            .functions
            .iter()
            .map(|f| format!("{} {} {}", f.symbol, f.role.name(), f.exits.len()))
            .collect();
        // `mi_free_size` only hands on to `mi_free`, and `mi_free_aligned` does not.
        assert_eq!(
            told,
            [
                "mi_free free 0",
                "mi_free_aligned free_sized 0",
                "mi_malloc_aligned malloc 0",
                "mi_new new 1",
                "mi_heap_zalloc heap_malloc 0",
            ],
            "{flags:?}"
        );
        assert!(allocator.functions.iter().all(|f| !f.cookie.is_leaf()));
        let gaps: Vec<&str> = plan.not_covered.iter().map(|gap| gap.what.as_str()).collect();
        assert!(matches!(gaps[..], [gap] if gap.starts_with("mi_heap_destroy in ")), "{gaps:?}");
    }
}

#[test]
fn names_of_a_stripped_file_come_from_its_debug_file() {
    let dir = tempfile::tempdir().unwrap();
    let text = own("_rjem_")
        .replace("static char room", "const char *mark = \"<jemalloc>: \"; static char room");
    let whole = compile(dir.path(), &text, &["-fno-builtin", "-Wl,--build-id"]);
    let build_id =
        Elf::open(File::open(&whole.path).unwrap()).unwrap().build_id().unwrap().to_owned();
    let debug = dir.path().join("debug");
    let name = debug.join(debug_name(&build_id).unwrap());
    std::fs::create_dir_all(name.parent().unwrap()).unwrap();
    std::fs::copy(&whole.path, &name).unwrap();
    let stripped = dir.path().join("stripped");
    let strip = Command::new("strip").arg("-o").arg(&stripped).arg(&whole.path).status().unwrap();
    assert!(strip.success());
    let files = [mapped(&stripped)];
    let found = outcome(&files, &Request { debug_directories: vec![debug], ..request(&[], &[]) });
    assert!(
        found.starts_with("Jemalloc free _rjem_free ")
            || found.starts_with("Other free _rjem_free "),
        "{found}"
    );
    assert_eq!(found.lines().count(), 4, "{found}");
    let told = outcome(&files, &request(&[], &[]));
    assert!(
        told.contains("it seems to hold jemalloc's malloc (it has the text `<jemalloc>`)"),
        "{told}"
    );
    assert!(
        told.contains(&format!("/usr/lib/debug/{}, or", debug_name(&build_id).unwrap())),
        "{told}"
    );
}

#[test]
fn an_allocator_that_a_person_names() {
    let dir = tempfile::tempdir().unwrap();
    let file = compile(dir.path(), &own("my_"), &["-fno-builtin"]);
    let path = file.path.display().to_string();
    let files = [file];
    let lines = outcome(&files, &request(&[&format!("{path}:my_")], &[]));
    assert!(lines.starts_with("Other free my_free"), "{lines}");
    assert_eq!(lines.lines().count(), 4);
    for (option, expected) in [
        (
            format!("{path}:your_"),
            format!(
                "{path} has no functions `your_malloc` and `your_free` in its symbol tables; if `nm -D` and `nm` show others, give \
                 what stands before their names: --allocator {path}:PREFIX"
            ),
        ),
        (
            "/no\u{1b}where:my_".into(),
            "the process does not execute /no\\u{1b}where; `grep r-xp /proc/PID/maps` shows what it does".into(),
        ),
    ] {
        assert_eq!(outcome(&files, &request(&[&option], &[])), expected);
    }
    let script = dir.path().join("script");
    std::fs::write(&script, "#!").unwrap();
    let expected = format!("{0} cannot be used: not an ELF file", script.display());
    assert_eq!(outcome(&[mapped(&script)], &request(&[script.to_str().unwrap()], &[])), expected);
    assert!(outcome(&[mapped(&script)], &request(&[], &[])).contains("no allocator is visible"));
}

#[test]
fn probes_that_a_person_gives_are_verified() {
    let dir = tempfile::tempdir().unwrap();
    let with_symbols = compile(dir.path(), &own("my_"), &["-fno-builtin"]);
    let elf = Elf::open(File::open(&with_symbols.path).unwrap()).unwrap();
    let start = |name: &str| elf.functions(|n, _, _| n == name).unwrap()[0].place.unwrap().0;
    let (malloc, free, main) = (start("my_malloc"), start("my_free"), elf.address(FileOffset(0)));
    assert_eq!(main, None);
    let data = elf
        .functions(|_, _, _| true)
        .unwrap()
        .iter()
        .filter_map(|s| s.place.ok())
        .map(|o| o.0)
        .max()
        .unwrap()
        + 0x2000;
    let stripped_dir = tempfile::tempdir().unwrap();
    let stripped = compile(stripped_dir.path(), &own("my_"), &["-fno-builtin", "-s"]);
    let bare_dir = tempfile::tempdir().unwrap();
    let bare = compile(
        bare_dir.path(),
        &own("my_"),
        &["-fno-builtin", "-s", "-fno-asynchronous-unwind-tables"],
    );

    for file in [&with_symbols, &stripped] {
        let both = [format!("malloc@{malloc:#x}"), format!("free@{}:{free}", file.path.display())];
        let lines = outcome(std::slice::from_ref(file), &request(&[], &[&both[0], &both[1]]));
        assert!(lines.starts_with("Other free free "), "{lines}");
        assert!(lines.contains("\nOther malloc malloc "), "{lines}");
        assert_eq!(lines.lines().count(), 2, "{lines}");
        for (offset, expected) in [
            (malloc + 1, "is not an instruction that every call passes"),
            (0, "the offset is not in a segment with code"),
            (data, "the offset is not in a segment with code"),
            (u64::MAX, "the offset is not in a segment with code"),
        ] {
            let message = outcome(
                std::slice::from_ref(file),
                &request(&[], &[&format!("malloc@{offset:#x}")]),
            );
            assert!(message.starts_with(&format!("--probe malloc@{offset:#x}: ")), "{message}");
            assert!(message.contains(expected), "{message}");
        }
    }
    // Between functions, and without symbols and tables, nothing tells where instructions begin.
    let elf = Elf::open(File::open(&bare.path).unwrap()).unwrap();
    assert!(elf.address(FileOffset(malloc)).is_some());
    let message = outcome(&[bare], &request(&[], &[&format!("malloc@{malloc:#x}")]));
    assert!(
        message.contains("neither a symbol nor the unwind tables say that a function is there"),
        "{message}"
    );
    let twice = [format!("free@{free}"), format!("free@{free:#x}")];
    assert_eq!(outcome(&[stripped], &request(&[], &[&twice[0], &twice[1]])).lines().count(), 1);
}

#[test]
fn a_free_that_cannot_be_probed_leaves_the_allocator_out() {
    let dir = tempfile::tempdir().unwrap();
    let asm = |free: &str, malloc: &str| {
        format!(
            "asm(\".globl free, malloc\\n.type free, @function\\n.type malloc, @function\\n\
             free: {free}\\nret\\n.size free, .-free\\nmalloc: {malloc}\\nret\\n.size malloc, .-malloc\");"
        )
    };
    for (free, malloc, expected) in [
        (
            "lock addq $1, (%rdi)",
            "push %rbp",
            "not /output: its allocator is left out as a whole: free cannot be probed: the kernel puts no probe on the \
             instruction add (f0 48 83 07 01)\nnot /output: no allocator is visible",
        ),
        (
            "push %rbp",
            "lock addq $1, (%rdi)",
            "Other free free entry push\nnot malloc in /output: the kernel puts no probe on the instruction add (f0 48 83 07 01)",
        ),
    ] {
        let file = compile(dir.path(), &asm(free, malloc), &["-shared", "-fPIC", "-nostdlib"]);
        let lines =
            outcome(&[file], &request(&[], &[])).replace(&dir.path().display().to_string(), "");
        assert!(lines.starts_with(expected), "{lines}");
    }
}

#[test]
fn two_allocators_have_one_order() {
    let dir = tempfile::tempdir().unwrap();
    let program = compile(dir.path(), &own(""), &["-fno-builtin", "-rdynamic"]);
    let libc = mappings(std::process::id())
        .into_iter()
        .find(|file| file.path.to_string_lossy().contains("libc.so"))
        .unwrap();
    let plan =
        plan(&[program.clone(), libc, program], |file| File::open(&file.path), &request(&[], &[]))
            .unwrap();
    assert_eq!(plan.allocators.len(), 2, "a file that is mapped twice is planned once");
    let functions = plan.functions();
    // One that is not known may stand before the other, which stands before none.
    let leaves = functions.iter().filter(|(_, function)| function.cookie.is_leaf());
    assert!(leaves.clone().all(|(allocator, _)| allocator.family == Family::Glibc));
    assert_eq!(leaves.count(), 2);
    assert!(functions.iter().enumerate().all(|(i, (_, f))| usize::from(f.cookie.function()) == i));
    assert!(functions.is_sorted_by_key(|(_, f)| std::cmp::Reverse(f.cookie.kind())));
    assert_eq!(
        functions.iter().take(2).map(|(a, _)| a.family).collect::<Vec<_>>(),
        [Family::Other, Family::Glibc]
    );
}

#[test]
fn what_is_not_mapped_as_code_is_not_planned() {
    let dir = tempfile::tempdir().unwrap();
    let mut file = compile(dir.path(), &own(""), &["-fno-builtin"]);
    file.ranges[0].end = file.ranges[0].start + 0x100;
    let lines = outcome(&[file.clone()], &request(&[], &[]));
    assert!(
        lines.contains("free cannot be probed: the process has not mapped it as code"),
        "{lines}"
    );
    file.ranges[0].executable = false;
    assert!(
        outcome(&[file], &request(&[], &[]))
            .starts_with("not the process: no allocator is visible")
    );
}

#[test]
fn a_file_that_cannot_be_opened_is_named() {
    let mut file = mapped(Path::new("/proc/self/exe"));
    file.path = "/gone\n.so".into();
    file.main = false;
    let lines = outcome(&[file], &request(&[], &[]));
    assert!(
        lines.starts_with(
            "not /gone\\n.so: it is mapped but cannot be looked into: cannot be read: No such file"
        ),
        "{lines}"
    );
}

#[test]
fn an_overwritten_file_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let file = compile(dir.path(), &own(""), &["-fno-builtin"]);
    let plan = plan(std::slice::from_ref(&file), |file| File::open(&file.path), &request(&[], &[]))
        .unwrap();
    assert!(plan.allocators[0].is_unchanged().unwrap());
    std::fs::write(&file.path, "other contents").unwrap();
    assert!(!plan.allocators[0].is_unchanged().unwrap());
}

/// Prints the plan for a live process: `PID=… cargo test … plan_of_a_process -- --ignored --nocapture`.
#[test]
#[ignore = "needs the PID of a process to look at"]
fn plan_of_a_process() {
    let pid = std::env::var("PID").unwrap().parse().unwrap();
    println!("{:#?}", plan_of(pid, &request(&[], &[])));
}
