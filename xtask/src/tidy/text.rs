//! Rules for every text file.

use super::Finding;

/// Longest source file in lines: one subject a file fits.
const MAX_LINES: usize = 500;

/// Data tables that may be longer, each with its reason.
const LONG_FILES: [(&str, &str); 0] = [];

/// Kinds of file that people write by hand.
const SOURCES: [&str; 7] = ["rs", "c", "cc", "h", "go", "py", "sh"];

/// Words that mark unfinished work. Written in parts, because this file is checked too.
const UNFINISHED: [&str; 2] = [concat!("FIX", "ME"), concat!("XX", "X")];

/// Where people build: a path below these says something about one machine.
const BUILDERS: [&str; 3] = [concat!("/ro", "ot/"), concat!("/ho", "me/"), concat!("/wo", "rk/")];

/// What is wrong with the text of a file of this name.
pub(super) fn check(name: &str, text: &str) -> Vec<Finding> {
    let extension = name.rsplit_once('.').map_or("", |(_, extension)| extension);
    let mut findings = builder_paths(text.as_bytes());
    let lines = text.lines().count();
    if SOURCES.contains(&extension)
        && lines > MAX_LINES
        && !LONG_FILES.iter().any(|(file, _)| *file == name)
    {
        findings
            .push(Finding::new(0, format!("{lines} lines: split it by subject at {MAX_LINES}")));
    }
    for (number, line) in (1..).zip(text.lines()) {
        if matches!(extension, "rs" | "md") {
            if line.ends_with(char::is_whitespace) {
                findings.push(Finding::new(number, "white space at the end of the line"));
            }
            if line.contains('\t') {
                findings.push(Finding::new(number, "a tab"));
            }
        }
        for word in UNFINISHED.into_iter().filter(|word| contains_word(line, word)) {
            findings.push(Finding::new(number, format!("{word}: finish it or open an issue")));
        }
    }
    findings
}

/// Places of a path of a build machine. `PID/root/lib` below `/proc` is none: a path begins there.
pub(super) fn builder_paths(bytes: &[u8]) -> Vec<Finding> {
    let begins_path = |at: usize| {
        at == 0
            || matches!(
                bytes[at - 1],
                b'"' | b'\'' | b'`' | b'(' | b'[' | b'{' | b'=' | b':' | b',' | b'|' | 0..=b' '
            )
    };
    let mut findings = Vec::new();
    for builder in BUILDERS {
        for at in occurrences(bytes, builder.as_bytes()).filter(|at| begins_path(*at)) {
            let line = bytes[..at].split(|byte| *byte == b'\n').count();
            let path =
                bytes[at..].split(|byte| !byte.is_ascii_graphic()).next().unwrap_or_default();
            let path = String::from_utf8_lossy(path);
            findings.push(Finding::new(line, format!("{path} is a path of one machine")));
        }
    }
    findings
}

fn occurrences<'a>(bytes: &'a [u8], needle: &'a [u8]) -> impl Iterator<Item = usize> + 'a {
    bytes
        .windows(needle.len())
        .enumerate()
        .filter_map(move |(at, window)| (window == needle).then_some(at))
}

/// Whether the line contains the word with no letter, digit or underscore beside it.
pub(super) fn contains_word(line: &str, word: &str) -> bool {
    let part_of_word = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word).any(|(at, _)| {
        !line[..at].ends_with(part_of_word) && !line[at + word.len()..].starts_with(part_of_word)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(findings: &[Finding]) -> Vec<usize> {
        findings.iter().map(|finding| finding.line).collect()
    }

    #[test]
    fn text_rules() {
        let check = |name: &str, text: &str, expected: &[usize]| {
            assert_eq!(lines(&check(name, text)), expected, "{name}: {text:?}");
        };
        check("a.rs", "fine\n", &[]);
        check("a.rs", "fine\nspace \n", &[2]);
        check("a.md", "\tcode\n", &[1]);
        check("Makefile", "\tcode \n", &[]);
        check("a.py", concat!("one\n# XX", "X two\n"), &[2]);
        check("a.sh", "mktemp name.XXXXXX\n", &[]);
        check("a.rs", &"line\n".repeat(MAX_LINES), &[]);
        check("a.rs", &"line\n".repeat(MAX_LINES + 1), &[0]);
        check("a.txt", &"line\n".repeat(MAX_LINES + 1), &[]);
    }

    #[test]
    fn paths_of_a_builder() {
        let check = |text: &str, expected: &[usize]| {
            assert_eq!(lines(&builder_paths(text.as_bytes())), expected, "{text:?}");
        };
        check(concat!("see\n`/ho", "me/me/memmgr`"), &[2]);
        check(concat!("/ro", "ot/x"), &[1]);
        check(concat!("\0/wo", "rk/x\0"), &[1]);
        check("/proc/PID/root/usr, /proc/{pid}/root/usr and a/home/b", &[]);
    }
}
