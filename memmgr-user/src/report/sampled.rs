//! A heap profile that a program keeps itself → [`Report`]. Pure.

use std::{sync::Arc, time::SystemTime};

use humantime::format_rfc3339_seconds;

use super::{Capture, Frame, Module, Report, SCHEMA, Stack, StackChoice, Target, Totals, shares};
use crate::{
    aggregate::Amount,
    estimate::{Coverage, Uncertainty},
    recording::whole,
    source::identity::Identity,
    track::Class,
};

/// The kind of stack that a runtime takes itself.
pub(super) const STACKS: &str = "runtime";

/// What was sampled at a stack.
#[derive(Clone, Debug, PartialEq)]
pub struct SampledStack {
    /// Leaf first.
    pub frames: Vec<Arc<Frame>>,
    /// Outstanding.
    pub live: Amount,
    /// Ever allocated.
    pub allocated: Amount,
}

/// Makes the report, of samples that are `interval_bytes` apart on the average.
pub fn sampled(
    mut sampled: Vec<SampledStack>,
    interval_bytes: u64,
    modules: Vec<Module>,
    identity: &Identity,
) -> Report {
    let main = Class::Heap.name();
    let coverage = Coverage::default();
    sampled.sort_by(|a, b| {
        b.live.bytes.total_cmp(&a.live.bytes).then(b.allocated.bytes.total_cmp(&a.allocated.bytes))
    });
    let (mut live, mut allocated) = (Amount::default(), Amount::default());
    let (mut stacks, mut uncertainties) = (Vec::new(), Vec::new());
    for (id, one) in sampled.into_iter().enumerate() {
        live.add(one.live);
        allocated.add(one.allocated);
        let mut uncertainty = Uncertainty::none(Class::Heap, &coverage);
        uncertainty.add_live(0, one.live);
        uncertainty.add_allocated(0, one.allocated);
        stacks.push(stack(id as u32, one, &uncertainty.errors(&coverage)));
        uncertainties.push(uncertainty);
    }
    Report {
        schema: SCHEMA.to_owned(),
        memmgr_version: env!("CARGO_PKG_VERSION").to_owned(),
        captured_at: format_rfc3339_seconds(SystemTime::now()).to_string(),
        target: Target::of(identity),
        capture: Capture {
            mode: "sample".to_owned(),
            sample_interval_bytes: interval_bytes,
            stack: StackChoice {
                kind: STACKS.to_owned(),
                why: "the program's runtime took them".to_owned(),
                ..StackChoice::default()
            },
            attach: "nothing".to_owned(),
            complete: true,
            ..Capture::default()
        },
        totals: Totals {
            alloc_count: whole(allocated.count),
            alloc_bytes: whole(allocated.bytes),
            free_count: whole(allocated.count - live.count),
            free_bytes: whole(allocated.bytes - live.bytes),
            live_count: whole(live.count),
            live_bytes: whole(live.bytes),
            peak_live_bytes: 0,
            live_bytes_error: whole(live.variance.sqrt()),
            alloc_bytes_error: whole(allocated.variance.sqrt()),
        },
        functions: shares::functions(stacks.iter().zip(&uncertainties), &coverage, main),
        modules: shares::modules(modules, &stacks, main),
        stacks,
        ..Report::default()
    }
}

fn stack(id: u32, one: SampledStack, errors: &[f64; 2]) -> Stack {
    Stack {
        id,
        class: Class::Heap.name().to_owned(),
        live_count: whole(one.live.count),
        live_bytes: whole(one.live.bytes),
        live_samples: whole(one.live.samples),
        alloc_count: whole(one.allocated.count),
        alloc_bytes: whole(one.allocated.bytes),
        live_bytes_error: whole(errors[0]),
        alloc_bytes_error: whole(errors[1]),
        frames: one.frames,
        ..Stack::default()
    }
}
