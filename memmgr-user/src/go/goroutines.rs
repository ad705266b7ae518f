//! The goroutines: how many there are, what they wait for, and where they began.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::{
    figures::{Lacks, processors},
    layout::Layout,
    memory::{Memory, Value},
};

/// More goroutines than this are not looked at one by one.
const MOST: u64 = 10_000_000;
/// Goroutines that lie closer together than this are read at once.
const GAP: u64 = 4096;
/// The most bytes that are read at once.
const PIECE: u64 = 1 << 20;
/// Set while the collector looks at a goroutine's stack (runtime/runtime2.go, `_Gscan`).
const SCAN: u64 = 0x1000;

/// Goroutines of a state, or of a function.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    /// What they have in common.
    pub name: String,
    /// How many.
    pub count: u64,
    /// Of a function: the state that most of them are in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mostly: Option<String>,
    /// Of a function: the one that started most of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_by: Option<String>,
}

/// All goroutines of the program.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Goroutines {
    /// `runtime.NumGoroutine`: without the runtime's own.
    pub count: u64,
    /// The runtime's own.
    pub system: u64,
    /// Those of the program by state, and where they wait by what for, most first.
    pub by_state: Vec<Group>,
    /// Those of the program by the function that they began with, most first.
    pub by_function: Vec<Group>,
}

/// Counts them.
pub(super) fn goroutines(memory: &Memory, layout: &Layout) -> Result<Goroutines, Lacks> {
    let symbol = |name| layout.symbol(name).map(|at| memory.loaded(at)).ok_or(Lacks::Field(name));
    let reasons = Reasons::read(memory, layout);
    let length = memory.word(symbol("runtime.allglen")?)?;
    let array = memory.word(symbol("runtime.allgs")?)?;
    let count = usize::try_from(length.min(MOST)).unwrap_or(0);
    let mut addresses = memory.words(array, count)?;
    addresses.sort_unstable();
    let alike = count_alike(memory, layout, &addresses)?;
    let mut states = HashMap::new();
    let mut functions: HashMap<String, OfFunction> = HashMap::new();
    for (like, count) in alike {
        let Some(state) = state(like.status) else { continue };
        let function = layout.function(memory.file_address(like.start));
        if function.is_some_and(is_of_the_runtime) {
            continue;
        }
        let reason = (state == "waiting").then(|| reasons.name(memory, like.reason)).flatten();
        let state = reason.unwrap_or_else(|| state.to_owned());
        *states.entry(state.clone()).or_insert(0) += count;
        let function = function.map_or_else(|| format!("{:#x}", like.start), str::to_owned);
        let function = functions.entry(function).or_default();
        *function.states.entry(state).or_insert(0) += count;
        if let Some(creator) = layout.function_around(memory.file_address(like.creator)) {
            *function.creators.entry(creator.to_owned()).or_insert(0) += count;
        }
    }
    let sched = memory.value(layout, "runtime.schedt", symbol("runtime.sched")?)?;
    let system = u64::from(sched.get("ngsys").ok_or(Lacks::Field("ngsys"))? as u32);
    let mut free = free_goroutines(&sched).ok_or(Lacks::Field("gFree"))?;
    for processor in processors(memory, layout)? {
        let processor = memory.value(layout, "runtime.p", processor)?;
        free += free_goroutines(&processor).ok_or(Lacks::Field("gFree"))?;
    }
    Ok(Goroutines {
        count: length.saturating_sub(system + free).max(1),
        system,
        by_state: sorted(states.into_iter().map(|(name, count)| Group {
            name,
            count,
            mostly: None,
            started_by: None,
        })),
        by_function: sorted(functions.into_iter().map(of_function)),
    })
}

/// Ended goroutines that are kept for new ones: one count, or from 1.26 on one of each list.
fn free_goroutines(holder: &Value<'_>) -> Option<u64> {
    let count = |path| holder.get(path).map(|count| u64::from(count as u32));
    let lists = || Some(count("gFree.stack.size")? + count("gFree.noStack.size")?);
    count("gFree.n").or_else(lists).or_else(|| count("gFree.size"))
}

/// What is told of a goroutine.
#[derive(PartialEq, Eq, Hash)]
struct Like {
    status: u64,
    reason: u64,
    /// The address of the function that it began with.
    start: u64,
    /// An address in the function that started it; 0 for the first.
    creator: u64,
}

