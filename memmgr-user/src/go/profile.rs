//! The program's own heap profile as a report: stacks with names, for every format that shows stacks.

use std::{collections::HashMap, sync::Arc};

use rustix::time::ClockId;

use super::{GoError, GoProgram, buckets::buckets};
use crate::{
    aggregate::Amount,
    allocator::mapped::open_mapped,
    modules::Modules,
    pipeline::clock_seconds,
    recording::module_record,
    report::{
        Frame, Module, Report,
        sampled::{SampledStack, sampled},
    },
    source::{cgroup::read_cgroup, host::read_host, mappings::read_mappings, roots::Roots},
    symbolize::symbolize,
    units::Address,
};

/// What stands for functions that the runtime left out (runtime/symtab.go), and what every goroutine ends in: Go's own profiles have
/// neither (runtime/pprof/proto.go, `appendLocsForStack`).
const LEFT_OUT: [&str; 2] = ["runtime.skipPleaseUseCallersFrames", "runtime.goexit"];

impl GoProgram {
    /// The heap profile that the program keeps: objects sampled since its start, as of the last collection but one.
    ///
    /// # Errors
    /// When it keeps none, or this version of Go keeps it elsewhere.
    pub fn heap_profile(&self, roots: &Roots) -> Result<Report, GoError> {
        let found = buckets(&self.memory, &self.layout).map_err(|lacks| self.error(lacks))?;
        if found.rate == 0 {
            return Err(GoError::NoProfile);
        }
        let pid = self.dir.pid();
        let mut modules = Modules::default();
        modules.update(&read_mappings(&self.dir)?, |file| open_mapped(&roots.proc, pid, file));
        let mut addresses: Vec<Address> =
            found.buckets.iter().flat_map(|bucket| bucket.stack.iter().copied()).collect();
        addresses.sort_unstable();
        addresses.dedup();
        let symbols = symbolize(&modules, pid, &roots.proc, &addresses);
        // A stack has an entry for every function, also for those that were inlined into another (runtime/traceback.go,
        // `tracebackPCs`; before 1.21 `gentraceback`): of each only the innermost counts.
        let frame_of = |address: &Address| {
            let is_left_out = |name: &str| LEFT_OUT.contains(&name);
            symbols.get(address)?.first().filter(|frame| !is_function(frame, is_left_out))
        };
        let mut stacks: HashMap<Vec<Arc<Frame>>, (Amount, Amount)> = HashMap::new();
        for bucket in &found.buckets {
            let all: Vec<Arc<Frame>> = bucket.stack.iter().filter_map(frame_of).cloned().collect();
            let (live, allocated) = stacks.entry(of_the_program(all)).or_default();
            live.add(bucket.live);
            allocated.add(bucket.allocated);
        }
        let stacks = stacks.into_iter().map(|(frames, (live, allocated))| SampledStack {
            frames,
            live,
            allocated,
        });
        let mut report = sampled(stacks.collect(), found.rate, known(&modules), &self.identity);
        let now_s = clock_seconds(ClockId::Boottime);
        report.duration_s = (now_s - self.identity.start_time_s).max(0.0);
        report.process = crate::source::process::read_figures(&self.dir)?;
        report.cgroup = read_cgroup(roots, pid);
        report.host = read_host(roots).unwrap_or_default();
        report.reconciliation.explanation.push(format!(
            "This is the heap profile that {} keeps itself: objects sampled since the start of the program, outstanding as of \
             the last collection but one.",
            self.layout.version
        ));
        Ok(report)
    }
}

/// Without the runtime's own functions at the inner end, as Go's profiles have it (runtime/pprof, `writeHeapProto`).
fn of_the_program(mut frames: Vec<Arc<Frame>>) -> Vec<Arc<Frame>> {
    let is_inner = |name: &str| {
        ["runtime.", "internal/runtime/"].iter().any(|prefix| name.starts_with(prefix))
    };
    let is_of_runtime = |frame: &&Arc<Frame>| is_function(frame, is_inner);
    let inner = frames.iter().take_while(is_of_runtime).count();
    if inner < frames.len() {
        frames.drain(..inner);
    }
    frames
}

fn is_function(frame: &Frame, is: impl Fn(&str) -> bool) -> bool {
    frame.function.as_deref().is_some_and(is)
}

fn known(modules: &Modules) -> Vec<Module> {
    let count = modules.iter().count();
    (0..count).map(|index| module_record(modules, index).into()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_runtime_is_left_out_where_it_is_called_only() {
        let check = |functions: &[&str], expected: &[&str]| {
            let frame = |name: &&str| {
                Arc::new(Frame { function: Some((*name).to_owned()), ..Frame::default() })
            };
            let left = of_the_program(functions.iter().map(frame).collect());
            let left: Vec<&str> =
                left.iter().filter_map(|frame| frame.function.as_deref()).collect();
            assert_eq!(left, expected);
        };
        check(&["runtime.mallocgc", "main.f", "runtime.main"], &["main.f", "runtime.main"]);
        check(&["main.f"], &["main.f"]);
        check(&["runtime.malg", "runtime.newproc1"], &["runtime.malg", "runtime.newproc1"]);
    }
}
