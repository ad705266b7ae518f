//! Rust source with its comments and literals blanked, so that a rule about code sees only code.

/// The text with the inside of comments, strings and characters replaced by spaces. Lines and columns stay.
pub(super) fn only(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut code = bytes.to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let end = at + literal_or_comment(&bytes[at..], at > 0 && is_word(bytes[at - 1]));
        if end == at {
            at += 1;
            continue;
        }
        code[at..end].iter_mut().filter(|byte| **byte != b'\n').for_each(|byte| *byte = b' ');
        at = end;
    }
    // Whole characters were blanked or none of their bytes.
    String::from_utf8_lossy(&code).into_owned()
}

/// Length of the comment, string or character that the bytes begin with; 0 when they begin with none.
fn literal_or_comment(bytes: &[u8], inside_word: bool) -> usize {
    match bytes {
        [b'/', b'/', ..] => find(bytes, b"\n").unwrap_or(bytes.len()),
        [b'/', b'*', ..] => block_comment(bytes),
        [b'"', ..] => 1 + quoted(&bytes[1..], b'"'),
        [b'r', b'"' | b'#', ..] if !inside_word => raw_string(bytes, 1),
        [b'b' | b'c', b'r', b'"' | b'#', ..] if !inside_word => raw_string(bytes, 2),
        [b'\'', b'\\', ..] => 1 + quoted(&bytes[1..], b'\''),
        // A quote that closes after one character is a character, otherwise it begins a lifetime.
        [b'\'', first, rest @ ..] => {
            let width = rest.iter().take_while(|byte| **byte & 0xc0 == 0x80).count();
            if *first != b'\'' && rest.get(width) == Some(&b'\'') { 3 + width } else { 0 }
        }
        _ => 0,
    }
}

/// Length up to and with the closing quote, where a backslash hides the next byte.
fn quoted(bytes: &[u8], close: u8) -> usize {
    let mut at = 0;
    while at < bytes.len() && bytes[at] != close {
        at += if bytes[at] == b'\\' { 2 } else { 1 };
    }
    bytes.len().min(at + 1)
}

/// Length of a raw string whose hashes begin after the prefix; 0 when it is a raw identifier.
fn raw_string(bytes: &[u8], prefix: usize) -> usize {
    let hashes = bytes[prefix..].iter().take_while(|byte| **byte == b'#').count();
    let begin = prefix + hashes + 1;
    if bytes.get(begin - 1) != Some(&b'"') {
        return 0;
    }
    let close: Vec<u8> = std::iter::once(b'"').chain(std::iter::repeat_n(b'#', hashes)).collect();
    find(&bytes[begin..], &close).map_or(bytes.len(), |at| begin + at + close.len())
}

/// Length of a block comment; they nest.
fn block_comment(bytes: &[u8]) -> usize {
    let (mut at, mut depth) = (0, 0);
    while at < bytes.len() {
        let step = match &bytes[at..] {
            [b'/', b'*', ..] => 1,
            [b'*', b'/', ..] => -1,
            _ => {
                at += 1;
                continue;
            }
        };
        depth += step;
        at += 2;
        if depth == 0 {
            break;
        }
    }
    at
}

fn find(bytes: &[u8], needle: &[u8]) -> Option<usize> {
    bytes.windows(needle.len()).position(|window| window == needle)
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_code_is_left() {
        let check = |text: &str, expected: &str| {
            assert_eq!(
                only(text).split_whitespace().collect::<Vec<_>>().join(" "),
                expected,
                "{text:?}"
            );
            assert_eq!(only(text).len(), text.len());
        };
        check("let a = 1; // unsafe {", "let a = 1;");
        check("a /* b /* c */ d */ e", "a e");
        check(r#"f("x \" y", z)"#, "f( , z)");
        check("f(r#\"x \" y\"#, br\"\\\", z)", "f( , , z)");
        check("r#type + var\"s\"", "r#type + var");
        check(r"match c { '\'' => 1, '{' => 2, 'ß' => 3 }", "match c { => 1, => 2, => 3 }");
        check("fn f<'a>(x: &'a str) -> &'a str", "fn f<'a>(x: &'a str) -> &'a str");
        check("\"open", "");
    }

    #[test]
    fn lines_stay() {
        assert_eq!(only("\"a\nb\"\n// c\nd"), "  \n  \n    \nd");
    }
}
