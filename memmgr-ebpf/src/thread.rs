//! Who runs the program, and per-thread state: the call in flight, the end of the stack.

use aya_ebpf::helpers::bpf_get_current_pid_tgid;
use memmgr_common::{
    Counter, Settings, StackKind,
    limits::MAX_NESTED_CALLS,
    target::{FIRST_THREAD_ENDED, LAUNCHED},
};

use crate::{
    count::Count,
    maps::{NEW_THREAD, ONLY_TARGET, SETTINGS, TARGETS, THREADS},
    stack::Window,
};

/// State of one thread of a target. Only that thread touches it, so there are no races.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Thread {
    /// Process, to notice a thread id that was used again.
    pub tgid: u32,
    /// Whether an allocator call is in flight: 0 or 1.
    pub in_call: u16,
    /// Probed calls seen inside the call in flight.
    pub nested: u16,
    /// Bits of [`call_flags`] about the call in flight.
    pub call_flags: u32,
    /// The window of time that the call in flight began in, see [`Settings::window`].
    pub window: u32,
    /// Stack pointer at the entry of the call in flight: where its return address is.
    pub sp: u64,
    /// That return address, before the kernel put its trampoline there.
    pub return_address: u64,
    /// Address of the probe that it entered by, and the frame pointer register there.
    pub function: u64,
    pub bp: u64,
    /// Cookie of the call in flight.
    pub cookie: u64,
    /// Bytes it asked for.
    pub size: u64,
    /// The block that it resizes, or where it stores its result.
    pub block: u64,
    /// Sampling interval that was in force when the call in flight was chosen.
    pub interval: u64,
    /// First address beyond the stack as far as it was looked for, see `stack::copy_plan`.
    pub stack_end: u64,
    /// 1 when nothing is mapped at `stack_end`.
    pub stack_end_is_true: u64,
    /// What a walk along the frame pointers reads of the stack: too much for the stack of a program, and what is kept for
    /// a CPU belongs to whoever gets in between.
    pub window_of_stack: Window,
}

/// Bits of [`Thread::call_flags`].
pub mod call_flags {
    /// The new block is to be reported.
    pub const SAMPLED: u32 = 1;
    /// The old block was known and has been put aside.
    pub const OLD_ASIDE: u32 = 2;
}

/// Everything a program needs to know about who runs it.
#[derive(Clone, Copy)]
pub struct Current {
    /// Process.
    pub tgid: u32,
    /// Thread.
    pub tid: u32,
    /// Settings in force.
    pub settings: *const Settings,
    /// This CPU's counters.
    pub count: Count,
}

impl Current {
    /// The settings in force.
    #[inline(always)]
    pub fn settings(&self) -> &Settings {
        // SAFETY: from a map lookup; array values are never freed while a program runs.
        unsafe { &*self.settings }
    }

    /// Whether stacks are walked along frame pointers here, and not copied.
    #[inline(always)]
    pub fn walks_frames(&self) -> bool {
        self.settings().stack_kind == StackKind::FramePointers as u32
    }

    /// `None` when nothing is being captured, or nothing of this process.
    #[inline(always)]
    pub fn target() -> Option<Self> {
        let settings = SETTINGS.get_ptr(0)?;
        // SAFETY: from a map lookup.
        if unsafe { (*settings).capturing } == 0 {
            return None;
        }
        let id = bpf_get_current_pid_tgid();
        let (tgid, tid) = ((id >> 32) as u32, id as u32);
        // SAFETY: as above.
        if unsafe { *ONLY_TARGET.get_ptr(0)? } != tgid && !is_in_table(tgid, tid) {
            return None;
        }
        Some(Current { tgid, tid, settings, count: Count::new()? })
    }

    /// Whether memmgr started this process.
    pub fn is_launched(&self) -> bool {
        // SAFETY: from a map lookup.
        TARGETS.get_ptr(self.tgid).is_some_and(|state| unsafe { *state } == LAUNCHED)
    }

    /// The state of this thread, made on its first hit. `None` when there is no room, which is counted as a loss.
    #[inline(always)]
    pub fn thread(&self) -> Option<*mut Thread> {
        if let Some(thread) = THREADS.get_ptr_mut(self.tid) {
            // SAFETY: only this thread touches or removes its entry.
            if unsafe { (*thread).tgid } == self.tgid {
                self.forget_earlier_windows(thread);
                return Some(thread);
            }
        }
        // From a map, because it is more than the stack of a program should hold.
        let inserted =
            NEW_THREAD.get(0).is_some_and(|new| THREADS.insert(self.tid, new, 0).is_ok());
        let thread = if inserted { THREADS.get_ptr_mut(self.tid) } else { None };
        if let Some(thread) = thread {
            // SAFETY: as above.
            unsafe {
                (*thread).tgid = self.tgid;
                (*thread).window = self.settings().window as u32;
            }
        }
        if thread.is_none() {
            self.count.add(Counter::LostThreadMap);
        }
        thread
    }

    /// The return of a call can go unseen while there are no probes.
    #[inline(always)]
    fn forget_earlier_windows(&self, thread: *mut Thread) {
        let window = self.settings().window as u32;
        // SAFETY: only this thread touches its entry.
        unsafe {
            if (*thread).window != window {
                (*thread).window = window;
                (*thread).in_call = 0;
            }
        }
    }
}

/// Whether this process is a target.
///
/// A first thread after the target's first thread has ended belongs to another process, which was given the
/// same number before user space noticed the end.
fn is_in_table(tgid: u32, tid: u32) -> bool {
    match TARGETS.get_ptr(tgid) {
        // SAFETY: from a map lookup.
        Some(state) => tid != tgid || unsafe { *state } != FIRST_THREAD_ENDED,
        None => false,
    }
}

/// From now on the table of targets has to be asked.
pub fn ask_the_table() {
    if let Some(only) = ONLY_TARGET.get_ptr_mut(0) {
        // SAFETY: from a map lookup.
        unsafe { *only = 0 };
    }
}

/// Whether a call that enters at `sp` is inside the call in flight.
///
/// A call in flight that never returned (a `longjmp` or a coroutine left it) shows by a later call
/// that enters above it, by the same function at the same place, or by too many nested calls. A
/// tail call has the stack pointer of the call it replaces and is nested.
pub fn is_nested(thread: &mut Thread, sp: u64, cookie: u64, count: Count) -> bool {
    if thread.in_call == 0 {
        return false;
    }
    let abandoned = sp > thread.sp
        || (sp == thread.sp && cookie == thread.cookie)
        || thread.nested >= MAX_NESTED_CALLS;
    if abandoned {
        count.add(Counter::UnmatchedReturn);
        thread.in_call = 0;
        return false;
    }
    thread.nested += 1;
    true
}
