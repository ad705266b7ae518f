//! The end of a capture: symbols, the last look at the target, and everything into the recording.

use super::{Captured, Ended};
use crate::{
    capture::{AttachError, CapturePlan, Target, TargetError, stack_choice},
    recording::{Ending, Recorder, Recording},
    report::{Fragmentation, account::Standing, ending, last_look::LastLook},
    source::roots::Roots,
    symbolize::symbolize,
};

/// What is seen of the target at the end.
pub struct LastSight {
    look: LastLook,
    fragmentation: Option<Fragmentation>,
}

impl Captured {
    /// The last look at the target. Before anything that takes a while: the target goes on living.
    pub fn last_look(&self, roots: &Roots, target: &Target) -> LastSight {
        let look = self.gone.clone().unwrap_or_else(|| LastLook::take(roots, &target.dir));
        let fragmentation = ending::fragmentation(roots, &target.dir, self, &look.mappings);
        LastSight { look, fragmentation }
    }
}

/// Resolves the frames of what was captured and ends the recording.
///
/// # Errors
/// When the target ended before anything was captured, or the recording cannot be written.
pub fn conclude(
    roots: &Roots,
    plan: &CapturePlan,
    captured: Captured,
    last: LastSight,
    recorder: Recorder,
) -> anyhow::Result<Recording> {
    let LastSight { look: last, fragmentation } = last;
    let modules = &captured.collector.modules;
    let symbols = symbolize(modules, plan.pid, &roots.proc, &captured.collector.stacks.addresses());
    let stack = stack_choice::describe(&captured.facts.stack, plan, modules);
    let standing = Standing::of(plan, &captured);
    let documents = ending::ended(&standing, &captured, stack, &symbols, last, fragmentation);
    if documents.capture.accounting.seen == 0 && captured.ended == Ended::Exited {
        return Err(AttachError::Target(TargetError::Ended(plan.pid)).into());
    }
    Ok(recorder.finish(&Ending { documents, frames: symbols.into_iter().collect() })?)
}
