//! The memory of a process, read through procfs while it runs: nothing is stopped, so that what is read can change between two
//! reads.

use std::{fs::File, io, os::unix::fs::FileExt};

/// `/proc/PID/mem`, open.
#[derive(Debug)]
pub struct ProcessMemory(File);

impl ProcessMemory {
    /// Of an open `/proc/PID/mem`.
    pub fn new(file: File) -> Self {
        ProcessMemory(file)
    }

    /// Fills the buffer.
    ///
    /// # Errors
    /// Where nothing is mapped, and when the process has ended.
    pub fn read(&self, address: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.0.read_exact_at(buffer, address)
    }

    /// Reads 8 bytes.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn word(&self, address: u64) -> io::Result<u64> {
        let mut bytes = [0; 8];
        self.read(address, &mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }

    /// Reads so many words.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn words(&self, address: u64, count: usize) -> io::Result<Vec<u64>> {
        let mut bytes = vec![0; count * 8];
        self.read(address, &mut bytes)?;
        Ok(words(&bytes).collect())
    }
}

/// Little-endian words.
pub fn words(bytes: &[u8]) -> impl Iterator<Item = u64> {
    bytes.as_chunks::<8>().0.iter().map(|bytes| u64::from_le_bytes(*bytes))
}
