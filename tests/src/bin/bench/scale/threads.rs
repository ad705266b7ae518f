//! What a pair of malloc and free costs by threads of the program.

use std::fmt::Write;

use anyhow::Result;

use crate::{
    cost::{Row, Stack, measure},
    floor::Sites,
    mode::Mode,
    statistics::Rounds,
    target::{Allocator, Loop},
};

const THREADS: [usize; 7] = [1, 2, 4, 8, 16, 32, 64];
const ROUNDS: usize = 3;
/// Modes, and the floors that they are compared with.
const ROWS: [(Row, Row); 2] = [
    (Row::Memmgr(Mode::Sample, Stack::FramePointers), Row::FLOOR),
    (Row::Memmgr(Mode::Exact, Stack::FramePointers), Row::FLOOR_WITH_RETURN),
];

/// Measures, and writes a line for each number of threads.
pub fn table() -> Result<String> {
    let mut text = String::from(
        "A loop of `malloc(64)` and `free`, with frame pointers. What is lost costs less than it should.\n\n\
         | threads | floor without return, ns a pair | sample, × the floor without return | events lost \
         | floor with return, ns a pair | exact, × the floor with return | events lost |\n\
         |---:|---:|---:|---:|---:|---:|---:|\n",
    );
    for threads in THREADS {
        let mut target = Loop::start(Allocator::Glibc, threads);
        let sites = Sites::find(target.pid(), Allocator::Glibc.family())?;
        let mut measured: [Measured; ROWS.len()] = Default::default();
        for _ in 0..ROUNDS {
            for ((row, floor), measured) in ROWS.iter().zip(&mut measured) {
                let floor = measure(&mut target, &sites, *floor)?;
                let cost = measure(&mut target, &sites, *row)?;
                measured.floor_ns.0.push(floor.target_ns);
                measured.ratio.0.push(cost.target_probes / floor.target_probes);
                measured.lost_percent.0.push(cost.lost_percent);
            }
        }
        write!(text, "| {threads} |")?;
        for Measured { floor_ns, ratio, lost_percent } in &measured {
            let (floor, lost) = (floor_ns.median(), lost_percent.median());
            write!(text, " {floor:.0} | {ratio:.2} | {lost:.0} % |")?;
        }
        text.push('\n');
    }
    Ok(text)
}

/// By round.
#[derive(Default)]
struct Measured {
    floor_ns: Rounds,
    ratio: Rounds,
    lost_percent: Rounds,
}
