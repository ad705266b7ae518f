//! `stat` against the kernel's own files.

use std::{fs, process::Command};

use memmgr::stat::{Stat, host::HostStat};
use memmgr_tests::{Program, Workload, capture::binary, cgroup::MemoryGroup, require_root};
use rustix::process::{Pid, Signal, kill_process};

/// What `memmgr stat FLAGS --json` says.
fn stat(flags: &[&str]) -> Stat {
    let output = Command::new(binary()).arg("stat").args(flags).arg("--json").output();
    let output = output.expect("memmgr runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON of memmgr.stat/1")
}

/// Exit code and stderr.
fn fails(flags: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(binary()).arg("stat").args(flags).output().expect("memmgr runs");
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

/// A program that holds 32 MiB and then stands still, so that its figures do: it shares no library, of which its part
/// changes with every process that comes or goes, memmgr's own included.
fn stopped() -> Workload {
    let program = Program::c("changes-size").flags(&["-pthread", "-static"]);
    let mut workload = Workload::start(&program, &[]);
    workload.send("grow 32");
    assert_eq!(workload.line(), "done");
    signal(&workload, Signal::STOP);
    workload
}

fn signal(workload: &Workload, signal: Signal) {
    let pid = Pid::from_raw(workload.pid() as i32).expect("a process");
    kill_process(pid, signal).expect("it is there");
}

/// The sum of a key's values in `smaps` or `smaps_rollup`, in bytes.
fn kernel_sum(pid: u32, file: &str, key: &str) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/{file}")).expect(file);
    let values = text.lines().filter_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
    let kilobytes =
        values.map(|value| value.trim().trim_end_matches(" kB").parse::<u64>().expect("a number"));
    kilobytes.sum::<u64>() * 1024
}

#[test]
fn a_process_equals_its_smaps_rollup() {
    if !require_root() {
        return;
    }
    let workload = stopped();
    let pid = workload.pid();
    let rollup = |key| Some(kernel_sum(pid, "smaps_rollup", key));
    // The pages that the kernel maps into every process are shared all the same.
    let stat = (0..50)
        .find_map(|_| {
            let before = [rollup("Pss"), rollup("Rss")];
            let stat = stat(&["-p", &pid.to_string()]).process.expect("a process");
            let quiet = before == [rollup("Pss"), rollup("Rss")]
                && stat.groups.iter().map(|group| group.pss_bytes).sum::<u64>()
                    == kernel_sum(pid, "smaps", "Pss");
            quiet.then_some(stat)
        })
        .expect("a quiet moment");
    assert_eq!(stat.figures.pss_bytes, rollup("Pss"));
    let own = kernel_sum(pid, "smaps_rollup", "Private_Clean")
        + kernel_sum(pid, "smaps_rollup", "Private_Dirty");
    assert_eq!(stat.figures.uss_bytes, Some(own));
    let sum = |of: fn(&memmgr::stat::process::MappingGroup) -> u64| {
        stat.groups.iter().map(of).sum::<u64>()
    };
    assert_eq!(Some(sum(|group| group.rss_bytes)), rollup("Rss"));
    assert_eq!(sum(|group| group.private_bytes), own);
    // The lines add up to what `status` says, which is the same where the kernel counts exactly.
    let lines: i64 = stat.lines.iter().map(|line| line.bytes).sum();
    assert_eq!(lines as u64, kernel_sum(pid, "status", "VmRSS"));
    let line =
        |key: &str| stat.lines.iter().find(|line| line.key == key).map_or(0, |line| line.bytes);
    assert!(line("anonymous") + line("heap") >= 32 << 20, "{:?}", stat.lines);
    assert!(line("program") > 0 && line("main_stack") > 0, "{:?}", stat.lines);
    assert!(line("unexplained").unsigned_abs() < 1 << 20, "{:?}", stat.lines);
    signal(&workload, Signal::CONT);
}

