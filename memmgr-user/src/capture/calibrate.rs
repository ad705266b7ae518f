//! What a probe hit costs on this host: measured with the real programs, on functions of memmgr itself.
//!
//! A trap costs some hundred nanoseconds on bare metal and several times that in a virtual machine, so that no table of
//! prices would do. The probes of this measurement have maps of their own and see no process but this one.

use std::{
    arch::naked_asm,
    hint::black_box,
    sync::OnceLock,
    thread::{self, JoinHandle},
    time::Duration,
};

use memmgr_common::{
    Cookie, FunctionKind, MappingWay, Mode, Settings, StackKind, target::CAPTURED,
};
use rustix::time::{ClockId, clock_gettime};

use super::hazards::running_kernel;
use crate::{
    bpf::{FileProbes, Kernel, KernelError, Moment, ProbePoint, Rung},
    govern::Costs,
    own_memory::give_back_unused,
    units::{FileOffset, Pid},
};

/// So large that the events of the measurement do not make samples fewer.
const RING_BYTES: u32 = 4 << 20;
/// Functions are called so often at a time, and so many times, of which the median counts.
const CALLS: u64 = 2_000;
const ROUNDS: usize = 5;
/// Single-stepping takes ten times as long.
const FEWER: u64 = 8;
/// What the collector does with an event, in nanoseconds, by the bench `collector`: on another processor, but one that a
/// busy host lacks.
const COLLECTED: f64 = 700.0;

/// Measures in a thread of its own, which takes about 100 ms of a processor. Where something fails the usual prices stand. It
/// is done once: measurements side by side would meet each other's probes.
pub fn begin() -> Option<JoinHandle<Costs>> {
    static COSTS: OnceLock<Costs> = OnceLock::new();
    let measured = || {
        let costs = try_measure(Rung::ladder(running_kernel())).unwrap_or_else(|error| {
            tracing::debug!("the cost of a hit could not be measured: {error}");
            Costs::USUAL
        });
        give_back_unused();
        costs
    };
    let once = move || *COSTS.get_or_init(measured);
    thread::Builder::new().name("calibration".into()).spawn(once).ok()
}

/// Begins with an instruction that the kernel emulates (`push_setup_xol_ops` in arch/x86/kernel/uprobes.c).
#[unsafe(naked)]
extern "C" fn emulated(_block: u64) -> u64 {
    naked_asm!("push rbp", "mov rax, rdi", "pop rbp", "ret")
}

/// Like that; probed as a function whose return is followed always.
#[unsafe(naked)]
extern "C" fn followed(_block: u64) -> u64 {
    naked_asm!("push rbp", "mov rax, rdi", "pop rbp", "ret")
}

/// Begins with one that it single-steps.
#[unsafe(naked)]
extern "C" fn single_stepped(_block: u64) -> u64 {
    naked_asm!("mov rax, rdi", "ret")
}

fn try_measure(ladder: &[Rung]) -> Result<Costs, KernelError> {
    let me = Pid(std::process::id());
    let mut kernel = Kernel::load(RING_BYTES)?;
    kernel.add_target(me, CAPTURED)?;
    let functions: [extern "C" fn(u64) -> u64; 3] = [emulated, followed, single_stepped];
    let free = |index| Cookie::new(FunctionKind::Free, index).block(0);
    let cookies = [free(0), Cookie::new(FunctionKind::Alloc, 1).size(0), free(2)];
    let points = functions.iter().zip(cookies).map(|(function, cookie)| {
        let is_alloc = cookie.kind() == FunctionKind::Alloc as u8;
        let moment = if is_alloc { Moment::EntryAndReturn } else { Moment::Entry };
        let offset = file_offset(*function as *const () as u64)?;
        Ok(ProbePoint { offset, cookie, moment })
    });
    let files = vec![FileProbes {
        path: "/proc/self/exe".into(),
        points: points.collect::<Result<_, _>>()?,
    }];
    kernel.attach_heap(me, files, ladder)?;
    let settings = |sample_interval| Settings {
        capturing: 1,
        mode: Mode::Sample as u32,
        stack_kind: StackKind::FramePointers as u32,
        stack_bytes: 4096,
        sample_interval,
        fault_interval: 0,
        awake_until: u64::MAX,
        event_cost: 0,
        tokens_per_1024_ns: 0,
        ring_bytes: RING_BYTES.into(),
        window: 0,
        mapping_way: MappingWay::Kernel as u64,
    };
    // Next to nothing is sampled.
    kernel.set(settings(1 << 34))?;
    let hit = price(emulated, CALLS);
    let passed_over = price(followed, CALLS);
    let stepped = price(single_stepped, CALLS / FEWER);
    kernel.set(settings(0))?;
    let sent = price(followed, CALLS / FEWER);
    kernel.detach();
    let costs = Costs {
        hit,
        single_stepped: stepped.max(hit),
        returned: (passed_over - hit).max(0.0),
        event: (sent - passed_over).max(0.0) + COLLECTED,
        ..Costs::USUAL
    };
    tracing::debug!("{costs:?}");
    Ok(costs)
}

/// Nanoseconds of this thread's time for a call.
fn price(function: extern "C" fn(u64) -> u64, calls: u64) -> f64 {
    let mut rounds: Vec<Duration> = (0..ROUNDS as u64)
        .map(|round| {
            let before = thread_time();
            for call in 0..calls {
                black_box(function(black_box(0x1000 + (round * calls + call) * 16)));
            }
            thread_time().saturating_sub(before)
        })
        .collect();
    rounds.sort_unstable();
    rounds[ROUNDS / 2].as_nanos() as f64 / calls as f64
}

fn thread_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Where the code at this address is in our own file.
fn file_offset(address: u64) -> Result<FileOffset, KernelError> {
    let maps = procfs::process::Process::myself().and_then(|me| me.maps());
    let error = |error: &dyn std::fmt::Display| {
        KernelError::Object(format!("cannot be measured with: /proc/self/maps: {error}"))
    };
    let maps = maps.map_err(|e| error(&e))?;
    maps.iter()
        .find(|map| (map.address.0..map.address.1).contains(&address))
        .map(|map| FileOffset(address - map.address.0 + map.offset))
        .ok_or_else(|| error(&"our own code is not there"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_code_is_found_in_our_own_file() {
        let offset = file_offset(single_stepped as *const () as u64).unwrap();
        let file = std::fs::read("/proc/self/exe").unwrap();
        // mov rax, rdi; ret
        assert_eq!(file[offset.0 as usize..][..4], [0x48, 0x89, 0xf8, 0xc3]);
    }
}
