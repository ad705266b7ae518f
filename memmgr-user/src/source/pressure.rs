//! Pressure stall information, of the host and of a cgroup.

use std::path::Path;

use procfs::{FromRead, MemoryPressure, PressureRecord};

use crate::report::{Pressure, PressureLine};

/// Reads a pressure file; absent where the kernel keeps none (`CONFIG_PSI=n`, `psi=0`, cgroup v1).
pub(super) fn read_pressure(path: &Path) -> Option<Pressure> {
    let pressure = MemoryPressure::from_file(path).ok()?;
    Some(Pressure { some: line(&pressure.some), full: line(&pressure.full) })
}

fn line(record: &PressureRecord) -> PressureLine {
    PressureLine {
        avg10: percent(record.avg10),
        avg60: percent(record.avg60),
        avg300: percent(record.avg300),
        total_s: record.total as f64 / 1e6,
    }
}

/// The kernel prints two decimals; an f32 widened as it stands would show nine.
fn percent(value: f32) -> f64 {
    (f64::from(value) * 100.0).round() / 100.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::roots::fake::FakeTree;

    #[test]
    fn pressure_is_read_or_absent() {
        let tree = FakeTree::new(&[
            (
                "some",
                "some avg10=4.51 avg60=0.91 avg300=0.10 total=681245\n\
                 full avg10=2.10 avg60=0.12 avg300=0.00 total=391926\n",
            ),
            ("empty", ""),
            ("half", "some avg10=4.51 avg60=0.91 avg300=0.10 total=681245\n"),
        ]);
        let expected = Pressure {
            some: PressureLine { avg10: 4.51, avg60: 0.91, avg300: 0.1, total_s: 0.681_245 },
            full: PressureLine { avg10: 2.1, avg60: 0.12, avg300: 0.0, total_s: 0.391_926 },
        };
        assert_eq!(read_pressure(&tree.path().join("some")), Some(expected));
        for absent in ["empty", "half", "no such file"] {
            assert_eq!(read_pressure(&tree.path().join(absent)), None, "{absent}");
        }
    }
}