#[test]
fn a_cgroup_equals_its_files() {
    if !require_root() {
        return;
    }
    let Some(group) = MemoryGroup::make("stat", 256 << 20) else { return };
    let mut workload = Workload::start(&Program::c("changes-size").flags(&["-pthread"]), &[]);
    group.take(workload.pid());
    workload.send("grow 32");
    assert_eq!(workload.line(), "done");
    signal(&workload, Signal::STOP);
    let directory = group.directory().display().to_string();
    for name in [&group.path(), &directory] {
        let stat = stat(&["--cgroup", name]).cgroup.expect("a cgroup");
        let usage = group.read(["memory.current", "memory.usage_in_bytes"]);
        assert_eq!(stat.cgroup.usage_bytes, usage.trim().parse().ok());
        assert_eq!(stat.cgroup.limit_bytes, Some(256 << 20));
        for line in group.read(["memory.stat", "memory.stat"]).lines() {
            let (name, value) = line.split_once(' ').expect("a field");
            // No limit is a number that nobody has.
            assert_eq!(stat.cgroup.stat.get(name), value.parse().ok().as_ref(), "{name}");
        }
        let lines: i64 = stat.lines.iter().map(|line| line.bytes).sum();
        assert_eq!(Some(lines as u64), stat.cgroup.usage_bytes);
        assert!(stat.lines[0].key == "anonymous" && stat.lines[0].bytes >= 32 << 20, "{stat:?}");
        let members: Vec<u32> = stat.processes.iter().map(|member| member.pid).collect();
        assert_eq!((members, stat.processes_unread), (vec![workload.pid()], 0));
    }
    signal(&workload, Signal::CONT);
}

#[test]
fn the_host_is_what_free_says() {
    let host = |stat: Stat| -> HostStat { stat.host.expect("the host") };
    let output = Command::new("free").arg("-b").env("LC_ALL", "C").output().expect("free runs");
    let (text, stat) = (String::from_utf8_lossy(&output.stdout).into_owned(), host(stat(&[])));
    let numbers = |line: &str| -> Vec<u64> {
        let line = text.lines().find_map(|text| text.strip_prefix(line)).expect(line);
        line.split_whitespace().map(|word| word.parse().expect("a number")).collect()
    };
    let (memory, swap) = (numbers("Mem:"), numbers("Swap:"));
    assert_eq!((stat.memory.total_bytes, stat.memory.swap_total_bytes), (memory[0], swap[0]));
    // The host goes on between the two.
    let near = |own: i64, free: u64, what: &str| {
        let off = (own - free as i64).unsigned_abs();
        assert!(off < stat.memory.total_bytes / 50, "{what}: {own} and {free}");
    };
    let line = |key| stat.line(key).unwrap_or(0);
    near(line("free"), memory[2], "free");
    near(line("shmem"), memory[3], "shared");
    near(stat.memory.available_bytes.expect("available") as i64, memory[5], "available");
    let cache = line("file_cache") + line("shmem") + line("slab_reclaimable") + line("buffers");
    near(cache, memory[4], "buff/cache");
    assert_eq!(stat.lines.iter().map(|line| line.bytes).sum::<i64>() as u64, memory[0]);
}

#[test]
fn what_is_not_there_is_said() {
    for (flags, code, words) in [
        (&["-p", "4194304"][..], 3, "there is no process 4194304"),
        (&["--cgroup", "/no/such/group"], 1, "there is no memory cgroup /no/such/group"),
        (&["-p", "0"], 2, "0 is not in 1.."),
        (&["-o", "/no/such/directory/x"], 1, "/no/such/directory"),
    ] {
        let (found, text) = fails(flags);
        assert!(found == Some(code) && text.contains(words), "{flags:?}: {found:?} {text}");
    }
}

#[test]
fn a_kernel_thread_and_a_zombie_have_no_memory() {
    if !require_root() {
        return;
    }
    let mut child = Command::new("true").spawn().expect("true runs");
    let pid = child.id();
    // It has ended when its state says so; it is not waited for until the end.
    while !fs::read_to_string(format!("/proc/{pid}/stat")).expect("stat").contains(") Z ") {}
    let zombie = stat(&["-p", &pid.to_string()]).process.expect("a process");
    child.wait().expect("it has ended");
    assert_eq!((zombie.figures.rss_bytes, zombie.lines.len()), (None, 0));
    assert!(zombie.notes[0].contains("waits for its parent"), "{:?}", zombie.notes);
}
