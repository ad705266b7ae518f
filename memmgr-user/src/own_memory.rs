//! memmgr's own memory.

/// Makes the allocator give back free memory at the end of every arena as soon as it is this much (mallopt(3)). Left
/// alone it keeps ever more, up to twice the largest block that was ever freed, and of a thread's arena for good.
pub fn keep_little() {
    const MOST_KEPT: libc::c_int = 1 << 20;
    // SAFETY: it sets two numbers of the allocator; refusals leave them as they are.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, MOST_KEPT);
        libc::mallopt(libc::M_TRIM_THRESHOLD, MOST_KEPT);
    }
}

/// Gives back what the allocator keeps of blocks that were freed, in every arena (malloc_trim(3)): for after work that
/// took much memory for a moment.
pub fn give_back_unused() {
    // SAFETY: it takes nothing of ours, and any thread may call it at any time.
    unsafe { libc::malloc_trim(0) };
}
