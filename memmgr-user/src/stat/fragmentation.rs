//! How much of the free memory can serve a large request: the two indices of the kernel's `extfrag` files, which need
//! debugfs, computed from `/proc/buddyinfo`, which does not.

use serde::{Deserialize, Serialize};

/// The order of a huge page of 2 MiB with pages of 4 KiB.
pub const HUGE_PAGE_ORDER: usize = 9;

/// A zone of a memory node.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Zone {
    /// The node.
    pub node: u32,
    /// `DMA`, `DMA32`, `Normal`, `Movable`.
    pub name: String,
    /// Free bytes in the buddy allocator.
    pub free_bytes: u64,
    /// Free blocks of each order: 1 page, 2 pages, 4 pages and so on.
    pub free_blocks: Vec<u64>,
    /// Share of the free memory, 0 to 1, that cannot serve a request for a huge page.
    pub unusable_for_huge_pages: f64,
    /// Why a request for a huge page would fail, 0 to 1: towards 0 for lack of memory, towards 1 because it is
    /// fragmented, which compaction mends. Absent while a block is free, or when none is.
    pub fragmentation_index: Option<f64>,
}

impl Zone {
    /// A line of `/proc/buddyinfo`: `Node 0, zone   Normal   8183   7277 …`. Nothing if it is none.
    pub fn parse(line: &str, page_bytes: u64) -> Option<Self> {
        let mut words = line.strip_prefix("Node")?.split_whitespace();
        let node = words.next()?.strip_suffix(',')?.parse().ok()?;
        (words.next()? == "zone").then_some(())?;
        let name = words.next()?.to_owned();
        let free_blocks = words.map(|word| word.parse().ok()).collect::<Option<Vec<u64>>>()?;
        let info = Info::of(&free_blocks, HUGE_PAGE_ORDER);
        Some(Zone {
            node,
            name,
            free_bytes: info.free_pages * page_bytes,
            unusable_for_huge_pages: info.unusable(HUGE_PAGE_ORDER),
            fragmentation_index: info.fragmentation_index(HUGE_PAGE_ORDER),
            free_blocks,
        })
    }

    /// Free blocks of at least the order of a huge page, in huge pages.
    pub fn huge_pages_free(&self) -> u64 {
        Info::of(&self.free_blocks, HUGE_PAGE_ORDER).blocks_suitable
    }
}

/// `struct contig_page_info` of mm/vmstat.c, for a request of an order.
struct Info {
    free_pages: u64,
    blocks_total: u64,
    blocks_suitable: u64,
}

impl Info {
    fn of(free_blocks: &[u64], order: usize) -> Self {
        let mut info = Info { free_pages: 0, blocks_total: 0, blocks_suitable: 0 };
        for (at, blocks) in free_blocks.iter().enumerate() {
            info.blocks_total += blocks;
            info.free_pages += blocks << at;
            if at >= order {
                info.blocks_suitable += blocks << (at - order);
            }
        }
        info
    }

    /// `unusable_free_index`: no free memory is taken as all of it unusable.
    fn unusable(&self, order: usize) -> f64 {
        if self.free_pages == 0 {
            return 1.0;
        }
        (self.free_pages - (self.blocks_suitable << order)) as f64 / self.free_pages as f64
    }

    /// `__fragmentation_index`.
    fn fragmentation_index(&self, order: usize) -> Option<f64> {
        if self.blocks_total == 0 || self.blocks_suitable > 0 {
            return None;
        }
        let requested = (1_u64 << order) as f64;
        Some(1.0 - (1.0 + self.free_pages as f64 / requested) / self.blocks_total as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read() {
        let line = "Node 1, zone   Normal   8183   7277   6389   3172   1927   1401    968   2195   1479    970   2510 ";
        let zone = Zone::parse(line, 4096).unwrap();
        assert_eq!((zone.node, zone.name.as_str()), (1, "Normal"));
        let pages = 8183
            + 7277 * 2
            + 6389 * 4
            + 3172 * 8
            + 1927 * 16
            + 1401 * 32
            + 968 * 64
            + 2195 * 128
            + 1479 * 256
            + 970 * 512
            + 2510 * 1024;
        assert_eq!(zone.free_bytes, pages * 4096);
        assert_eq!(zone.huge_pages_free(), 970 + 2 * 2510);
        let usable = (970.0 + 2.0 * 2510.0) * 512.0 / pages as f64;
        assert!((zone.unusable_for_huge_pages - (1.0 - usable)).abs() < 1e-12, "{zone:?}");
        assert_eq!(zone.fragmentation_index, None);
        for broken in ["", "Node 0", "Node 0, zone", "Node x, zone DMA 1", "Node 0, zone DMA 1 x"] {
            assert_eq!(Zone::parse(broken, 4096), None, "{broken}");
        }
    }

    #[test]
    fn indices_tell_lack_of_memory_from_fragmentation() {
        let check = |blocks: &[u64], unusable: f64, index: Option<f64>| {
            let info = Info::of(blocks, HUGE_PAGE_ORDER);
            assert!((info.unusable(HUGE_PAGE_ORDER) - unusable).abs() < 1e-9, "{blocks:?}");
            let found = info.fragmentation_index(HUGE_PAGE_ORDER);
            assert_eq!(found.is_some(), index.is_some(), "{blocks:?}");
            let off = found.unwrap_or(0.0) - index.unwrap_or(0.0);
            assert!(off.abs() < 1e-9, "{blocks:?}: {found:?}");
        };
        // Much memory in single pages.
        check(&[102_400, 0, 0, 0, 0, 0, 0, 0, 0, 0], 1.0, Some(1.0 - 201.0 / 102_400.0));
        // One page is free.
        check(&[1, 0, 0, 0, 0, 0, 0, 0, 0, 0], 1.0, Some(1.0 - (1.0 + 1.0 / 512.0)));
        check(&[0, 0, 0, 0, 0, 0, 0, 0, 0, 1], 0.0, None);
        check(&[512, 0, 0, 0, 0, 0, 0, 0, 0, 1], 0.5, None);
        check(&[0; 10], 1.0, None);
    }
}
