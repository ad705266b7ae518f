//! The target's memory, read while it runs.

use std::{borrow::Cow, io};

use super::layout::Layout;
use crate::source::memory::{ProcessMemory, words};

/// Larger values than any of the runtime's are not read: what an address leads to is not to be trusted.
const VALUE_CAP: u64 = 1 << 20;

/// Reads a process's memory. Nothing is stopped, so that what is read can change between two reads.
pub(super) struct Memory {
    memory: ProcessMemory,
    /// What is added to the addresses of the file's symbols.
    bias: u64,
}

impl Memory {
    pub(super) fn new(memory: ProcessMemory, bias: u64) -> Self {
        Memory { memory, bias }
    }

    /// Where what the file has at this address is.
    pub(super) fn loaded(&self, address: u64) -> u64 {
        address.wrapping_add(self.bias)
    }

    /// Where the file has what is at this address.
    pub(super) fn file_address(&self, address: u64) -> u64 {
        address.wrapping_sub(self.bias)
    }

    pub(super) fn read(&self, address: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.memory.read(address, buffer)
    }

    pub(super) fn word(&self, address: u64) -> io::Result<u64> {
        self.memory.word(address)
    }

    /// The words of an array.
    pub(super) fn words(&self, address: u64, count: usize) -> io::Result<Vec<u64>> {
        self.memory.words(address, count)
    }

    /// A value of one of the runtime's types, as far as the fields that are known of it reach.
    pub(super) fn value<'a>(
        &self,
        layout: &'a Layout,
        structure: &'static str,
        address: u64,
    ) -> io::Result<Value<'a>> {
        let size = layout.size(structure);
        if size > VALUE_CAP {
            return Err(io::Error::other(format!("{structure} is larger than any real one")));
        }
        let mut bytes = vec![0; size as usize];
        self.read(address, &mut bytes)?;
        Ok(Value { layout, structure, bytes: bytes.into() })
    }
}

/// A value of one of the runtime's types, as it was when it was read.
pub(super) struct Value<'a> {
    layout: &'a Layout,
    structure: &'static str,
    bytes: Cow<'a, [u8]>,
}

impl<'a> Value<'a> {
    /// The same out of bytes that were read together with others.
    pub(super) fn of(layout: &'a Layout, structure: &'static str, bytes: &'a [u8]) -> Self {
        Value { layout, structure, bytes: bytes.into() }
    }

    /// An integer of up to 8 bytes; `None` where this version has no such field.
    pub(super) fn get(&self, path: &'static str) -> Option<u64> {
        let bytes = self.bytes(path, 0)?;
        let mut value = [0; 8];
        value.get_mut(..bytes.len())?.copy_from_slice(bytes);
        Some(u64::from_le_bytes(value))
    }

    /// The bytes of a field, `shift` bytes further on, as of a later element of an array.
    pub(super) fn bytes(&self, path: &'static str, shift: u64) -> Option<&[u8]> {
        let field = self.layout.field(self.structure, path)?;
        let start = usize::try_from(field.offset.checked_add(shift)?).ok()?;
        self.bytes.get(start..start.checked_add(usize::try_from(field.size).ok()?)?)
    }

    /// The words of a field, `shift` bytes further on.
    pub(super) fn words(&self, path: &'static str, shift: u64) -> Option<Vec<u64>> {
        self.bytes(path, shift).map(|bytes| words(bytes).collect())
    }
}
