//! The code of a process in memory, compared with the files that it is from.

use std::{
    fs::{self, File},
    os::unix::fs::FileExt,
};

/// Bytes in the executable mappings of files that are not as the file has them: breakpoints, while
/// probes are attached, and none otherwise.
pub fn changed_bytes(pid: u32) -> usize {
    let memory = File::open(format!("/proc/{pid}/mem")).expect("root may read memory");
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).expect("it runs");
    maps.lines()
        .filter_map(|line| {
            // start-end permissions offset device inode path
            let mut fields = line.split_ascii_whitespace();
            let (range, permissions) = (fields.next()?, fields.next()?);
            let offset = hex(fields.next()?);
            let path = fields.nth(2).filter(|path| path.starts_with('/'))?;
            let (start, end) = range.split_once('-')?;
            permissions.contains('x').then(|| (hex(start), hex(end), offset, path))
        })
        .map(|(start, end, offset, path)| {
            let length = usize::try_from(end - start).expect("a mapping");
            let (mut mapped, mut stored) = (vec![0; length], vec![0; length]);
            memory.read_exact_at(&mut mapped, start).expect("mapped memory is readable");
            let file = File::open(path).expect("nobody replaced it");
            // The last page may reach beyond the end of the file.
            let read = file.read_at(&mut stored, offset).expect("a readable file");
            let (mapped, stored) = (&mapped[..read], &stored[..read]);
            // Equal as a whole, as nearly always, is much faster to see.
            if mapped == stored {
                return 0;
            }
            mapped.iter().zip(stored).filter(|(a, b)| a != b).count()
        })
        .sum()
}

fn hex(text: &str) -> u64 {
    u64::from_str_radix(text, 16).expect("a hexadecimal number")
}
