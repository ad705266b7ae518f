//! Stacks as a prefix tree of 32-bit handles: stacks that share their outer frames share the nodes.

use std::{collections::BTreeSet, hash::BuildHasher};

use hashbrown::{DefaultHashBuilder, HashMap, HashTable};

use crate::units::Address;

/// A stack, or an outer part of one: a node of the tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StackHandle(pub u32);

/// How a stack ends at its outer side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outer {
    /// At the start of its thread.
    Whole,
    /// Earlier: it was cut short.
    Cut,
    /// No stack was taken at all.
    Missing,
    /// The tree was full when it came.
    NotKept,
}

const OUTERS: [Outer; 4] = [Outer::Whole, Outer::Cut, Outer::Missing, Outer::NotKept];

#[derive(Clone, Copy)]
struct Node {
    parent: StackHandle,
    address: Address,
}

/// All stacks of a capture.
pub struct Stacks {
    nodes: Vec<Node>,
    index: HashTable<u32>,
    /// Whole stacks by two hashes of 64 bits with keys of their own. One that comes again is not compared, because that
    /// would touch every one of its nodes: of a million stacks two are taken for one with a probability of 10^-27.
    whole: HashMap<(u64, u64), StackHandle>,
    hasher: DefaultHashBuilder,
    other_hasher: DefaultHashBuilder,
    most_nodes: usize,
    not_kept: u64,
}

impl Stacks {
    /// A tree of at most `most_nodes` nodes, about 24 bytes each, and 25 more for each whole stack.
    pub fn new(most_nodes: usize) -> Self {
        let root = |i| Node { parent: StackHandle(i as u32), address: Address(0) };
        Stacks {
            nodes: (0..OUTERS.len()).map(root).collect(),
            index: HashTable::new(),
            whole: HashMap::new(),
            hasher: DefaultHashBuilder::default(),
            other_hasher: DefaultHashBuilder::default(),
            most_nodes: most_nodes.max(OUTERS.len()),
            not_kept: 0,
        }
    }

    /// The handle of a stack without frames.
    pub fn root(outer: Outer) -> StackHandle {
        StackHandle(outer as u32)
    }

    /// The handle of a stack, given leaf first. When the tree is full the stack becomes `NotKept`, which is counted.
    pub fn intern(&mut self, frames: &[Address], outer: Outer) -> StackHandle {
        let hashes =
            [&self.hasher, &self.other_hasher].map(|hasher| hasher.hash_one((outer, frames)));
        let whole = hashes.into();
        if let Some(handle) = self.whole.get(&whole) {
            return *handle;
        }
        let mut handle = Self::root(outer);
        for address in frames.iter().rev() {
            if let Some(child) = self.child(handle, *address) {
                handle = child;
            } else {
                self.not_kept += 1;
                return Self::root(Outer::NotKept);
            }
        }
        self.whole.insert(whole, handle);
        handle
    }

    /// Stacks that were not kept because the tree was full.
    pub fn not_kept(&self) -> u64 {
        self.not_kept
    }

    /// The frames, leaf first, and how the stack ends.
    pub fn frames(&self, handle: StackHandle) -> (Vec<Address>, Outer) {
        let (mut frames, mut at) = (Vec::new(), handle);
        while at.0 as usize >= OUTERS.len() {
            let node = self.nodes[at.0 as usize];
            frames.push(node.address);
            at = node.parent;
        }
        (frames, OUTERS[at.0 as usize])
    }

    /// Nodes in the order of their handles, without the first `skip`; those of the roots are none.
    pub fn nodes_from(&self, skip: usize) -> impl Iterator<Item = crate::recording::Node> {
        self.nodes.iter().enumerate().skip(OUTERS.len() + skip).map(|(handle, node)| {
            crate::recording::Node {
                handle: StackHandle(handle as u32),
                parent: node.parent,
                address: node.address,
            }
        })
    }

    /// Every distinct address.
    pub fn addresses(&self) -> Vec<Address> {
        let distinct: BTreeSet<Address> =
            self.nodes.iter().skip(OUTERS.len()).map(|node| node.address).collect();
        distinct.into_iter().collect()
    }

    fn child(&mut self, parent: StackHandle, address: Address) -> Option<StackHandle> {
        let hash = self.hasher.hash_one((parent.0, address.0));
        let same = |i: &u32| {
            let node = &self.nodes[*i as usize];
            node.parent == parent && node.address == address
        };
        if let Some(found) = self.index.find(hash, same) {
            return Some(StackHandle(*found));
        }
        if self.nodes.len() >= self.most_nodes {
            return None;
        }
        let handle = self.nodes.len() as u32;
        self.nodes.push(Node { parent, address });
        let (nodes, hasher) = (&self.nodes, &self.hasher);
        self.index.insert_unique(hash, handle, |i| {
            let node = &nodes[*i as usize];
            hasher.hash_one((node.parent.0, node.address.0))
        });
        Some(StackHandle(handle))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(frames: &[u64]) -> Vec<Address> {
        frames.iter().copied().map(Address).collect()
    }

    #[test]
    fn the_same_stack_has_the_same_handle() {
        let mut stacks = Stacks::new(100);
        let (a, b) = (addresses(&[1, 2, 3]), addresses(&[9, 2, 3]));
        let first = stacks.intern(&a, Outer::Whole);
        let other = stacks.intern(&b, Outer::Whole);
        assert_ne!(first, other);
        assert_eq!(stacks.intern(&a, Outer::Whole), first);
        assert_eq!(stacks.frames(first), (a.clone(), Outer::Whole));
        assert_eq!(stacks.frames(other), (b, Outer::Whole));
        // 3 and 2 are shared: 4 roots, then 3, 2, 1 and 9.
        assert_eq!(stacks.nodes.len(), 8);
        // A cut stack with the same frames is another stack.
        let cut = stacks.intern(&a, Outer::Cut);
        assert_ne!(cut, first);
        assert_eq!(stacks.frames(cut), (a, Outer::Cut));
    }

    #[test]
    fn a_full_tree_keeps_what_it_has_and_counts() {
        let mut stacks = Stacks::new(6);
        let kept = stacks.intern(&addresses(&[1, 2]), Outer::Whole);
        let lost = stacks.intern(&addresses(&[5, 2]), Outer::Whole);
        assert_eq!(stacks.frames(lost), (vec![], Outer::NotKept));
        assert_eq!(stacks.intern(&addresses(&[1, 2]), Outer::Whole), kept);
        assert_eq!(stacks.not_kept(), 1);
    }

    #[test]
    fn a_stack_without_frames_is_its_root() {
        let mut stacks = Stacks::new(10);
        let missing = stacks.intern(&[], Outer::Missing);
        assert_eq!(stacks.frames(missing), (vec![], Outer::Missing));
    }
}
