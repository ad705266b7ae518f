//! Fork, exec and exit of targets. Raw tracepoints: they need no tracefs.

use aya_ebpf::{EbpfContext, macros::raw_tracepoint, programs::RawTracePointContext};
use memmgr_common::{
    Counter,
    events::{Kind, flags},
    target::FIRST_THREAD_ENDED,
};

use crate::{
    emit,
    maps::{TARGETS, THREADS},
    thread::{Current, ask_the_table},
};

const CLONE_VM: u64 = 0x0000_0100;
const CLONE_THREAD: u64 = 0x0001_0000;

fn target() -> Option<Current> {
    let current = Current::target()?;
    current.count.add(Counter::Seen);
    Some(current)
}

/// `task_newtask(struct task_struct *task, unsigned long clone_flags)`, run by the parent.
#[raw_tracepoint]
pub fn new_task(ctx: RawTracePointContext) -> i32 {
    let Some(current) = target() else { return 0 };
    // SAFETY: a raw tracepoint's context is its arguments, 64 bits each; this one has two.
    let clone_flags = unsafe { *ctx.as_ptr().cast::<u64>().add(1) };
    if clone_flags & CLONE_THREAD == 0 {
        // vfork, which posix_spawn and others make commands by.
        let shares = if clone_flags & CLONE_VM == 0 { 0 } else { flags::SHARES_MEMORY };
        emit::bare(&current, Kind::Fork, shares);
    } else {
        current.count.add(Counter::FilteredReturn);
    }
    0
}

/// `sched_process_exec`, run by the process in its new image: the old memory is gone.
#[raw_tracepoint]
pub fn process_exec(_: RawTracePointContext) -> i32 {
    let Some(current) = target() else { return 0 };
    emit::bare(&current, Kind::Exec, 0);
    // Nothing of the new image is counted, but of a process that memmgr started every image is.
    if !current.is_launched() {
        forget_process(&current);
    }
    forget_thread(&current);
    0
}

/// `sched_process_exit`, run by each thread as it ends.
#[raw_tracepoint]
pub fn thread_exit(_: RawTracePointContext) -> i32 {
    let Some(current) = target() else { return 0 };
    emit::bare(&current, Kind::ThreadExit, 0);
    forget_thread(&current);
    if current.tid == current.tgid {
        if TARGETS.insert(current.tgid, FIRST_THREAD_ENDED, 0).is_err() {
            current.count.add(Counter::UnmatchedReturn);
        }
        ask_the_table();
    }
    0
}

/// Absent entries are no failure: the thread may never have hit a probe.
fn forget_thread(current: &Current) {
    if THREADS.get_ptr(current.tid).is_some() && THREADS.remove(current.tid).is_err() {
        current.count.add(Counter::UnmatchedReturn);
    }
}

fn forget_process(current: &Current) {
    ask_the_table();
    if TARGETS.remove(current.tgid).is_err() {
        current.count.add(Counter::UnmatchedReturn);
    }
}
