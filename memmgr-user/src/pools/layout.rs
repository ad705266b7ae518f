//! Where the fields of glibc's arenas and parameters are, on x86-64 (malloc/malloc.c, `malloc_state` and `malloc_par`).

/// Of an arena.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ArenaLayout {
    /// `fastbinsY`.
    pub(super) fast_bins: usize,
    /// `top`.
    pub(super) top: usize,
    /// `bins`.
    pub(super) bins: usize,
    /// `next`; the fields behind it always come in this order: `next_free`, `attached_threads`, `system_mem`, `max_system_mem`.
    pub(super) next: usize,
}

/// Of the parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ParameterLayout {
    /// `n_mmaps`; then `n_mmaps_max`, `max_n_mmaps` and `no_dyn_threshold`, 4 bytes each.
    pub(super) mappings: usize,
    /// `mmapped_mem`; then `max_mmapped_mem`, `sbrk_base`, `tcache_bins`, `tcache_max_bytes`, `tcache_count` and
    /// `tcache_unsorted_limit`.
    pub(super) mapped_bytes: usize,
}

/// All that a version of glibc has where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    /// The first minor version that has it: 26 of 2.26.
    pub(super) since: u32,
    pub(super) arena: ArenaLayout,
    pub(super) parameters: ParameterLayout,
    /// Links of fast bins are mangled with their address (`PROTECT_PTR`, 2.32).
    pub(super) is_mangled: bool,
}

/// `NFASTBINS`.
pub(super) const FAST_BINS: usize = 10;
/// `NBINS`, less the one that does not exist.
pub(super) const BINS: usize = 127;
/// Bytes of a link to the next chunk and the one before.
const LINKS: usize = 16;

impl ArenaLayout {
    const fn at(fast_bins: usize) -> Self {
        let top = fast_bins + FAST_BINS * 8;
        let bins = top + 16;
        // The bitmap of bins takes 16 bytes.
        ArenaLayout { fast_bins, top, bins, next: bins + BINS * LINKS + 16 }
    }

    /// Bytes to the end of the last field.
    pub(super) fn size(self) -> usize {
        self.next + 5 * 8
    }
}

impl ParameterLayout {
    /// Bytes to the end of the last field.
    pub(super) fn size(self) -> usize {
        self.mapped_bytes + 7 * 8
    }
}

const SINCE_2_26: Layout = Layout {
    since: 26,
    arena: ArenaLayout::at(8),
    parameters: ParameterLayout { mappings: 40, mapped_bytes: 56 },
    is_mangled: false,
};
/// `have_fastchunks`.
const SINCE_2_27: Layout = Layout { since: 27, arena: ArenaLayout::at(16), ..SINCE_2_26 };
const SINCE_2_32: Layout = Layout { since: 32, is_mangled: true, ..SINCE_2_27 };
/// Sizes of huge pages among the parameters.
const SINCE_2_35: Layout = Layout {
    since: 35,
    parameters: ParameterLayout { mappings: 60, mapped_bytes: 80 },
    ..SINCE_2_32
};

/// Newest first.
static LAYOUTS: [Layout; 4] = [SINCE_2_35, SINCE_2_32, SINCE_2_27, SINCE_2_26];
/// The newest version that was looked at; later ones may move things.
const NEWEST: u32 = 42;

/// Those that a version may have: one, and where it is not known all, the newest first.
pub(super) fn layouts(minor: Option<u32>) -> &'static [Layout] {
    match minor {
        Some(minor) if minor <= NEWEST => {
            let at = LAYOUTS.iter().position(|layout| layout.since <= minor);
            at.map_or(&[], |at| &LAYOUTS[at..=at])
        }
        _ => &LAYOUTS,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_are_those_of_the_debug_information() {
        // `ptype /o struct malloc_state` and `struct malloc_par` of glibc 2.36.
        let found = layouts(Some(36))[0];
        assert_eq!(found.arena, ArenaLayout { fast_bins: 16, top: 96, bins: 112, next: 2160 });
        assert_eq!((found.arena.size(), found.parameters.size()), (2200, 136));
        let check = |minor, expected: &[u32]| {
            let found: Vec<u32> = layouts(minor).iter().map(|layout| layout.since).collect();
            assert_eq!(found, expected, "{minor:?}");
        };
        check(Some(25), &[]);
        check(Some(26), &[26]);
        check(Some(31), &[27]);
        check(Some(34), &[32]);
        check(Some(NEWEST), &[35]);
        check(Some(NEWEST + 1), &[35, 32, 27, 26]);
        check(None, &[35, 32, 27, 26]);
    }
}
