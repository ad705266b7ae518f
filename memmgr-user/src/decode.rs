//! Bytes of the ring buffer → [`Event`]. The only place in user space that knows the wire layout.

use memmgr_common::events::{self, Kind, flags};

use crate::units::{Address, KernelTime, Pid, Tid};

/// Who did something, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    /// Process.
    pub pid: Pid,
    /// Thread.
    pub tid: Tid,
    /// When the kernel saw it.
    pub time: KernelTime,
}

/// One thing that happened in a target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// A block was given out.
    Alloc(Block<'a>),
    /// A block is about to be taken back.
    Free(Address),
    /// A block is about to be resized; its fate is told by the next `ResizeEnd` of the same thread.
    ResizeBegin(Address),
    /// A resize ended.
    ResizeEnd(ResizeEnd<'a>),
    /// The frames behind a stack key, before its first use.
    Frames(FrameList),
    /// Memory was mapped.
    Map(Block<'a>, Backing),
    /// A range is about to be unmapped.
    UnmapBegin(Span),
    /// The unmap ended.
    UnmapEnd {
        /// Whether the range is gone.
        done: bool,
    },
    /// A range is about to be moved or resized.
    RemapBegin(Span),
    /// The remap ended; `None` when it failed.
    RemapEnd(Option<Block<'a>>),
    /// The program break was set to the block's address.
    Break(Block<'a>),
    /// A page was touched.
    Fault(Block<'a>, Touch),
    /// The target made a child process.
    Fork {
        /// It runs in the target's memory until it executes a program.
        shares_memory: bool,
    },
    /// The target executed another program.
    Exec,
    /// A thread of the target ended.
    ThreadExit,
}

/// A block and who asked for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block<'a> {
    /// First byte.
    pub address: Address,
    /// Bytes asked for.
    pub size: u64,
    /// Sampling interval in bytes, 0 when every call is reported.
    pub interval: u64,
    /// The stack that asked.
    pub stack: RawStack<'a>,
}

/// What became of a resize.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ResizeEnd<'a> {
    /// The old block stands as it was.
    Failed,
    /// The old block is gone, and the new one, if any, is not tracked.
    Gone,
    /// The old block is gone and this one is there instead.
    Moved(Block<'a>),
}

/// What is behind a mapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backing {
    /// Zeroes.
    Anonymous,
    /// A file.
    File,
    /// Nothing: address space without any access. What was there before is gone.
    Nothing,
}

/// What a page fault was about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Touch {
    /// The page was not there.
    First,
    /// The page was there and shared: the kernel's page of zeroes, a file's, a relative's after a fork. It was
    /// written, and is a copy now.
    Copied,
}

/// A range of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// First byte.
    pub start: Address,
    /// Bytes.
    pub length: u64,
}

/// The kernel part's name for a frame-pointer stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct StackKey(pub u64);

/// A frame-pointer stack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FrameList {
    /// Its name in the events that follow.
    pub key: StackKey,
    /// Return addresses, leaf first.
    pub frames: Vec<Address>,
    /// There were more frames than are kept.
    pub cut: bool,
}

/// A stack as the kernel part took it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RawStack<'a> {
    /// Walked along frame pointers and sent once, under this name.
    Known(StackKey),
    /// Copied; to be unwound.
    Copied(CopiedStack<'a>),
    /// There is none.
    Missing,
}

/// A copy of the top of a stack and the registers that belong to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CopiedStack<'a> {
    /// Instruction pointer.
    pub ip: Address,
    /// Stack pointer: the address of the first byte.
    pub sp: Address,
    /// Frame pointer register.
    pub bp: Address,
    /// The bytes, from the stack pointer upwards.
    pub bytes: &'a [u8],
    /// The stack goes on beyond the bytes.
    pub cut: bool,
    /// The allocator's call that it was taken in.
    pub call: Option<Call>,
}

/// An allocator's call in flight, as it began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Call {
    /// The slot of the stack where the kernel's trampoline stands in place of the return address.
    pub slot: Address,
    /// The return address that belongs there.
    pub return_address: Address,
    /// The probe, in the function that was called.
    pub function: Address,
    /// Frame pointer register.
    pub bp: Address,
}

