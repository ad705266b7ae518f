//! Copied stacks that come again, recognized without unwinding all of their frames.
//!
//! What unwinding makes of a stack depends on nothing but words that it reads there: return addresses, and saved
//! frame pointers where it follows them. The inner frames of a stack suggest which one it is; when all words that decided
//! over the outer part of that one are there again, it is. These are read one beside the other, whereas
//! unwinding has to know a frame to find the next.

use std::hash::{BuildHasher, Hasher};

use hashbrown::{DefaultHashBuilder, HashMap};

use super::WORD;
use crate::{decode::CopiedStack, stacks::StackHandle, units::Address};

/// So many inner frames suggest a stack, or twice as many, and so on: many stacks may share the first few.
const FIRST_MARK: usize = 4;
/// Outer parts that are kept, each of about 200 bytes; then all are forgotten.
const MOST_PARTS: usize = 128 << 10;

/// A word that decides how a stack goes on. Places are in words from the stack pointer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Word {
    /// A return address.
    ReturnAddress(u16),
    /// A saved frame pointer: how far from the stack pointer it leads.
    FramePointer(u16),
    /// The same of the frame pointer in the register.
    Register,
}

impl Word {
    fn value(self, stack: &CopiedStack<'_>) -> Option<u64> {
        let at = |place| stack.read(stack.sp.0.wrapping_add(u64::from(place) * WORD));
        Some(match self {
            Word::ReturnAddress(place) => at(place)?,
            Word::FramePointer(place) => at(place)?.wrapping_sub(stack.sp.0),
            Word::Register => stack.bp.0.wrapping_sub(stack.sp.0),
        })
    }
}

/// What is read while a stack is unwound.
#[derive(Default)]
pub(super) struct Trace {
    sp: u64,
    words: Vec<(Word, u64)>,
    /// Where the frame pointer was read, and its value.
    frame_pointer: Option<(Word, u64)>,
    /// Something decided that is not in the words.
    unclear: bool,
}

impl Trace {
    fn begin(&mut self, stack: &CopiedStack<'_>) {
        self.sp = stack.sp.0;
        self.words.clear();
        self.frame_pointer = Some((Word::Register, stack.bp.0.wrapping_sub(self.sp)));
        self.unclear = false;
    }

    /// This return address was read here.
    pub(super) fn return_address(&mut self, at: u64, value: u64) {
        let place = self.place(at);
        self.words.extend(place.map(|place| (Word::ReturnAddress(place), value)));
    }

    /// This frame pointer was read here.
    pub(super) fn frame_pointer(&mut self, at: u64, value: u64) {
        let place = self.place(at);
        let value = value.wrapping_sub(self.sp);
        self.frame_pointer = place.map(|place| (Word::FramePointer(place), value));
    }

    /// The frame pointer decides where the next frame is.
    pub(super) fn follows_frame_pointer(&mut self) {
        self.words.extend(self.frame_pointer);
    }

    /// Something else decides.
    pub(super) fn is_unclear(&mut self) {
        self.unclear = true;
    }

    fn place(&mut self, at: u64) -> Option<u16> {
        let bytes = at.wrapping_sub(self.sp);
        let place = bytes.is_multiple_of(WORD).then_some(bytes / WORD);
        let place = place.and_then(|place| u16::try_from(place).ok());
        self.unclear |= place.is_none();
        place
    }
}

/// The part of a stack outside of some inner frames.
struct Outside {
    words: Box<[Word]>,
    /// Of the inner frames, and of what the words were. They are not compared one by one: as its key has a hash of the inner
    /// frames too, two stacks of a million are taken for one with a probability of 10^-27.
    hash: u64,
    stack: StackHandle,
}

/// Inner frames that suggested no stack.
#[derive(Clone, Copy)]
struct Mark {
    key: u64,
    frames: usize,
    words: usize,
}

/// The stacks of one process, until its mappings change.
#[derive(Default)]
pub(super) struct Recall {
    outsides: HashMap<u64, Outside>,
    key_hasher: DefaultHashBuilder,
    hasher: DefaultHashBuilder,
    marks: Vec<Mark>,
    /// Of the stack that is being unwound.
    pub(super) trace: Trace,
}

impl Recall {
    /// Forgets all of them.
    pub(super) fn clear(&mut self) {
        self.outsides.clear();
    }

    /// Another stack is unwound from now on.
    pub(super) fn begin(&mut self, stack: &CopiedStack<'_>) {
        self.marks.clear();
        self.trace.begin(stack);
    }

    /// Which stack it must be, by the inner frames that were found so far and the stack pointer in the last of them.
    pub(super) fn stack(
        &mut self,
        stack: &CopiedStack<'_>,
        frames: &[Address],
        sp: u64,
    ) -> Option<StackHandle> {
        if frames.len() < FIRST_MARK || !frames.len().is_power_of_two() {
            return None;
        }
        let key = self.key_hasher.hash_one((sp.wrapping_sub(stack.sp.0), frames));
        if let Some(outside) = self.outsides.get(&key) {
            let values = outside.words.iter().map(|word| word.value(stack));
            if self.hash(frames, values) == Some(outside.hash) {
                return Some(outside.stack);
            }
        }
        self.marks.push(Mark { key, frames: frames.len(), words: self.trace.words.len() });
        None
    }

    /// The stack has been unwound to its end, and is this one.
    pub(super) fn remember(&mut self, frames: &[Address], stack: StackHandle) {
        if self.trace.unclear {
            return;
        }
        if self.outsides.len() + self.marks.len() > MOST_PARTS {
            self.outsides.clear();
        }
        for mark in &self.marks {
            let outer = &self.trace.words[mark.words..];
            let values = outer.iter().map(|(_, value)| Some(*value));
            let Some(hash) = self.hash(&frames[..mark.frames], values) else { continue };
            let words = outer.iter().map(|(word, _)| *word).collect();
            self.outsides.insert(mark.key, Outside { words, hash, stack });
        }
    }

    /// Nothing where a value is not there.
    fn hash(&self, frames: &[Address], values: impl Iterator<Item = Option<u64>>) -> Option<u64> {
        let mut hasher = self.hasher.build_hasher();
        for frame in frames {
            hasher.write_u64(frame.0);
        }
        for value in values {
            hasher.write_u64(value?);
        }
        Some(hasher.finish())
    }
}
