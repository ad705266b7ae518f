//! What an allocator holds is what it says itself, to the byte.

use std::{
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    thread::sleep,
    time::Duration,
};

use memmgr::pools::{Arena, Free, Pools};
use memmgr_tests::{Program, Workload, capture::binary, require_root, take_turn};
use serde_json::Value;

const MIB: u64 = 1 << 20;

/// Runs a command where no debug files are.
fn without_debug_files(program: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new("unshare");
    let script = "mkdir -p /usr/lib/debug && mount -t tmpfs none /usr/lib/debug && exec \"$@\"";
    command.args(["--mount", "sh", "-c", script, "sh"]).arg(program).args(arguments);
    command.env("HOME", "/nonexistent").env_remove("XDG_CACHE_HOME");
    command
}

fn pools(output: &Output) -> Pools {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON of memmgr.pools/1")
}

/// `count` and `size` of the elements of this name and type in an arena's part of `malloc_info`.
fn element(heap: &str, name: &str, kind: &str) -> (u64, u64) {
    let begin = format!("<{name} type='{kind}'");
    let (_, rest) = heap.split_once(&begin).unwrap_or_else(|| panic!("{begin} in {heap}"));
    let element = rest.split_once('>').expect("an end").0;
    let attribute = |name: &str| {
        let value = element.split_once(&format!("{name}='")).map(|(_, rest)| rest);
        value.map_or(0, |value| {
            value.split('\'').next().expect("a value").parse().expect("a number")
        })
    };
    (attribute("count"), attribute("size"))
}

fn bins(arena: &Arena) -> Free {
    arena.bins.expect("known of a process that is quiet")
}

fn fast_bins(arena: &Arena) -> Free {
    arena.fast_bins.expect("known of a process that is quiet")
}

#[track_caller]
fn check(pools: &Pools, told: &Value) {
    let sum = |of: fn(&Arena) -> u64| pools.arenas.iter().map(of).sum::<u64>();
    let own = |name: &str| told[name].as_u64().unwrap_or_else(|| panic!("{name} in {told}"));
    let parameters = pools.parameters.as_ref().expect("those of glibc");
    let figures = [
        ("arena", sum(|arena| arena.system_bytes)),
        ("ordblks", sum(|arena| 1 + bins(arena).chunks)),
        ("smblks", sum(|arena| fast_bins(arena).chunks)),
        ("hblks", parameters.mapped_count),
        ("hblkhd", parameters.mapped_bytes),
        ("fsmblks", sum(|arena| fast_bins(arena).bytes)),
        ("uordblks", sum(|arena| arena.in_use_bytes.expect("known"))),
        ("fordblks", sum(|arena| arena.free_bytes().expect("known"))),
        ("keepcost", pools.arenas[0].top_bytes),
    ];
    for (name, bytes) in figures {
        assert_eq!(bytes, own(name), "{name} of {told}");
    }
    let xml = told["xml"].as_str().expect("text");
    let heaps: Vec<&str> = xml.split("<heap nr=").skip(1).collect();
    assert_eq!(heaps.len(), pools.arenas.len(), "{xml}");
    for (arena, heap) in pools.arenas.iter().zip(heaps) {
        // Here glibc adds up sizes with their flags: one or five a chunk (`chunksize_nomask` in __malloc_info).
        let (count, with_flags) = element(heap, "total", "rest");
        let Free { chunks, bytes } = bins(arena);
        assert_eq!(count, 1 + chunks, "{heap}");
        let flags = with_flags.wrapping_sub(arena.top_bytes + bytes);
        assert!((chunks..=5 * chunks).contains(&flags), "{flags} {arena:?} {heap}");
        let fast = (fast_bins(arena).chunks, fast_bins(arena).bytes);
        assert_eq!(element(heap, "total", "fast"), fast, "{heap}");
        assert_eq!(element(heap, "system", "current").1, arena.system_bytes, "{heap}");
        assert_eq!(element(heap, "system", "max").1, arena.most_system_bytes, "{heap}");
    }
}

fn tell(workload: &mut Workload, line: &str) {
    workload.send(line);
    assert_eq!(workload.line(), "done", "{line}");
}