impl CopiedStack<'_> {
    /// The word at an address of the stack, if it was copied.
    pub fn read(&self, address: u64) -> Option<u64> {
        if let Some(call) = self.call
            && call.slot.0 == address
        {
            return Some(call.return_address.0);
        }
        let at = address.checked_sub(self.sp.0)? as usize;
        let bytes = self.bytes.get(at..at.checked_add(8)?)?;
        Some(u64::from_le_bytes(bytes.try_into().expect("eight bytes")))
    }
}

/// Why a record could not be decoded. Each is a fault of ours, counted and reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Shorter than its kind needs.
    #[error("an event of kind {kind} has {length} bytes")]
    Short {
        /// The kind as sent.
        kind: u16,
        /// Bytes there are.
        length: usize,
    },
    /// No such kind.
    #[error("an event has the unknown kind {0}")]
    Kind(u16),
}

/// Decodes one record.
pub fn decode(record: &[u8]) -> Result<(Origin, Event<'_>), DecodeError> {
    let header: events::Header = read(record, 0)?;
    let origin =
        Origin { pid: Pid(header.tgid), tid: Tid(header.tid), time: KernelTime(header.time) };
    Ok((origin, body(record, &header)?))
}

fn body<'a>(record: &'a [u8], header: &events::Header) -> Result<Event<'a>, DecodeError> {
    let is = |kind: Kind| header.kind == kind as u16;
    let has = |flag: u16| header.flags & flag != 0;
    Ok(if is(Kind::Alloc) {
        Event::Alloc(block(record, header)?)
    } else if is(Kind::Free) {
        Event::Free(free(record, header)?)
    } else if is(Kind::ResizeBegin) {
        Event::ResizeBegin(free(record, header)?)
    } else if is(Kind::ResizeEnd) {
        let block = block(record, header)?;
        Event::ResizeEnd(match (block.address, block.size) {
            (Address(0), 0) => ResizeEnd::Gone,
            (Address(0), _) => ResizeEnd::Failed,
            _ if has(flags::NEW_TRACKED) => ResizeEnd::Moved(block),
            _ => ResizeEnd::Gone,
        })
    } else if is(Kind::Stack) {
        Event::Frames(frames(record, header)?)
    } else if is(Kind::Map) {
        let backing = match (has(flags::FILE_MAPPING), has(flags::RESERVATION)) {
            (true, _) => Backing::File,
            (false, true) => Backing::Nothing,
            (false, false) => Backing::Anonymous,
        };
        Event::Map(block(record, header)?, backing)
    } else if is(Kind::UnmapBegin) {
        Event::UnmapBegin(span(record, header)?)
    } else if is(Kind::UnmapEnd) {
        let range: events::Range = read(record, header.kind)?;
        Event::UnmapEnd { done: range.result == 0 }
    } else if is(Kind::RemapBegin) {
        Event::RemapBegin(span(record, header)?)
    } else if is(Kind::RemapEnd) {
        let block = block(record, header)?;
        Event::RemapEnd((block.address != Address(0)).then_some(block))
    } else if is(Kind::Break) {
        Event::Break(block(record, header)?)
    } else if is(Kind::Fault) {
        let touch = if has(flags::COPIED) { Touch::Copied } else { Touch::First };
        Event::Fault(block(record, header)?, touch)
    } else if is(Kind::Fork) {
        Event::Fork { shares_memory: header.flags & flags::SHARES_MEMORY != 0 }
    } else if is(Kind::Exec) {
        Event::Exec
    } else if is(Kind::ThreadExit) {
        Event::ThreadExit
    } else {
        return Err(DecodeError::Kind(header.kind));
    })
}

fn block<'a>(record: &'a [u8], header: &events::Header) -> Result<Block<'a>, DecodeError> {
    let block: events::Block = read(record, header.kind)?;
    let cut = header.flags & flags::STACK_CUT != 0;
    let stack = if header.flags & flags::STACK_MISSING != 0 {
        RawStack::Missing
    } else if header.stack_len > 0 {
        let short = DecodeError::Short { kind: header.kind, length: record.len() };
        let behind = record.get(size_of::<events::Block>()..).ok_or(short)?;
        let call: events::Call = read(behind, header.kind).map_err(|_| short)?;
        let start = size_of::<events::Call>();
        let bytes = behind.get(start..start + header.stack_len as usize).ok_or(short)?;
        let (ip, sp, bp) = (Address(block.ip), Address(block.sp), Address(block.bp));
        let call = (call.slot != 0).then_some(Call {
            slot: Address(call.slot),
            return_address: Address(call.return_address),
            function: Address(call.function),
            bp: Address(call.bp),
        });
        RawStack::Copied(CopiedStack { ip, sp, bp, bytes, cut, call })
    } else if block.stack_id != 0 {
        RawStack::Known(StackKey(block.stack_id))
    } else {
        RawStack::Missing
    };
    Ok(Block { address: Address(block.address), size: block.size, interval: block.interval, stack })
}

