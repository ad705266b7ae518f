//! memmgr's own memory.

/// Gives back what the allocator keeps of blocks that were freed, in every arena (malloc_trim(3)): for after work that
/// took much memory for a moment.
pub fn give_back_unused() {
    // SAFETY: it takes nothing of ours, and any thread may call it at any time.
    unsafe { libc::malloc_trim(0) };
}
