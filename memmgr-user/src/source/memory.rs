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

    /// Reads a text up to its zero byte, of at most so many bytes. It may be anything, and is not the kernel's.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn text(&self, address: u64, most: u64) -> io::Result<String> {
        // Never across the end of a piece that a mapping may end at.
        const PIECE: u64 = 64;
        let (mut text, mut at) = (Vec::new(), address);
        while (text.len() as u64) < most {
            let mut piece = [0; PIECE as usize];
            let piece = &mut piece[..(PIECE - at % PIECE) as usize];
            self.read(at, piece)?;
            let end = piece.iter().position(|&byte| byte == 0);
            text.extend_from_slice(&piece[..end.unwrap_or(piece.len())]);
            if end.is_some() {
                break;
            }
            at = at.checked_add(piece.len() as u64).ok_or(io::ErrorKind::InvalidData)?;
        }
        Ok(String::from_utf8_lossy(&text).into_owned())
    }
}

/// Little-endian words.
pub fn words(bytes: &[u8]) -> impl Iterator<Item = u64> {
    bytes.as_chunks::<8>().0.iter().map(|bytes| u64::from_le_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_ends_at_a_zero_byte_or_is_cut() {
        let own = ProcessMemory::new(File::open("/proc/self/mem").unwrap());
        let text = format!("{}\0behind", "narenas:1,".repeat(20));
        let read = |most| own.text(text.as_ptr() as u64, most).unwrap();
        assert_eq!(read(4096), "narenas:1,".repeat(20));
        assert!((64..128).contains(&read(64).len()));
        assert!(own.text(8, 64).is_err());
    }
}
