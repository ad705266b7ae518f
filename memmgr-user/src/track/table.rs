//! A hash table by address that grows a small part at a time.
//!
//! One large table doubles by holding the old and the new one at once, which at a million blocks is
//! a peak of a third more memory. Split by address, only one part does so at a time.

use hashbrown::{HashMap, hash_map::Entry};

use crate::units::Address;

/// A power of two.
const PARTS: usize = 64;

/// Values by address.
pub(super) struct Table<T> {
    parts: [HashMap<u64, T>; PARTS],
    length: usize,
}

impl<T> Table<T> {
    pub(super) fn new() -> Self {
        Table { parts: std::array::from_fn(|_| HashMap::new()), length: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.length
    }

    pub(super) fn contains(&self, address: Address) -> bool {
        self.parts[part(address)].contains_key(&address.0)
    }

    /// Puts a value in, and returns the one that was there.
    pub(super) fn insert(&mut self, address: Address, value: T) -> Option<T> {
        let before = self.parts[part(address)].insert(address.0, value);
        self.length += usize::from(before.is_none());
        before
    }

    /// Puts a value in where there is none; gives it back where there is one.
    pub(super) fn insert_new(&mut self, address: Address, value: T) -> Result<(), T> {
        match self.parts[part(address)].entry(address.0) {
            Entry::Vacant(place) => {
                place.insert(value);
                self.length += 1;
                Ok(())
            }
            Entry::Occupied(_) => Err(value),
        }
    }

    pub(super) fn remove(&mut self, address: Address) -> Option<T> {
        let removed = self.parts[part(address)].remove(&address.0);
        self.length -= usize::from(removed.is_some());
        removed
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (Address, T)>
    where
        T: Copy,
    {
        self.parts.iter().flatten().map(|(address, value)| (Address(*address), *value))
    }
}

/// Fibonacci hashing (Knuth, TAOCP 3, 6.4): the top bits of a product depend on all bits of the address.
fn part(address: Address) -> usize {
    (address.0.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - PARTS.trailing_zeros())) as usize
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap as Model;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn behaves_like_one_table(script in proptest::collection::vec((0u8..4, 0u64..200), 0..400)) {
            let (mut table, mut model) = (Table::new(), Model::new());
            for (i, (what, n)) in script.into_iter().enumerate() {
                let address = Address(n * 16);
                match what {
                    0 => prop_assert_eq!(table.insert(address, i), model.insert(address, i)),
                    1 => prop_assert_eq!(table.remove(address), model.remove(&address)),
                    2 => {
                        let new = table.insert_new(address, i).is_ok();
                        prop_assert_eq!(new, !model.contains_key(&address));
                        model.entry(address).or_insert(i);
                    }
                    _ => prop_assert_eq!(table.contains(address), model.contains_key(&address)),
                }
                prop_assert_eq!(table.len(), model.len());
            }
            let (mut a, mut b): (Vec<_>, Vec<_>) = (table.iter().collect(), model.into_iter().collect());
            a.sort_unstable();
            b.sort_unstable();
            prop_assert_eq!(a, b);
        }
    }

    #[test]
    fn blocks_of_every_alignment_spread_over_all_parts() {
        for step in [16u64, 64, 4096, 65536] {
            let mut sizes = [0; PARTS];
            for i in 0..64_000 {
                sizes[part(Address(0x7f00_0000_0000 + i * step))] += 1;
            }
            let most = sizes.iter().max().expect("there are parts");
            assert!(*most < 1_500, "step {step}: a part of {most}, 1000 were even");
        }
    }
}
