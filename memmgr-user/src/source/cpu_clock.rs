//! The processor time of another process, to the nanosecond: procfs counts in ticks of 10 ms.

use std::time::Duration;

use crate::units::Pid;

/// The clock of all threads of a process, those that have ended included.
#[derive(Clone, Copy, Debug)]
pub struct CpuClock(libc::clockid_t);

impl CpuClock {
    /// `None` where there is no such process.
    pub fn of(pid: Pid) -> Option<Self> {
        let mut clock = 0;
        // SAFETY: clock_getcpuclockid(3) writes one clock id.
        let error = unsafe { libc::clock_getcpuclockid(pid.0 as libc::pid_t, &raw mut clock) };
        (error == 0).then_some(CpuClock(clock))
    }

    /// Processor time so far; `None` when the process has ended.
    pub fn read(self) -> Option<Duration> {
        let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: clock_gettime(2) writes one timespec.
        let result = unsafe { libc::clock_gettime(self.0, &raw mut time) };
        (result == 0).then(|| Duration::new(time.tv_sec as u64, time.tv_nsec as u32))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_busy_process_uses_time_and_one_that_is_not_there_has_no_clock() {
        let clock = CpuClock::of(Pid(std::process::id())).unwrap();
        let before = clock.read().unwrap();
        let mut product = 1_u64;
        while clock.read().unwrap() < before + Duration::from_millis(5) {
            product = std::hint::black_box(product.wrapping_mul(3));
        }
        assert!(CpuClock::of(Pid(0x3fff_fff0)).is_none_or(|clock| clock.read().is_none()));
    }
}
