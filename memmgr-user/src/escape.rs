//! Text from a target, made fit to be shown.
//!
//! A process chooses its own name, arguments, paths and symbols, and a report is read in a root shell.
//! [`Safe`] is the only kind of text that the sinks for people write: it can move no cursor, set no
//! title, fill no clipboard, reorder no line and hide no character.

use std::fmt::{self, Write as _};

/// Text in which every character is visible and stands where it was written.
///
/// What is not becomes `\u{1b}`, bytes that are no UTF-8 become `\x9b`. Escaping twice changes nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Safe(String);

impl Safe {
    /// Escapes text.
    pub fn text(text: &str) -> Self {
        let mut safe = String::with_capacity(text.len());
        push(&mut safe, text);
        Self(safe)
    }

    /// Escapes bytes that should be UTF-8 and may not be.
    pub fn bytes(bytes: &[u8]) -> Self {
        let mut safe = String::with_capacity(bytes.len());
        for chunk in bytes.utf8_chunks() {
            push(&mut safe, chunk.valid());
            for byte in chunk.invalid() {
                // Writing to a String cannot fail.
                let _ = write!(safe, "\\x{byte:02x}");
            }
        }
        Self(safe)
    }

    /// The escaped text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&str> for Safe {
    fn from(text: &str) -> Self {
        Self::text(text)
    }
}

impl From<String> for Safe {
    fn from(text: String) -> Self {
        if text.contains(is_hostile) { Self::text(&text) } else { Self(text) }
    }
}

impl fmt::Display for Safe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

fn push(safe: &mut String, text: &str) {
    for c in text.chars() {
        if is_hostile(c) {
            safe.extend(c.escape_unicode());
        } else {
            safe.push(c);
        }
    }
}

/// True for a character that a terminal obeys, that reorders its neighbours, that cannot be seen, or
/// that no XML document may hold.
///
/// Classes of the Unicode Character Database: `Cc`, `Cf`, line and paragraph separators, default
/// ignorable code points, noncharacters.
pub fn is_hostile(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{34f}' | '\u{600}'..='\u{605}' | '\u{61c}' | '\u{6dd}' | '\u{70f}'
            | '\u{890}'..='\u{891}' | '\u{8e2}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}'
            | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{fdd0}'..='\u{fdef}' | '\u{fe00}'..='\u{fe0f}'
            | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{110bd}' | '\u{110cd}'
            | '\u{13430}'..='\u{1343f}' | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0000}'..='\u{e0fff}')
        || u32::from(c) & 0xfffe == 0xfffe
}

/// What [`is_hostile`] says, as ranges that JavaScript reads between the brackets of a regular expression, so that there
/// is one list of these characters.
pub fn hostile_ranges() -> String {
    let mut ranges: Vec<(u32, u32)> = Vec::new();
    for c in (char::MIN..=char::MAX).filter(|c| is_hostile(*c)).map(u32::from) {
        match ranges.last_mut() {
            Some((_, last)) if *last + 1 == c => *last = c,
            _ => ranges.push((c, c)),
        }
    }
    ranges.iter().map(|(first, last)| format!("\\u{{{first:x}}}-\\u{{{last:x}}}")).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(hostile: &str, shown: &str) {
        assert_eq!(Safe::text(hostile).as_str(), shown);
        assert_eq!(Safe::from(hostile.to_owned()).as_str(), shown);
        assert_eq!(Safe::bytes(hostile.as_bytes()).as_str(), shown);
    }

    #[test]
    fn what_can_be_seen_stays() {
        check("redis-server *:6379", "redis-server *:6379");
        check("größe::número<日本語> ✓", "größe::número<日本語> ✓");
        check("std::vector<int, std::allocator<int> >", "std::vector<int, std::allocator<int> >");
        check("", "");
    }

    #[test]
    fn terminal_sequences_are_shown_and_not_obeyed() {
        check("\x1b[2J\x1b]0;owned\x07", "\\u{1b}[2J\\u{1b}]0;owned\\u{7}");
        check("a\r\nb\tc\u{8}\u{7f}", "a\\u{d}\\u{a}b\\u{9}c\\u{8}\\u{7f}");
        check("\u{9b}31m\u{9d}52;c;\u{9c}", "\\u{9b}31m\\u{9d}52;c;\\u{9c}");
    }

    #[test]
    fn reordering_and_invisible_characters_are_shown() {
        check("\u{202e}txt\u{2066}\u{61c}", "\\u{202e}txt\\u{2066}\\u{61c}");
        check("a\u{200b}b\u{200d}\u{feff}\u{ad}", "a\\u{200b}b\\u{200d}\\u{feff}\\u{ad}");
        check("x\u{2028}\u{2029}\u{e0041}\u{ffff}", "x\\u{2028}\\u{2029}\\u{e0041}\\u{ffff}");
    }

    #[test]
    fn each_of_the_256_bytes_is_printable() {
        for byte in 0..=u8::MAX {
            let expected = match byte {
                b' '..=b'~' => char::from(byte).to_string(),
                0..=0x7f => format!("\\u{{{byte:x}}}"),
                _ => format!("\\x{byte:02x}"),
            };
            assert_eq!(Safe::bytes(&[byte]).as_str(), expected);
        }
    }

    #[test]
    fn bytes_between_valid_text_keep_their_place() {
        assert_eq!(
            Safe::bytes(b"a\xc3\xa9\xff\x9bm\x1b\xe2\x80").as_str(),
            "aé\\xff\\x9bm\\u{1b}\\xe2\\x80"
        );
    }

    #[test]
    fn hostile_characters_are_ranges() {
        let ranges = hostile_ranges();
        assert!(
            ranges.starts_with("\\u{0}-\\u{1f}\\u{7f}-\\u{9f}\\u{ad}-\\u{ad}\\u{34f}-"),
            "{ranges}"
        );
        assert!(ranges.ends_with("\\u{10fffe}-\\u{10ffff}"), "{ranges}");
    }

    proptest! {
        #[test]
        fn nothing_hostile_gets_through(bytes in proptest::collection::vec(any::<u8>(), 0..64), text in ".*") {
            for safe in [Safe::bytes(&bytes), Safe::text(&text), Safe::from(text.clone())] {
                prop_assert!(!safe.as_str().contains(is_hostile));
                prop_assert_eq!(&Safe::text(safe.as_str()), &safe);
            }
        }

        #[test]
        fn harmless_text_is_unchanged(text in "[ -~äöü日本]*") {
            prop_assert_eq!(Safe::text(&text).to_string(), text);
        }
    }
}
