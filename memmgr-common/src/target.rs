//! States of a process in the kernel part's table of targets.

/// It is captured until it ends or runs another program.
pub const CAPTURED: u32 = 1;
/// No more events can come from the thread with the process's own number.
pub const FIRST_THREAD_ENDED: u32 = 2;
/// memmgr started it: it is captured through every program that it runs.
pub const LAUNCHED: u32 = 3;
