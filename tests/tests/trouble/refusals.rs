//! Processes that memmgr does not attach to.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    process::{Child, Command, Stdio},
    time::Duration,
};

use memmgr_tests::{Program, Workload, capture::binary, require_root};

use crate::{check_refused, check_trouble, obedient, run};

/// Ends a child with its test.
struct Ending(Child);

impl Drop for Ending {
    fn drop(&mut self) {
        // Nothing to do about a failure: it has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn no_such_process() {
    let mut child = Command::new("true").spawn().expect("true");
    child.wait().expect("a child");
    check_refused(child.id(), &[], 3, &["there is no process", "`ps -e`"]);
}

#[test]
fn a_zombie() {
    let child = Ending(Command::new("true").spawn().expect("true"));
    let stat = format!("/proc/{}/stat", child.0.id());
    while !fs::read_to_string(&stat).expect("it is not waited for").contains(") Z ") {
        std::thread::sleep(Duration::from_millis(1));
    }
    check_refused(child.0.id(), &[], 3, &["is a zombie", "waits for its parent"]);
}

#[test]
fn a_thread_of_the_kernel() {
    if fs::read_to_string("/proc/2/comm").is_ok_and(|comm| comm == "kthreadd\n") {
        check_refused(2, &[], 1, &["2 is a thread of the kernel (kthreadd)", "`memmgr stat`"]);
    } else {
        println!("skipped: inside a PID namespace no kernel thread has a number");
    }
}

#[test]
fn a_thread_instead_of_its_process() {
    let workload = Workload::start(&Program::c("self-checking"), &["1"]);
    let pid = workload.pid();
    let thread = fs::read_dir(format!("/proc/{pid}/task"))
        .expect("it runs")
        .filter_map(|entry| entry.expect("an entry").file_name().to_str()?.parse().ok())
        .find(|thread: &u32| *thread != pid)
        .expect("it has a second thread");
    let advice = format!("use `-p {pid}`");
    check_refused(thread, &[], 1, &["is a thread of process", &advice]);
}

#[test]
fn a_32_bit_program() {
    let program = Program::c("thirty-two-bits").flags(&[
        "-m32",
        "-nostdlib",
        "-static",
        "-no-pie",
        "-fno-pie",
        "-fno-stack-protector",
    ]);
    let workload = Workload::start(&program, &[]);
    check_refused(workload.pid(), &[], 1, &["not a 64-bit x86-64 program", "32-bit"]);
}

/// As `nobody`, of a process of root and of one of its own.
#[test]
fn no_permission() {
    if !require_root() {
        return;
    }
    // A copy that everybody can reach: the build directory may lie below a closed one.
    let open = tempfile::tempdir_in("/tmp").expect("/tmp");
    let copy = open.path().join("memmgr");
    fs::copy(binary(), &copy).expect("a copy");
    for path in [open.path(), &copy] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("permissions");
    }
    let nobody = || {
        let mut command = Command::new("setpriv");
        command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]);
        command
    };
    let of_root = obedient();
    let own = Ending(nobody().args(["sleep", "60"]).spawn().expect("setpriv and sleep"));
    while fs::read_to_string(format!("/proc/{}/comm", own.0.id())).expect("it runs") != "sleep\n" {
        std::thread::sleep(Duration::from_millis(1));
    }
    for pid in [of_root.pid(), own.0.id()] {
        let ended = run(nobody().arg(&copy).args(["leaks", "-d", "1s", "-p", &pid.to_string()]));
        check_trouble(&ended, 5, &["as root", "sudo memmgr"]);
    }
}

#[test]
fn a_process_under_a_debugger() {
    if !require_root() {
        return;
    }
    let workload = obedient();
    let pid = workload.pid().to_string();
    let debugger = Ending(
        Command::new("strace")
            .args(["-qq", "-o", "/dev/null", "-p", &pid])
            .stdin(Stdio::null())
            .spawn()
            .expect("strace"),
    );
    let status = format!("/proc/{pid}/status");
    let tracer = format!("TracerPid:\t{}\n", debugger.0.id());
    while !fs::read_to_string(&status).expect("it runs").contains(&tracer) {
        std::thread::sleep(Duration::from_millis(1));
    }
    check_refused(workload.pid(), &[], 1, &["is being traced by process", "--allow-traced"]);
    let allowed = run(Command::new(binary()).args([
        "report",
        "--json",
        "--duration",
        "300ms",
        "--allow-traced",
        "-p",
        &pid,
    ]));
    assert_eq!(allowed.code, Some(0), "{}", allowed.stderr);
}
