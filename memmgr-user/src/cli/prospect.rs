//! `doctor --pid`: what a capture would probe in a process, and what that costs it. Nothing is attached to it.

use memmgr::{
    capture::{CapturePlan, Prospect, calibrate, stack_choice},
    escape::Safe,
    govern::{Costs, Priced},
    report::{Allocator, NotCovered, ProbedFunction, StackChoice},
    source::roots::Roots,
    units::{Pid, human_bytes},
};
use serde::Serialize;

use super::args::Doctor;

/// Aliases of one function can be many.
const WIDEST_SYMBOL: usize = 40;

#[derive(Serialize)]
struct Outlook {
    pid: u32,
    comm: String,
    allocators: Vec<AllocatorOutlook>,
    /// Nanoseconds that an allocation takes more whose stack is captured.
    event_ns: u64,
    stack: StackChoice,
    not_covered: Vec<NotCovered>,
}

#[derive(Serialize)]
struct AllocatorOutlook {
    kind: String,
    path: String,
    build_id: String,
    functions: Vec<FunctionOutlook>,
}

#[derive(Serialize)]
struct FunctionOutlook {
    symbol: String,
    role: String,
    /// File offset of its first instruction.
    offset: u64,
    site: String,
    /// Nanoseconds that every call takes more.
    call_ns: u64,
}

/// Looks, and prints.
pub fn run(options: &Doctor, pid: Pid) -> anyhow::Result<()> {
    let plan = CapturePlan {
        allocators: options.allocator.clone(),
        probes: options.probe.clone(),
        ..CapturePlan::usual(pid)
    };
    // Beside the search, which reads large files.
    let measured = calibrate::begin();
    let (target, prospect) = Prospect::of_process(&Roots::default(), &plan)?;
    let costs = measured.and_then(|costs| costs.join().ok()).unwrap_or(Costs::USUAL);
    let outlook = Outlook {
        pid: pid.0,
        comm: target.identity.comm.clone(),
        allocators: allocators(&prospect, &costs),
        event_ns: costs.of_event().round() as u64,
        stack: stack_choice::brief(&prospect.stack, &plan),
        not_covered: prospect.not_covered(),
    };
    if options.json {
        println!("{}", serde_json::to_string_pretty(&outlook)?);
    } else {
        for line in described(&outlook) {
            println!("{}", Safe::from(line));
        }
    }
    Ok(())
}

fn allocators(prospect: &Prospect, costs: &Costs) -> Vec<AllocatorOutlook> {
    let function = |(function, price): (ProbedFunction, Priced)| FunctionOutlook {
        symbol: function.symbol,
        role: function.role,
        offset: function.offset,
        site: function.site,
        call_ns: costs.of_call(&price).round() as u64,
    };
    let allocator = |(found, prices): (Allocator, Vec<Priced>)| AllocatorOutlook {
        kind: found.kind,
        path: found.path,
        build_id: found.build_id,
        functions: found.functions.into_iter().zip(prices).map(function).collect(),
    };
    prospect.allocators().into_iter().map(allocator).collect()
}

fn described(outlook: &Outlook) -> Vec<String> {
    let microseconds = |ns: u64| format!("{:.1} \u{b5}s", ns as f64 / 1e3);
    let mut lines = vec![format!(
        "{} ({}): what a capture would probe, and what every call would take more",
        outlook.comm, outlook.pid
    )];
    for allocator in &outlook.allocators {
        lines.push(format!("{}: {}", allocator.kind, allocator.path));
        let widest = allocator.functions.iter().map(|f| f.symbol.chars().count()).max();
        let widest = widest.unwrap_or(0).min(WIDEST_SYMBOL);
        for function in &allocator.functions {
            let price = microseconds(function.call_ns);
            lines.push(format!("  {price:>8}  {:<widest$}  {}", function.symbol, function.site));
        }
    }
    let copied = match outlook.stack.bytes {
        0 => String::new(),
        bytes => format!(", up to {} copied", human_bytes(bytes.into())),
    };
    lines.push(format!("Stacks: {}{copied}: {}.", outlook.stack.kind, outlook.stack.why));
    lines.push(format!(
        "An allocation whose stack is captured takes {} more; a budget makes those fewer (--max-overhead, 5 % unless you say otherwise).",
        microseconds(outlook.event_ns)
    ));
    if outlook.not_covered.is_empty() {
        lines.push("Nothing was found that would not be covered.".to_owned());
    }
    let gap = |gap: &NotCovered| format!("Not covered: {}: {}", gap.what, gap.why);
    lines.extend(outlook.not_covered.iter().map(gap));
    lines
}
