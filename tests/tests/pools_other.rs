//! Of other allocators than glibc's: a jemalloc with debug information says the same from outside as from inside, and of any other
//! what its mappings and settings tell is right.

use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

use memmgr::pools::{Counted, JemallocArena, Origin, Pools, View};
use memmgr_tests::{
    Program, Workload, capture::binary, jemalloc::Jemalloc, require_root, servers::redis, take_turn,
};
use serde_json::Value;

const MIB: u64 = 1 << 20;
const NEWEST: Jemalloc = Jemalloc { package: "0.7.1", version: "5.3.1", has_statistics: true };

fn run(pid: u32, arguments: &[&str], environment: &[(&str, &Path)]) -> Output {
    let mut command = Command::new(binary());
    command.args(["pools", "-p", &pid.to_string()]).args(arguments);
    command.envs(environment.iter().copied()).output().expect("memmgr runs")
}

fn look_with(pid: u32, environment: &[(&str, &Path)]) -> Pools {
    let output = run(pid, &["--json"], environment);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON of memmgr.pools/1")
}

fn look(pid: u32) -> Pools {
    look_with(pid, &[])
}

fn text(pid: u32) -> String {
    let output = run(pid, &[], &[]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

fn tell(workload: &mut Workload, line: &str) {
    workload.send(line);
    assert_eq!(workload.line(), "done", "{line}");
}

/// The arena that jemalloc itself tells of.
fn told(arena: &Value, page: u64) -> JemallocArena {
    let own = |name: &str| arena[name].as_u64().unwrap_or_else(|| panic!("{name} in {arena}"));
    let bins = arena["bins"].as_array().map(|bins| {
        let bin = |bin: &Value| serde_json::from_value::<[u64; 5]>(bin.clone()).expect("figures");
        bins.iter().map(bin).collect::<Vec<_>>()
    });
    let counted = bins.map(|bins| Counted {
        resident_bytes: own("resident"),
        mapped_bytes: own("mapped"),
        base_bytes: own("base"),
        large_count: own("large.count"),
        large_bytes: own("large.allocated"),
        bins: bins
            .into_iter()
            .map(|[size_bytes, slab_bytes, slab_regions, slabs, regions]| memmgr::pools::Bin {
                size_bytes,
                slab_bytes,
                slab_regions,
                slabs,
                regions,
            })
            .collect(),
    });
    JemallocArena {
        index: own("index"),
        threads: own("threads"),
        active_bytes: own("pactive") * page,
        dirty_bytes: own("pdirty") * page,
        muzzy_bytes: own("pmuzzy") * page,
        retained_bytes: arena["retained"].as_u64().unwrap_or(0),
        dirty_decay_ms: arena["dirty_decay_ms"].as_i64().expect("a time"),
        muzzy_decay_ms: arena["muzzy_decay_ms"].as_i64().expect("a time"),
        cached_bytes: arena["tcache_bytes"].as_u64(),
        counted,
    }
}

/// What memmgr says of the arenas is what jemalloc says, before and after.
#[track_caller]
fn check(workload: &mut Workload, environment: &[(&str, &Path)]) -> Pools {
    // The first time it takes memory for itself.
    let _first: Value = workload.ask("stats");
    let before: Value = workload.ask("stats");
    let pools = look_with(workload.pid(), environment);
    let after: Value = workload.ask("stats");
    assert_eq!(before, after, "telling changes nothing");
    assert_eq!((pools.view, pools.is_quiet), (View::Arenas, Some(true)), "{:?}", pools.why);
    let page = after["page"].as_u64().expect("a size");
    let own: Vec<_> =
        after["arenas"].as_array().expect("arenas").iter().map(|arena| told(arena, page)).collect();
    let mut arenas = pools.jemalloc.clone().expect("its inside").arenas;
    if own.iter().all(|arena| arena.counted.is_none()) {
        // Then jemalloc does not tell it.
        for arena in &mut arenas {
            (arena.retained_bytes, arena.cached_bytes) = (0, None);
        }
    }
    assert_eq!(arenas, own);
    pools
}

fn compare(jemalloc: Jemalloc) {
    let mut workload = Workload::start_command(Command::new(jemalloc.build()));
    let orders = [
        "keep 1000 40",
        "holes 20000 24",
        "holes 5000 3000",
        "keep 30 100000",
        "keep 5 3000000",
        "drop",
        "keep 10 20000",
    ];
    for order in orders {
        tell(&mut workload, order);
        check(&mut workload, &[]);
    }
    tell(&mut workload, "threads 6");
    let pools = check(&mut workload, &[]);
    let found = pools.jemalloc.as_ref().expect("its inside");
    assert_eq!(found.has_statistics, jemalloc.has_statistics);
    assert_eq!(found.arenas.len(), 4, "{found:?}");
    assert_eq!(found.arenas.iter().map(|arena| arena.threads).sum::<u64>(), 7);
    // Dropped blocks are dirty pages.
    assert!(found.arenas.iter().map(|arena| arena.dirty_bytes).sum::<u64>() > 10 * MIB);
    assert_eq!(pools.version, format!("jemalloc {}", jemalloc.version));
    assert_eq!(pools.settings.value("dirty_decay_ms"), Some("60000"));
    assert_eq!(pools.settings.value("narenas"), Some("4"));
    assert!(pools.settings.0.iter().any(|setting| setting.origin == Origin::Memory));
    // What the program prints with is glibc's.
    let [beside] = &pools.beside[..] else { panic!("{:?}", pools.beside) };
    assert!(beside.library.ends_with("libc.so.6") && beside.is_shown, "{beside:?}");
    assert!(!pools.arenas.is_empty() && pools.parameters.is_some());
    let text = text(workload.pid());
    let words = ["read twice, and the same both times", "Heap of glibc"];
    assert!(words.iter().all(|word| text.contains(word)), "{text}");
    let tells = text.contains("it was built without statistics");
    assert_eq!(tells, !jemalloc.has_statistics, "{text}");
    if jemalloc.has_statistics {
        let all = found.sizes();
        let room: u64 = all.iter().map(memmgr::pools::Bin::free_bytes).sum();
        assert!(room > MIB, "{all:?}");
    }
}

#[test]
fn figures_of_jemalloc_5_2_are_its_own() {
    if require_root() {
        let _turn = take_turn();
        compare(Jemalloc { package: "0.4.3", version: "5.2.1", has_statistics: true });
    }
}

#[test]
fn figures_of_jemalloc_5_3_are_its_own() {
    if require_root() {
        let _turn = take_turn();
        compare(Jemalloc { package: "0.6.1", version: "5.3.0", has_statistics: true });
        compare(NEWEST);
    }
}

#[test]
fn without_statistics_pages_are_known() {
    if require_root() {
        let _turn = take_turn();
        compare(Jemalloc { has_statistics: false, ..NEWEST });
    }
}

#[test]
fn a_busy_program_is_read_too() {
    if !require_root() {
        return;
    }
    let _turn = take_turn();
    let mut workload = Workload::start_command(Command::new(NEWEST.build()));
    tell(&mut workload, "busy 3");
    let held = |pools: &Pools| {
        assert_eq!(pools.view, View::Arenas, "{:?}", pools.why);
        let arenas = pools.jemalloc.clone().expect("its inside").arenas;
        arenas.iter().filter_map(JemallocArena::in_use_bytes).sum::<u64>()
    };
    // Three times 4096 blocks of 15 KB, and what is in caches: each look finds another moment.
    let looks: Vec<Pools> = (0..20).map(|_| look(workload.pid())).collect();
    let last = &looks[19];
    assert!(looks.iter().any(|look| look.jemalloc != last.jemalloc));
    assert!((50 * MIB..400 * MIB).contains(&held(last)), "{}", held(last));
    let rss = last.rss_bytes.expect("its RSS");
    assert!(looks.iter().all(|look| held(look) < rss + rss / 4), "{rss} {last:?}");
}

/// Symbols alone tell settings, and the types may be in a cache of debuginfod.
#[test]
fn debug_information_may_be_elsewhere() {
    if !require_root() {
        return;
    }
    let _turn = take_turn();
    let folder = tempfile::tempdir().expect("a folder");
    let program = folder.path().join("program");
    let whole = NEWEST.build();
    let strip = Command::new("strip").arg("-g").arg("-o").arg(&program).arg(&whole).status();
    assert!(strip.is_ok_and(|status| status.success()));
    let mut workload = Workload::start_command(Command::new(&program));
    tell(&mut workload, "holes 20000 3000");
    let pools = look(workload.pid());
    assert_eq!((pools.view, pools.jemalloc), (View::Mappings, None));
    assert!(pools.why.is_some_and(|why| why.contains("no debug information about its types")));
    let narenas = pools.settings.0.iter().find(|setting| setting.name == "narenas");
    let narenas = narenas.map(|narenas| (narenas.value.as_str(), narenas.origin));
    assert_eq!(narenas, Some(("4", Origin::Memory)));
    let held: u64 = pools.held.iter().map(|held| held.private_dirty_bytes).sum();
    assert!(held > 50 * MIB, "{:?}", pools.held);

    let notes = Command::new("readelf").arg("-n").arg(&whole).output().expect("binutils");
    let notes = String::from_utf8_lossy(&notes.stdout).into_owned();
    let build_id = notes.split_once("Build ID: ").expect("a build id").1;
    let build_id = build_id.split_whitespace().next().expect("a build id");
    fs::create_dir(folder.path().join(build_id)).expect("a folder");
    let cached = folder.path().join(build_id).join("debuginfo");
    let only = Command::new("objcopy").arg("--only-keep-debug").arg(&whole).arg(&cached).status();
    assert!(only.is_ok_and(|status| status.success()));
    let cache = [("DEBUGINFOD_CACHE_PATH", folder.path())];
    let pools = check(&mut workload, &cache);
    assert!(pools.found.contains("debuginfo"), "{}", pools.found);
}

/// A server with a jemalloc that is stripped, as the distribution has it.
#[test]
fn of_a_stripped_jemalloc_mappings_and_settings_are_known() {
    if !require_root() {
        return;
    }
    let _turn = take_turn();
    let (server, port) = redis(&[("MALLOC_CONF", Path::new("background_thread:true,narenas:2"))]);
    let filled = Command::new("redis-cli")
        .args(["-p", &port.to_string(), "eval"])
        .args(["for i = 1, 300000 do redis.call('set', 'key' .. i, string.rep('x', 200)) end", "0"])
        .output()
        .expect("redis-cli");
    assert!(filled.status.success() && filled.stderr.is_empty(), "{filled:?}");
    let pools = look(server.pid());
    assert_eq!((pools.allocator.as_str(), pools.view), ("jemalloc", View::Mappings));
    assert!(pools.library.ends_with("libjemalloc.so.2"), "{}", pools.library);
    assert_eq!(pools.version, "jemalloc 5.3.0");
    let why = pools.why.as_deref().unwrap_or_default();
    assert!(why.contains("libjemalloc2-dbgsym"), "{why}");
    let setting = |name: &str| {
        let setting = pools.settings.0.iter().find(|setting| setting.name == name);
        setting.map(|setting| (setting.value.as_str(), setting.origin))
    };
    assert_eq!(setting("background_thread"), Some(("true", Origin::Environment)));
    assert_eq!(setting("narenas"), Some(("2", Origin::Environment)));
    assert_eq!(setting("dirty_decay_ms"), Some(("10000", Origin::Default)));
    // By its own account it uses 100 MB and more, nearly all of it written, in anonymous memory.
    let held = &pools.held[0];
    assert_eq!(held.name, "[anon]");
    let rss = pools.rss_bytes.expect("its RSS");
    assert!(held.private_dirty_bytes > 60 * MIB && held.resident_bytes <= rss, "{held:?} {rss}");
    let text = text(server.pid());
    let words =
        ["its mappings only", "background_thread: true (by its environment)", "lazily freed"];
    assert!(words.iter().all(|word| text.contains(word)), "{text}");
}

/// Python with a library before it, which holds 64 MiB in small objects.
fn preloaded(library: &str, environment: &[(&str, &str)]) -> Workload {
    let mut command = Command::new("python3");
    let program = "import sys; kept = [bytes(1000) for _ in range(64000)]; \
                   print('ready', flush=True); sys.stdin.read()";
    command.args(["-c", program]).env("PYTHONMALLOC", "malloc").env("LD_PRELOAD", library);
    Workload::start_command({
        command.envs(environment.iter().copied());
        command
    })
}

#[track_caller]
fn check_preloaded(library: &str, environment: &[(&str, &str)], allocator: &str, words: &[&str]) {
    let workload = preloaded(library, environment);
    let pools = look(workload.pid());
    assert_eq!((pools.allocator.as_str(), pools.view), (allocator, View::Mappings));
    assert!(pools.library.contains(allocator), "{}", pools.library);
    assert!(pools.why.is_some() && pools.is_quiet.is_none() && pools.arenas.is_empty());
    for (name, value) in environment {
        assert_eq!(pools.settings.value(name), Some(*value), "{:?}", pools.settings);
    }
    let held: u64 = pools.held.iter().map(|held| held.resident_bytes).sum();
    let rss = pools.rss_bytes.expect("its RSS");
    assert!(held > 62 * MIB && held < rss, "{held} of {rss}");
    let text = text(workload.pid());
    assert!(words.iter().all(|word| text.contains(word)), "{text}");
}

#[test]
fn of_tcmalloc_and_mimalloc_mappings_and_settings_are_known() {
    if !require_root() {
        return;
    }
    let _turn = take_turn();
    check_preloaded(
        "libtcmalloc_minimal.so.4",
        &[("TCMALLOC_RELEASE_RATE", "0")],
        "tcmalloc",
        &[
            "TCMALLOC_RELEASE_RATE: 0 (by its environment)",
            "TCMALLOC_HEAP_LIMIT_MB: 0 (default)",
            "TCMALLOC_RELEASE_RATE is 0: of ",
        ],
    );
    check_preloaded(
        "libmimalloc.so.2",
        &[("MIMALLOC_DECOMMIT_DELAY", "-1")],
        "mimalloc",
        &["mimalloc 2.0", "MIMALLOC_DECOMMIT_DELAY is -1", "MIMALLOC_ALLOW_DECOMMIT: 1 (default)"],
    );
}

#[test]
fn options_of_the_program_are_read_from_its_memory() {
    if !require_root() {
        return;
    }
    let _turn = take_turn();
    let program = Program::c("sets-malloc-conf").flags(&["-fno-builtin", "-ljemalloc"]).build();
    let mut command = Command::new(program);
    command.env("MALLOC_CONF", "narenas:5");
    let workload = Workload::start_command(command);
    let pools = look(workload.pid());
    let given: Vec<_> = pools
        .settings
        .0
        .iter()
        .filter(|setting| setting.origin != Origin::Default)
        .map(|setting| (setting.name.as_str(), setting.value.as_str(), setting.origin))
        .collect();
    assert_eq!(
        given,
        [
            ("narenas", "5", Origin::Environment),
            ("dirty_decay_ms", "1234", Origin::Program),
            ("tcache", "false", Origin::Program),
        ]
    );
}

#[test]
fn musl_is_named() {
    if !require_root() {
        return;
    }
    let _turn = take_turn();
    let program = Program::c("sets-malloc-conf").compiler("musl-gcc").flags(&["-static"]).build();
    let workload = Workload::start_command(Command::new(program));
    let pools = look(workload.pid());
    assert_eq!((pools.allocator.as_str(), pools.view), ("musl", View::Mappings));
    let held: u64 = pools.held.iter().map(|held| held.private_dirty_bytes).sum();
    assert!((40 * MIB..44 * MIB).contains(&held), "{:?}", pools.held);
    assert!(pools.why.is_some_and(|why| why.contains("musl")) && pools.settings.0.is_empty());
}
