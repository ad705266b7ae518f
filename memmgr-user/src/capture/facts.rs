//! What stays of a session when its probes are gone: plain values for the report.

use memmgr_common::per_cpu::Calls;

use crate::{
    allocator::{AttachPlan, PlannedFunction},
    escape::Safe,
    report::{Allocator, NotCovered, ProbedFunction},
    source::identity::Identity,
};

use super::{Session, stack_choice::Choice};

/// Plain values about a session.
#[derive(Clone, Debug)]
pub struct Facts {
    /// What the target was when memmgr attached.
    pub identity: Identity,
    /// What was probed, with the number of outermost calls.
    pub allocators: Vec<Allocator>,
    /// What was not.
    pub not_covered: Vec<NotCovered>,
    /// How the probes were attached: `session`, `multi`, `perf`, or `tracepoint` without an allocator's probes.
    pub attach: &'static str,
    /// Which stacks were taken.
    pub stack: Choice,
    /// Whether memmgr started the target, so that nothing of it is older than the capture.
    pub launched: bool,
    /// How long attaching took, in seconds.
    pub attach_s: f64,
}

impl Facts {
    /// Takes them; `calls` are those by function of the attach plan.
    pub fn of(session: &Session, calls: &[Calls]) -> Self {
        Facts {
            identity: session.target.identity.clone(),
            allocators: allocators(&session.plan, calls),
            not_covered: session
                .not_covered
                .iter()
                .cloned()
                .chain(not_covered(&session.plan))
                .collect(),
            attach: session.attached_by(),
            stack: session.stack.clone(),
            launched: session.launched,
            attach_s: session.attach_s,
        }
    }
}

/// What was found and is not probed.
pub(super) fn not_covered(plan: &AttachPlan) -> impl Iterator<Item = NotCovered> {
    plan.not_covered.iter().map(|n| NotCovered { what: n.what.clone(), why: n.why.clone() })
}

/// What is probed; `calls` are those by function of the plan.
pub(super) fn allocators(plan: &AttachPlan, calls: &[Calls]) -> Vec<Allocator> {
    let hits_of = |index: u16| calls.get(usize::from(index)).map_or(0, |calls| calls.hits);
    plan.allocators
        .iter()
        .map(|allocator| Allocator {
            kind: allocator.family.name().to_owned(),
            path: allocator.path.to_string_lossy().into_owned(),
            build_id: allocator.build_id.clone().unwrap_or_default(),
            functions: allocator
                .functions
                .iter()
                .map(|function| ProbedFunction {
                    symbol: function.symbol.clone(),
                    role: function.role.name().to_owned(),
                    offset: function.function.0,
                    site: site(function),
                    hits: hits_of(function.cookie.function()),
                })
                .collect(),
        })
        .collect()
}

fn site(function: &PlannedFunction) -> String {
    const STEPPED: &str = "single-stepped: about ten times the cost";
    let cost = if function.site.emulated { "emulated" } else { STEPPED };
    let entry = format!("{} ({cost})", Safe::text(&function.site.description));
    match function.exits.len() {
        0 => entry,
        exits => format!("{entry}, and {exits} places where it returns ({STEPPED})"),
    }
}