/// Reads goroutines, at addresses in order, with as few reads as possible, and counts those that are alike.
fn count_alike(
    memory: &Memory,
    layout: &Layout,
    addresses: &[u64],
) -> Result<HashMap<Like, u64>, Lacks> {
    let size = layout.size("runtime.g");
    let mut alike = HashMap::new();
    let mut rest = addresses;
    while let Some(&start) = rest.first() {
        let near = |pair: &[u64]| pair[1] - pair[0] <= GAP && pair[1] - start < PIECE;
        let count = 1 + rest.windows(2).take_while(|pair| near(pair)).count();
        let (piece, behind) = rest.split_at(count);
        let length = piece[count - 1] - start + size;
        let mut bytes = vec![0; usize::try_from(length).unwrap_or(0)];
        memory.read(start, &mut bytes)?;
        for address in piece {
            let from = (address - start) as usize;
            let goroutine = Value::of(layout, "runtime.g", &bytes[from..from + size as usize]);
            let need = |path| goroutine.get(path).ok_or(Lacks::Field(path));
            let like = Like {
                status: need("atomicstatus")? & !SCAN,
                reason: need("waitreason")?,
                start: need("startpc")?,
                creator: need("gopc")?,
            };
            *alike.entry(like).or_insert(0) += 1;
        }
        rest = behind;
    }
    Ok(alike)
}

/// The state of a goroutine by its number (runtime/runtime2.go); `None` for one that is no more.
fn state(status: u64) -> Option<&'static str> {
    Some(match status {
        0 => "being made",
        1 => "runnable",
        2 => "running",
        3 => "in a system call",
        4 => "waiting",
        8 => "copying its stack",
        9 => "preempted",
        _ => return None,
    })
}

/// runtime/traceback.go, `isSystemGoroutine`: the runtime's own functions, but for those that run the program's. The one of
/// finalizers counts as the runtime's, also in the moments in which it runs one.
fn is_of_the_runtime(function: &str) -> bool {
    const OF_THE_PROGRAM: [&str; 2] = ["runtime.main", "runtime.handleAsyncEvent"];
    function.starts_with("runtime.") && !OF_THE_PROGRAM.contains(&function)
}

/// Goroutines of a function.
#[derive(Default)]
struct OfFunction {
    states: HashMap<String, u64>,
    creators: HashMap<String, u64>,
}

fn of_function((name, of): (String, OfFunction)) -> Group {
    let count = of.states.values().sum();
    Group { name, count, mostly: most(of.states), started_by: most(of.creators) }
}

fn most(counts: HashMap<String, u64>) -> Option<String> {
    let most = counts.into_iter().max_by(|(a, m), (b, n)| m.cmp(n).then_with(|| b.cmp(a)));
    most.map(|(name, _)| name)
}

fn sorted(groups: impl Iterator<Item = Group>) -> Vec<Group> {
    let mut groups: Vec<Group> = groups.collect();
    groups.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| a.name.cmp(&b.name)));
    groups
}

/// What goroutines wait for, in the words of the runtime itself.
struct Reasons(Option<u64>);

impl Reasons {
    /// The longest word.
    const LONGEST: u64 = 64;
    const MOST: u64 = 128;

    fn read(memory: &Memory, layout: &Layout) -> Self {
        Reasons(layout.symbol("runtime.waitReasonStrings").map(|at| memory.loaded(at)))
    }

    fn name(&self, memory: &Memory, reason: u64) -> Option<String> {
        let strings = self.0.filter(|_| reason < Self::MOST)?;
        let text = memory.words(strings + reason * 16, 2).ok()?;
        let length = text[1];
        if !(1..=Self::LONGEST).contains(&length) {
            return None;
        }
        let mut bytes = vec![0; length as usize];
        memory.read(text[0], &mut bytes).ok()?;
        String::from_utf8(bytes).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_runtimes_own_goroutines_are_told() {
        for (function, expected) in [
            ("runtime.bgsweep", true),
            ("runtime.main", false),
            ("main.main.func1", false),
            ("net/http.(*conn).serve", false),
        ] {
            assert_eq!(is_of_the_runtime(function), expected, "{function}");
        }
    }
}
