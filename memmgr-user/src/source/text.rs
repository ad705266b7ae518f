//! The small text forms that several kernel files share, read from bytes.
//!
//! Names inside these files need not be UTF-8: the kernel cuts a process's name at 15 bytes, which can be
//! in the middle of a character. The parsers of the procfs crate read lines as `String` and give up on
//! the whole file then, so they serve only for files that hold nothing but the kernel's own words.

/// The `Key: value` lines of `/proc/PID/status`, `smaps` and `smaps_rollup`; other lines are passed over.
pub(super) fn fields(text: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    text.split(|&byte| byte == b'\n').filter_map(field)
}

/// One `Key: value` line, the value without the white space around it.
pub(super) fn field(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let colon = line.iter().position(|&byte| byte == b':')?;
    Some((&line[..colon], line[colon + 1..].trim_ascii()))
}

/// A decimal number.
pub(super) fn decimal(text: &[u8]) -> Option<u64> {
    std::str::from_utf8(text.trim_ascii()).ok()?.parse().ok()
}

/// A number in hex, without or with `0x`.
pub(super) fn hex(text: &[u8]) -> Option<u64> {
    let digits = std::str::from_utf8(text).ok()?;
    u64::from_str_radix(digits.strip_prefix("0x").unwrap_or(digits), 16).ok()
}

/// `1234 kB` in bytes; the kernel's kB is 1024 bytes.
pub(super) fn kilobytes(value: &[u8]) -> Option<u64> {
    decimal(value.strip_suffix(b"kB")?)?.checked_mul(1024)
}

/// Undoes the kernel's octal escapes (`\040` for a space) of the given bytes. A backslash that starts no
/// such escape stays.
pub(super) fn unescape(text: &[u8], escaped: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&first, after)) = rest.split_first() {
        let byte = match after.first_chunk::<3>() {
            Some(digits) if first == b'\\' => octal(*digits).filter(|byte| escaped.contains(byte)),
            _ => None,
        };
        plain.push(byte.unwrap_or(first));
        rest = if byte.is_some() { &after[3..] } else { after };
    }
    plain
}

fn octal(digits: [u8; 3]) -> Option<u8> {
    let value = digits.iter().try_fold(0_u32, |value, digit| {
        matches!(digit, b'0'..=b'7').then(|| value * 8 + u32::from(digit - b'0'))
    })?;
    u8::try_from(value).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_keep_what_is_not_utf8() {
        let text = b"Name:\t\xe6\x97\nno field\nVmRSS:\t  12 kB\n";
        let read: Vec<_> = fields(text).collect();
        assert_eq!(read, [(&b"Name"[..], &b"\xe6\x97"[..]), (b"VmRSS", b"12 kB")]);
    }

    #[test]
    fn numbers() {
        for (text, bytes) in [
            ("12 kB", Some(12 << 10)),
            ("0 kB", Some(0)),
            ("12", None),
            ("18446744073709551615 kB", None),
        ] {
            assert_eq!(kilobytes(text.as_bytes()), bytes, "{text}");
        }
        assert_eq!((hex(b"0x7f"), hex(b"7f"), hex(b"0x")), (Some(0x7f), Some(0x7f), None));
    }

    #[test]
    fn escapes() {
        for (text, escaped, plain) in [
            (r"a\012b", "\n", "a\nb"),
            (r"a\040b", "\n", r"a\040b"),
            (r"a\040b\134", " \\", r"a b\"),
            (r"cut\01", "\n", r"cut\01"),
            (r"\999\777\0é", "\n", r"\999\777\0é"),
        ] {
            assert_eq!(unescape(text.as_bytes(), escaped.as_bytes()), plain.as_bytes(), "{text}");
        }
    }
}
