//! Records of the ring buffer as the kernel part writes them.

use memmgr_common::{
    events::{Block, BlockWithStack, Call, FrameStack, Free, Header, Kind, flags},
    limits::MAX_FRAMES,
};

use super::rate::Copied;

/// Records, one behind the other.
#[derive(Default)]
pub struct Records {
    bytes: Vec<u8>,
    ends: Vec<usize>,
    /// Nanoseconds of the last event: one a microsecond, as at a million a second.
    time: u64,
}

/// Who allocates.
#[derive(Clone, Copy)]
pub enum Stack<'a> {
    /// A frame-pointer stack that was sent under this id.
    Known(u64),
    /// A copy.
    Copied(&'a Copied),
}

impl Records {
    /// Each record.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(start, end)| &self.bytes[start..*end])
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// How many bytes.
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// When the last event was.
    pub fn time(&self) -> u64 {
        self.time
    }

    /// Forgets the records, not the time.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
    }

    /// A block of so many bytes was given out, or with [`Kind::ResizeEnd`] moved.
    pub fn block(&mut self, kind: Kind, address: u64, size: u64, stack: Stack<'_>) {
        let copied = match stack {
            Stack::Known(_) => None,
            Stack::Copied(copied) => Some(copied),
        };
        let bytes = copied.map_or(&[][..], |copied| &copied.bytes);
        let header = self.header(kind, flags::NEW_TRACKED, bytes.len() as u32);
        let block = Block {
            header,
            address,
            size,
            stack_id: if let Stack::Known(id) = stack { id } else { 0 },
            ip: copied.map_or(0, |copied| copied.ip),
            sp: copied.map_or(0, |copied| copied.sp),
            bp: copied.map_or(0, |copied| copied.bp),
            interval: 0,
        };
        if bytes.is_empty() {
            self.push(&block, &[]);
        } else {
            let call = Call { slot: 0, return_address: 0, function: 0, bp: 0 };
            self.push(&BlockWithStack { block, call, stack: [0; 0] }, bytes);
        }
    }

    /// A block is about to be freed or, with [`Kind::ResizeBegin`], resized.
    pub fn free(&mut self, kind: Kind, address: u64) {
        let free = Free { header: self.header(kind, 0, 0), address };
        self.push(&free, &[]);
    }

    /// The frames of a stack, leaf first.
    pub fn frames(&mut self, stack_id: u64, list: &[u64]) {
        let mut frames = [0; MAX_FRAMES];
        frames[..list.len()].copy_from_slice(list);
        let header = self.header(Kind::Stack, 0, 0);
        self.push(&FrameStack { header, stack_id, count: list.len() as u64, frames }, &[]);
    }

    fn header(&mut self, kind: Kind, flags: u16, stack_len: u32) -> Header {
        self.time += 1_000;
        Header { kind: kind as u16, flags, tgid: 7, tid: 7, stack_len, time: self.time }
    }

    fn push<T: Copy>(&mut self, body: &T, stack: &[u8]) {
        // SAFETY: the event bodies are integers without padding; memmgr-common asserts their sizes.
        let body = unsafe {
            std::slice::from_raw_parts(std::ptr::from_ref(body).cast::<u8>(), size_of::<T>())
        };
        self.bytes.extend_from_slice(body);
        self.bytes.extend_from_slice(stack);
        self.ends.push(self.bytes.len());
    }
}