fn start_threads(workload: &mut Workload, order: &str) {
    workload.send(order);
    let mut lines: Vec<String> = (0..4).map(|_| workload.line()).collect();
    lines.sort();
    assert_eq!(lines, ["done", "started", "started", "started"]);
}

fn memmgr(arguments: &[&str], pid: u32) -> Command {
    let mut command = Command::new(binary());
    command.args(arguments).args(["-p", &pid.to_string()]);
    command
}

/// Figures of a program that holds more and more, by debug files or without them.
fn compare(start: impl Fn(&Path, &[&str]) -> Command, found: &str) {
    let program: PathBuf = Program::c("tells-mallinfo").build();
    let mut workload = Workload::start_command(start(&program, &[]));
    let pid = workload.pid().to_string();
    let look = || {
        let output = start(&binary(), &["pools", "-p", &pid, "--json"]).output();
        pools(&output.expect("memmgr runs"))
    };
    let orders = [
        "keep 100 40",
        "holes 2000 24",
        "holes 5000 3000",
        "mixed 40000",
        "large 3",
        "risen",
        "keep 10 200000",
    ];
    for order in orders {
        tell(&mut workload, order);
        let pools = look();
        assert!(pools.is_quiet == Some(true) && pools.found.contains(found), "{}", pools.found);
        check(&pools, &workload.ask("stats"));
    }
    start_threads(&mut workload, "threads 3");
    let pools = look();
    check(&pools, &workload.ask("stats"));
    assert_eq!((pools.threads, pools.arenas.len()), (4, 4));
    let used = |arena: &Arena| arena.in_use_bytes > Some(300_000) && arena.threads == 1;
    assert!(pools.arenas[1..].iter().all(used), "{:?}", pools.arenas);
    let resident: u64 = pools.arenas.iter().filter_map(|arena| arena.resident_bytes).sum();
    let system: u64 = pools.arenas.iter().map(|arena| arena.system_bytes).sum();
    assert!(resident > 15 * MIB && resident <= system, "{resident} {system}");
    let parameters = pools.parameters.as_ref().expect("those of glibc");
    assert!(parameters.thresholds_rise);
    assert!(parameters.mmap_threshold_bytes > 4 * MIB, "{parameters:?}");
    assert_eq!((parameters.cached_sizes, parameters.cached_per_size), (64, 7));
}

#[test]
fn figures_of_glibc_are_its_own() {
    if !require_root() {
        return;
    }
    let _turn = take_turn();
    compare(
        |program, arguments| {
            let mut command = Command::new(program);
            command.args(arguments);
            command
        },
        "by the symbols of",
    );
}

#[test]
fn without_debug_files_they_are_found_by_a_search() {
    if !require_root() {
        return;
    }
    let _turn = take_turn();
    compare(without_debug_files, "by a search");
}

#[test]
fn without_mappings_for_large_blocks_arenas_are_read_too() {
    if !require_root() {
        return;
    }
    let _turn = take_turn();
    let mut command = without_debug_files(&Program::c("tells-mallinfo").build(), &[]);
    command.env("MALLOC_MMAP_MAX_", "0");
    let mut workload = Workload::start_command(command);
    tell(&mut workload, "large 3");
    for start in [Command::new(binary()), without_debug_files(&binary(), &[])] {
        let mut command = start;
        command.args(["pools", "--json", "-p", &workload.pid().to_string()]);
        check(&pools(&command.output().expect("memmgr runs")), &workload.ask("stats"));
    }
}

/// Whatever it does meanwhile: the table is shown, hit and miss are told, and what cannot be known is absent.
#[test]
fn a_busy_program_is_read_too() {
    if !require_root() {
        return;
    }
    let _turn = take_turn();
    let mut workload = Workload::start(&Program::c("tells-mallinfo"), &[]);
    start_threads(&mut workload, "churn 3");
    for _ in 0..10 {
        let found =
            pools(&memmgr(&["pools", "--json"], workload.pid()).output().expect("memmgr runs"));
        assert_eq!(found.arenas.len(), 4, "{:?}", found.arenas);
        for arena in &found.arenas {
            assert!(arena.top_bytes <= arena.system_bytes, "{arena:?}");
            let lists = [arena.bins, arena.fast_bins].map(|free| free.is_some());
            assert_eq!(lists, [arena.in_use_bytes.is_some(); 2], "{arena:?}");
            let sum = arena.in_use_bytes.zip(arena.free_bytes());
            assert!(sum.is_none_or(|(used, free)| used + free == arena.system_bytes), "{arena:?}");
        }
    }
    let arguments = ["pools", "--json", "--duration", "2s"];
    let found = pools(&memmgr(&arguments, workload.pid()).output().expect("memmgr runs"));
    let served = found.course.and_then(|course| course.served).expect("allocations");
    assert!(served.allocations > 10_000, "{served:?}");
}

