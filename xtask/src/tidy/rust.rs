//! Rules for Rust source.

use super::{Finding, text::contains_word};

/// Macros of unfinished work.
const MACROS: [&str; 3] = ["todo!", "unimplemented!", "dbg!"];

/// What is wrong with a source file; `code` is the same text without comments and literals.
pub(super) fn check(text: &str, code: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    if !text.starts_with("//!") {
        findings.push(Finding::new(
            1,
            "the file does not begin with a `//!` line that says what it is about",
        ));
    }
    let lines: Vec<&str> = text.lines().collect();
    for (index, code) in code.lines().enumerate() {
        for name in MACROS.into_iter().filter(|name| contains_macro(code, name)) {
            findings.push(Finding::new(index + 1, format!("{name} is unfinished work")));
        }
        if opens_unsafe(code) && !is_justified(&lines[..=index]) {
            findings
                .push(Finding::new(index + 1, "unsafe without a `// SAFETY:` comment before it"));
        }
    }
    findings
}

fn contains_macro(code: &str, name: &str) -> bool {
    contains_word(&code.replace('!', "! "), name)
}

/// Whether an unsafe block or implementation begins on this line.
fn opens_unsafe(code: &str) -> bool {
    code.match_indices("unsafe").any(|(at, word)| {
        let after = code[at + word.len()..].trim_start();
        contains_word(&code[at.saturating_sub(1)..at + word.len()], word)
            && (after.starts_with('{') || after.starts_with("impl "))
    })
}

/// Whether a SAFETY comment stands on the last line or before the statement that the last line belongs to.
fn is_justified(lines: &[&str]) -> bool {
    let Some((last, before)) = lines.split_last() else { return false };
    if last.contains("// SAFETY:") {
        return true;
    }
    let mut in_comment = false;
    for line in before.iter().rev().map(|line| line.trim()) {
        if line.starts_with("//") {
            if line.contains("SAFETY:") {
                return true;
            }
            in_comment = true;
        } else if in_comment || line.is_empty() || line.ends_with([';', '{', '}']) {
            return false;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use crate::tidy::code;

    fn check(text: &str, expected: &[usize]) {
        let found: Vec<usize> =
            super::check(text, &code::only(text)).iter().map(|finding| finding.line).collect();
        assert_eq!(found, expected, "{text:?}");
    }

    #[test]
    fn the_first_line_says_what_the_file_is_about() {
        check("//! A file.\n", &[]);
        check("use a::b;\n", &[1]);
        check("", &[1]);
    }

    #[test]
    fn unfinished_work() {
        check("//! A.\nfn f() { todo!() }\n", &[2]);
        check("//! A.\nfn f() { dbg!(x); }\n", &[2]);
        check("//! A.\nfn f() { my_dbg!(x); g(\"todo!\") } // unimplemented!\n", &[]);
    }

    #[test]
    fn unsafe_is_justified() {
        check("//! A.\nlet a = unsafe { b() };\n", &[2]);
        check("//! A.\n// SAFETY: b is pure.\nlet a = unsafe { b() };\n", &[]);
        check("//! A.\n// SAFETY: b is pure.\nlet a =\n    unsafe { b() };\n", &[]);
        check("//! A.\n// SAFETY: b is pure.\nc();\nlet a = unsafe { b() };\n", &[4]);
        check("//! A.\n// SAFETY: b is pure,\n// and so is c.\nunsafe impl Send for A {}\n", &[]);
        check("//! A.\nunsafe impl Send for A {}\n", &[2]);
        check("//! A.\n#[unsafe(no_mangle)]\nunsafe fn f() {}\n// unsafe { x }\n", &[]);
    }
}
