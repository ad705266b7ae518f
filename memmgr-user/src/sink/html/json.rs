//! JSON that may stand inside of a script element.

use std::io::{self, Write};

use serde::Serialize;
use serde_json::ser::{Formatter, Serializer};

use crate::escape::is_hostile;

/// Compact JSON without a character that could end the element, begin a comment in it, or be invisible to
/// somebody who reads the file. Every reader takes the `\u` escapes for the text as it was.
pub(super) fn for_script(value: &impl Serialize) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    value.serialize(&mut Serializer::with_formatter(&mut bytes, ForScript))?;
    Ok(bytes)
}

struct ForScript;

impl Formatter for ForScript {
    fn write_string_fragment<W: ?Sized + Write>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        let mut plain = 0;
        for (at, c) in fragment.char_indices() {
            if matches!(c, '<' | '>' | '&') || is_hostile(c) {
                writer.write_all(&fragment.as_bytes()[plain..at])?;
                for unit in c.encode_utf16(&mut [0; 2]) {
                    write!(writer, "\\u{unit:04x}")?;
                }
                plain = at + c.len_utf8();
            }
        }
        writer.write_all(&fragment.as_bytes()[plain..])
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(text: &str, json: &str) {
        assert_eq!(String::from_utf8(for_script(&text).unwrap()).unwrap(), json);
        assert_eq!(serde_json::from_str::<String>(json).unwrap(), text);
    }

    #[test]
    fn nothing_ends_the_element() {
        check("</script><!--", r#""\u003c/script\u003e\u003c!--""#);
        check("a && b", r#""a \u0026\u0026 b""#);
        check("std::map<int>", r#""std::map\u003cint\u003e""#);
    }

    #[test]
    fn nothing_is_invisible() {
        check("\u{2028}\u{202e}\u{9b}\u{7f}", r#""\u2028\u202e\u009b\u007f""#);
        check("a\u{e0041}b", r#""a\udb40\udc41b""#);
        check("\"\\\n\x1b é日", r#""\"\\\n\u001b é日""#);
    }

    proptest! {
        #[test]
        fn every_text_reads_back(text in any::<String>()) {
            let json = String::from_utf8(for_script(&text).unwrap()).unwrap();
            prop_assert!(!json.contains(|c: char| is_hostile(c) || "<>&".contains(c)), "{}", json);
            prop_assert_eq!(serde_json::from_str::<String>(&json).unwrap(), text);
        }
    }
}