#[test]
fn what_was_seen_of_a_program_that_ends_is_told() {
    if !require_root() {
        return;
    }
    let _turn = take_turn();
    let mut workload = Workload::start(&Program::c("tells-mallinfo"), &[]);
    tell(&mut workload, "holes 5000 3000");
    let mut command = memmgr(&["pools", "--duration", "60s"], workload.pid());
    let running = command.stdout(Stdio::piped()).spawn().expect("memmgr runs");
    sleep(Duration::from_secs(3));
    tell(&mut workload, "keep 1000 40");
    sleep(Duration::from_secs(1));
    drop(workload);
    let output = running.wait_with_output().expect("memmgr ends");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}");
    for part in [
        "from before the capture, since afterwards the process ended",
        ", until the target exited",
        "Hit and miss",
        " allocations, ",
        "in 1 arena",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[test]
fn threads_of_the_kernel_have_no_memory() {
    if !require_root() || !std::fs::read("/proc/2/comm").is_ok_and(|comm| comm == b"kthreadd\n") {
        return;
    }
    let said = |verb| {
        let output = memmgr(&[verb], 2).output().expect("memmgr runs");
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let leaks = said("leaks");
    assert!(leaks.1.contains("2 is a thread of the kernel (kthreadd)"), "{leaks:?}");
    assert_eq!([said("pools"), said("go")], [leaks.clone(), leaks]);
}

#[test]
fn a_statically_linked_program_is_read_too() {
    if !require_root() {
        return;
    }
    let _turn = take_turn();
    let program = Program::c("tells-mallinfo").flags(&["-static"]);
    let mut workload = Workload::start(&program, &[]);
    tell(&mut workload, "holes 5000 3000");
    let output = Command::new(binary())
        .args(["pools", "--json", "-p", &workload.pid().to_string()])
        .output()
        .expect("memmgr runs");
    check(&pools(&output), &workload.ask("stats"));
}

#[test]
fn what_has_no_arenas_is_told_so() {
    if !require_root() {
        return;
    }
    let _turn = take_turn();
    let program = Program::c("tells-mallinfo").flags(&["-static", "-s"]);
    let workload = Workload::start(&program, &[]);
    let output = Command::new(binary())
        .args(["pools", "-p", &workload.pid().to_string()])
        .output()
        .expect("memmgr runs");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(5), "{stderr}");
    assert!(stderr.contains("has no glibc mapped"), "{stderr}");
}

/// Of a program that is linked statically and stripped, its debug file tells where they are.
#[test]
fn a_stripped_static_program_is_read_by_its_debug_file() {
    if !require_root() {
        return;
    }
    let _turn = take_turn();
    let folder = tempfile::tempdir().expect("a folder");
    let program = folder.path().join("program");
    let whole =
        Program::c("tells-mallinfo").flags(&["-static", "-Wl,--build-id=0x1234abcd"]).build();
    let cached = folder.path().join("1234abcd/debuginfo");
    std::fs::create_dir(cached.parent().expect("a folder")).expect("a folder");
    for (flag, to) in [("--strip-all", &program), ("--only-keep-debug", &cached)] {
        let made = Command::new("objcopy").arg(flag).arg(&whole).arg(to).status();
        assert!(made.is_ok_and(|status| status.success()), "{flag}");
    }
    let mut workload = Workload::start_command(Command::new(&program));
    tell(&mut workload, "holes 5000 3000");
    let output = memmgr(&["pools", "--json"], workload.pid())
        .env("DEBUGINFOD_CACHE_PATH", folder.path())
        .output()
        .expect("memmgr runs");
    let pools = pools(&output);
    assert!(pools.found.contains("debuginfo"), "{}", pools.found);
    check(&pools, &workload.ask("stats"));
}
