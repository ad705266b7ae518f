//! System calls that must not be cut short: placing uprobes and taking them away.
//!
//! Both write into the target's memory, and the kernel gives that up when the caller has been sent
//! SIGKILL (`__get_user_pages` in mm/gup.c, whose caller then says "failed to unregister, leaking
//! uprobe"): breakpoints that nobody owns would stay in the target and slow it for as long as it
//! lives. So they run in a process of their own that shares memmgr's descriptors. A kill of memmgr
//! does not reach it: it finishes its work, and what it leaves open is closed at its end.

use std::{
    io,
    os::fd::{IntoRawFd, OwnedFd, RawFd},
};

use rustix::{
    io::{read, retry_on_intr, write},
    pipe::{PipeFlags, pipe_with},
    process::{Pid, WaitOptions, waitpid},
};

/// Runs `calls` in a process that shares our descriptors, waits for it, and returns its result. Where
/// there can be no such process it runs here.
///
/// # Safety
/// The process is a copy of a program that may have had other threads: `calls` must make system calls
/// and nothing else, above all no allocation and no lock.
pub unsafe fn apart(calls: impl Fn() -> i64) -> i64 {
    let flags = PipeFlags::CLOEXEC | PipeFlags::NONBLOCK;
    let Ok((reader, writer)) = pipe_with(flags) else { return calls() };
    let flags = libc::CLONE_FILES | libc::SIGCHLD;
    // SAFETY: without CLONE_VM the process has a copy of our memory and of this stack.
    match unsafe { libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0) } {
        0 => {
            // Out of our process group, whose members may be killed together.
            let _ = rustix::process::setsid();
            let result = calls().to_ne_bytes();
            let _ = write(&writer, &result);
            // SAFETY: ends this process and returns to nobody.
            unsafe { libc::_exit(0) }
        }
        -1 => calls(),
        child => {
            // Its end and not that of the pipe says that it is done: we hold both ends, as it does.
            let child = Pid::from_raw(child as i32);
            if let Err(error) = retry_on_intr(|| waitpid(child, WaitOptions::empty())) {
                tracing::debug!("the process apart cannot be waited for: {error}");
            }
            let mut result = [0; 8];
            match read(&reader, &mut result) {
                Ok(8) => i64::from_ne_bytes(result),
                // Somebody killed it.
                _ => -i64::from(libc::EINTR),
            }
        }
    }
}

/// The result of a raw system call as [`apart`] carries it: not negative, or a negative error number.
pub fn outcome(result: i64) -> io::Result<i64> {
    if result < 0 { Err(io::Error::from_raw_os_error(-result as i32)) } else { Ok(result) }
}

/// Closes a descriptor apart.
pub fn close(descriptor: OwnedFd) {
    let descriptor: RawFd = descriptor.into_raw_fd();
    // SAFETY: close(2) alone, of a descriptor that is nobody else's any more.
    let closed = unsafe { apart(|| i64::from(libc::close(descriptor))) };
    if closed != 0 {
        // Closing it again could hit another descriptor of this number: it goes when memmgr ends.
        tracing::debug!("descriptor {descriptor} was not closed: {closed}");
    }
}

#[cfg(test)]
mod tests {
    use std::{fs::File, os::fd::AsRawFd};

    use super::*;

    #[test]
    fn it_shares_descriptors_and_nothing_else() {
        let file = File::open("/dev/null").unwrap();
        let fd = file.as_raw_fd();
        // SAFETY: dup(2) and getpid(2) are all that it calls.
        let (copy, there) =
            unsafe { (apart(|| i64::from(libc::dup(fd))), apart(|| i64::from(libc::getpid()))) };
        assert!(copy >= 0 && copy != i64::from(fd), "{copy}");
        assert_ne!(there, i64::from(std::process::id()));
        // SAFETY: the descriptor was made above, in the table that both share.
        drop(unsafe { <File as std::os::fd::FromRawFd>::from_raw_fd(copy as i32) });
    }

    #[test]
    fn what_is_closed_apart_is_closed_here() {
        let (reader, writer) = pipe_with(PipeFlags::NONBLOCK).unwrap();
        assert_eq!(read(&reader, &mut [0; 8]), Err(rustix::io::Errno::AGAIN));
        close(writer);
        assert_eq!(read(&reader, &mut [0; 8]), Ok(0));
    }

    #[test]
    fn errors_come_back() {
        // SAFETY: close(2) alone.
        let result =
            unsafe { apart(|| if libc::close(-1) == 0 { 0 } else { -i64::from(libc::EBADF) }) };
        assert_eq!(outcome(result).unwrap_err().raw_os_error(), Some(libc::EBADF));
        assert_eq!(outcome(7).unwrap(), 7);
    }
}
