//! What a watch says of itself: troubles, on stderr, and not the same for ever.

use std::time::Instant;

use crate::escape::Safe;

/// What is said in a row; beyond that only the 16th, the 32nd and so on.
const MOST: u32 = 10;

/// Says things and counts them.
#[derive(Debug)]
pub struct Voice {
    began: Instant,
    said: u32,
}

impl Voice {
    /// Nothing was said yet.
    pub fn new() -> Self {
        Voice { began: Instant::now(), said: 0 }
    }

    /// Says something once more.
    pub fn say(&mut self, text: &str) {
        self.said += 1;
        if self.said <= MOST || self.said.is_power_of_two() {
            crate::say!("memmgr: {}", Safe::text(text));
        }
        if self.said == MOST {
            let minutes = self.began.elapsed().as_secs() / 60;
            crate::say!(
                "memmgr: {MOST} such lines in {minutes} min: only some of the next are said"
            );
        }
    }
}

/// Says what sums something up, or is said once: never one too many.
pub fn tell(text: &str) {
    crate::say!("memmgr: {}", Safe::text(text));
}
