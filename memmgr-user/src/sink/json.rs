//! JSON, whole and for machines: as it is made it goes out, because that of a large report is hundreds of megabytes.

use std::io::{self, Write};

use serde::Serialize;
use serde_json::ser::{CompactFormatter, Formatter, PrettyFormatter, Serializer};

use crate::escape::is_hostile;

/// Indented JSON that reads back as the same value, with a newline at the end.
///
/// JSON lets control characters above U+007F, bidirectional controls and invisible characters stand
/// in a string as they are, and a terminal would obey them. They are written as `\u` escapes, which
/// every reader takes for the same text.
pub(super) fn write(value: &impl Serialize, out: &mut dyn Write) -> anyhow::Result<()> {
    write_as(value, PrettyFormatter::new(), out)
}

/// The same in memory.
pub(super) fn render(value: &impl Serialize) -> anyhow::Result<Vec<u8>> {
    let mut json = Vec::new();
    write(value, &mut json)?;
    Ok(json)
}

/// The same in memory, and on one line.
pub(super) fn render_compact(value: &impl Serialize) -> anyhow::Result<Vec<u8>> {
    let mut json = Vec::new();
    write_as(value, CompactFormatter, &mut json)?;
    Ok(json)
}

fn write_as(
    value: &impl Serialize,
    formatter: impl Formatter,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    let mut safe = Safe { block: Vec::with_capacity(BLOCK), out };
    value.serialize(&mut Serializer::with_formatter(&mut safe, formatter))?;
    safe.block.push(b'\n');
    Ok(safe.flush()?)
}

/// Escapes hostile characters. Outside of strings JSON has none but the newline of the layout, and every write
/// of the serializer is whole characters: it cuts strings only where it escapes by itself.
struct Safe<'a> {
    block: Vec<u8>,
    out: &'a mut dyn Write,
}

/// Bytes that are looked at and written at a time; the serializer writes single words.
const BLOCK: usize = 64 << 10;

impl Safe<'_> {
    fn pass_on(&mut self) -> io::Result<()> {
        // Most blocks are ASCII, which is worth a look before all the others. No early exit: this compiles to vectors.
        let plain = |byte: &u8| matches!(byte, b' '..=b'~' | b'\n');
        if self.block.iter().fold(true, |all, byte| all & plain(byte)) {
            self.out.write_all(&self.block)?;
            self.block.clear();
            return Ok(());
        }
        let mut rest = std::str::from_utf8(&self.block).map_err(io::Error::other)?;
        while let Some(at) = rest.find(|c: char| c != '\n' && is_hostile(c)) {
            self.out.write_all(&rest.as_bytes()[..at])?;
            let mut chars = rest[at..].chars();
            if let Some(c) = chars.next() {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    write!(self.out, "\\u{unit:04x}")?;
                }
            }
            rest = chars.as_str();
        }
        self.out.write_all(rest.as_bytes())?;
        self.block.clear();
        Ok(())
    }
}

impl Write for Safe<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.block.len() + bytes.len() > BLOCK {
            self.pass_on()?;
        }
        self.block.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.pass_on()?;
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Report;
    use crate::sink::fixture;

    #[track_caller]
    fn check(report: &Report) {
        let json = String::from_utf8(render(report).unwrap()).unwrap();
        assert!(!json.contains(|c: char| is_hostile(c) && c != '\n'), "{json}");
        assert!(json.ends_with("}\n"));
        assert_eq!(&serde_json::from_str::<Report>(&json).unwrap(), report);
    }

    #[test]
    fn a_report_reads_back_equal() {
        check(&fixture::redis());
        check(&fixture::hostile());
        check(&Report::default());
    }

    #[test]
    fn the_report_as_a_file() {
        let json = String::from_utf8(render(&fixture::redis()).unwrap()).unwrap();
        insta::assert_snapshot!("redis.json", json);
    }

    #[test]
    fn characters_beyond_sixteen_bits_are_a_pair() {
        let mut report = Report::default();
        report.target.comm = "a\u{e0041}\u{9b}\"\\\n".to_owned();
        let json = String::from_utf8(render(&report).unwrap()).unwrap();
        assert!(json.contains(r#""comm": "a\udb40\udc41\u009b\"\\\n""#), "{json}");
        check(&report);
    }
}