fn free(record: &[u8], header: &events::Header) -> Result<Address, DecodeError> {
    let free: events::Free = read(record, header.kind)?;
    Ok(Address(free.address))
}

fn span(record: &[u8], header: &events::Header) -> Result<Span, DecodeError> {
    let range: events::Range = read(record, header.kind)?;
    Ok(Span { start: Address(range.address), length: range.length })
}

fn frames(record: &[u8], header: &events::Header) -> Result<FrameList, DecodeError> {
    let stack: events::FrameStack = read(record, header.kind)?;
    let count = (stack.count as usize).min(stack.frames.len());
    Ok(FrameList {
        key: StackKey(stack.stack_id),
        frames: stack.frames[..count].iter().copied().map(Address).collect(),
        cut: header.flags & flags::STACK_CUT != 0,
    })
}

/// Bodies that may be read from any bytes of their size.
///
/// # Safety
/// `repr(C)`, integers and arrays of integers only, without padding.
unsafe trait Wire: Copy {}
// SAFETY: integers only; memmgr-common asserts their sizes, so there is no padding.
unsafe impl Wire for events::Header {}
// SAFETY: as above.
unsafe impl Wire for events::Block {}
// SAFETY: as above.
unsafe impl Wire for events::Call {}
// SAFETY: as above.
unsafe impl Wire for events::Free {}
// SAFETY: as above.
unsafe impl Wire for events::Range {}
// SAFETY: as above.
unsafe impl Wire for events::FrameStack {}

fn read<T: Wire>(record: &[u8], kind: u16) -> Result<T, DecodeError> {
    if record.len() < size_of::<T>() {
        return Err(DecodeError::Short { kind, length: record.len() });
    }
    // SAFETY: the record is long enough, and `Wire` promises that any bytes are a valid T.
    Ok(unsafe { record.as_ptr().cast::<T>().read_unaligned() })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bytes<T: Wire>(value: &T) -> Vec<u8> {
        // SAFETY: `Wire` promises that there is no padding.
        unsafe {
            std::slice::from_raw_parts(std::ptr::from_ref(value).cast::<u8>(), size_of::<T>())
        }
        .to_vec()
    }

    fn header(kind: Kind, flags: u16, stack_len: u32) -> events::Header {
        events::Header { kind: kind as u16, flags, tgid: 7, tid: 8, stack_len, time: 9 }
    }

    fn wire_block(
        kind: Kind,
        flags: u16,
        address: u64,
        size: u64,
        stack: &[u8],
        stack_id: u64,
    ) -> Vec<u8> {
        let header = header(kind, flags, stack.len() as u32);
        let block = events::Block {
            header,
            address,
            size,
            stack_id,
            ip: 0x10,
            sp: 0x20,
            bp: 0x30,
            interval: 0,
        };
        let mut record = bytes(&block);
        if !stack.is_empty() {
            let call = events::Call { slot: 0x28, return_address: 0x99, function: 0x88, bp: 0x77 };
            record.extend_from_slice(&bytes(&call));
        }
        record.extend_from_slice(stack);
        record.extend_from_slice(&[0xee; 40]); // the rest of the size class means nothing
        record
    }

    fn check(record: &[u8], expected: &Event<'_>) {
        let (origin, event) = decode(record).expect("decodes");
        assert_eq!(origin, Origin { pid: Pid(7), tid: Tid(8), time: KernelTime(9) });
        assert_eq!(event, *expected);
    }

    fn plain(address: u64, size: u64, stack: RawStack<'_>) -> Block<'_> {
        Block { address: Address(address), size, interval: 0, stack }
    }

    #[test]
    fn blocks() {
        let known = || RawStack::Known(StackKey(5));
        let copied = RawStack::Copied(CopiedStack {
            ip: Address(0x10),
            sp: Address(0x20),
            bp: Address(0x30),
            bytes: b"stack",
            cut: false,
            call: Some(Call {
                slot: Address(0x28),
                return_address: Address(0x99),
                function: Address(0x88),
                bp: Address(0x77),
            }),
        });
        check(&wire_block(Kind::Alloc, 0, 64, 10, b"", 5), &Event::Alloc(plain(64, 10, known())));
        check(
            &wire_block(Kind::Alloc, 0, 64, 10, b"stack", 0),
            &Event::Alloc(plain(64, 10, copied)),
        );
        check(
            &wire_block(Kind::Alloc, flags::STACK_MISSING, 64, 10, b"", 5),
            &Event::Alloc(plain(64, 10, RawStack::Missing)),
        );
        for (flags, backing) in [
            (0, Backing::Anonymous),
            (flags::FILE_MAPPING, Backing::File),
            (flags::RESERVATION, Backing::Nothing),
        ] {
            check(
                &wire_block(Kind::Map, flags, 64, 10, b"", 5),
                &Event::Map(plain(64, 10, known()), backing),
            );
        }
        for (flags, touch) in [(0, Touch::First), (flags::COPIED, Touch::Copied)] {
            check(
                &wire_block(Kind::Fault, flags, 4096, 4096, b"", 5),
                &Event::Fault(plain(4096, 4096, known()), touch),
            );
        }
    }

    #[test]
    fn resizes_end_in_three_ways() {
        let end = |flags, address, size| wire_block(Kind::ResizeEnd, flags, address, size, b"", 5);
        let moved = plain(64, 10, RawStack::Known(StackKey(5)));
        check(&end(flags::NEW_TRACKED, 64, 10), &Event::ResizeEnd(ResizeEnd::Moved(moved)));
        check(&end(0, 64, 10), &Event::ResizeEnd(ResizeEnd::Gone));
        check(&end(0, 0, 10), &Event::ResizeEnd(ResizeEnd::Failed));
        check(&end(0, 0, 0), &Event::ResizeEnd(ResizeEnd::Gone));
    }

    #[test]
    fn the_rest() {
        let free = |kind| bytes(&events::Free { header: header(kind, 0, 0), address: 64 });
        check(&free(Kind::Free), &Event::Free(Address(64)));
        check(&free(Kind::ResizeBegin), &Event::ResizeBegin(Address(64)));
        let range = |kind, result| {
            bytes(&events::Range {
                header: header(kind, 0, 0),
                address: 4096,
                length: 8192,
                result,
            })
        };
        let span = Span { start: Address(4096), length: 8192 };
        check(&range(Kind::UnmapBegin, 0), &Event::UnmapBegin(span));
        check(&range(Kind::UnmapEnd, 0), &Event::UnmapEnd { done: true });
        check(&range(Kind::UnmapEnd, -22), &Event::UnmapEnd { done: false });
        check(&bytes(&header(Kind::Exec, 0, 0)), &Event::Exec);
        let mut stack = events::FrameStack {
            header: header(Kind::Stack, 0, 0),
            stack_id: 5,
            count: 2,
            frames: [0; memmgr_common::limits::MAX_FRAMES],
        };
        stack.frames[..3].copy_from_slice(&[0xa, 0xb, 0xc]);
        let frames = vec![Address(0xa), Address(0xb)];
        check(
            &bytes(&stack),
            &Event::Frames(FrameList { key: StackKey(5), frames: frames.clone(), cut: false }),
        );
        stack.header.flags = flags::STACK_CUT;
        check(&bytes(&stack), &Event::Frames(FrameList { key: StackKey(5), frames, cut: true }));
    }

    #[test]
    fn broken_records_are_told_apart() {
        assert_eq!(decode(&[1, 0]), Err(DecodeError::Short { kind: 0, length: 2 }));
        let mut unknown = header(Kind::Fork, 0, 0);
        unknown.kind = 99;
        assert_eq!(decode(&bytes(&unknown)), Err(DecodeError::Kind(99)));
        // In the call in flight, and in the stack.
        for length in [98, 114] {
            let mut short = wire_block(Kind::Alloc, 0, 1, 1, b"stack", 0);
            short.truncate(length);
            let kind = Kind::Alloc as u16;
            assert_eq!(decode(&short), Err(DecodeError::Short { kind, length }));
        }
    }

    proptest! {
        #[test]
        fn never_panics(record in proptest::collection::vec(any::<u8>(), 0..2000)) {
            let _ = decode(&record);
        }
    }
}
