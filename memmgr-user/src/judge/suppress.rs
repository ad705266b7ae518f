//! Suppression files in the syntax of LeakSanitizer: `leak:pattern`, one a line.

use crate::report::Stack;

/// A suppression file that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line} of the suppressions: {problem}")]
pub struct SuppressionError {
    /// Counted from 1.
    pub line: usize,
    /// What is wrong and what to write instead.
    pub problem: String,
}

/// Patterns of stacks that nobody wants to be told about.
///
/// A line is empty, a comment that begins with `#`, or `leak:` and a pattern. A pattern matches anywhere in the
/// name of a function, a source file or a module of any frame; `*` in it stands for any text, `^` at its begin and `$` at its
/// end tie it to the begin and the end of the name. Other kinds than `leak` are an error, as in LeakSanitizer:
/// a file meant for another sanitizer would else silence nothing and say nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Suppressions {
    patterns: Vec<Pattern>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Pattern {
    /// As it was written.
    text: String,
    from_begin: bool,
    to_end: bool,
    /// What must follow one another, with any text in between.
    parts: Vec<String>,
}

impl Suppressions {
    /// Reads a file's text.
    pub fn parse(text: &str) -> Result<Self, SuppressionError> {
        let lines = text.lines().enumerate().map(|(at, line)| (at + 1, line.trim()));
        let patterns = lines
            .filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
            .map(|(number, line)| {
                pattern(line).map_err(|problem| SuppressionError { line: number, problem })
            })
            .collect::<Result<_, _>>()?;
        Ok(Suppressions { patterns })
    }

    /// The first pattern that matches a frame of the stack.
    pub fn matches(&self, stack: &Stack) -> Option<&str> {
        let matching = self.patterns.iter().find(|pattern| {
            stack.frames.iter().any(|frame| {
                let names = [&frame.function, &frame.file, &frame.module];
                names.into_iter().flatten().any(|name| pattern.matches(name))
            })
        });
        matching.map(|pattern| pattern.text.as_str())
    }

    /// Every pattern, in the order of the file.
    pub fn patterns(&self) -> impl Iterator<Item = &str> {
        self.patterns.iter().map(|pattern| pattern.text.as_str())
    }
}

fn pattern(line: &str) -> Result<Pattern, String> {
    let Some((kind, text)) = line.split_once(':') else {
        return Err(format!("{line:?} has no kind; write leak:{line}"));
    };
    if kind != "leak" {
        return Err(format!("{kind:?} is no kind that memmgr knows; it takes leak:PATTERN only"));
    }
    let bare = text.strip_prefix('^').unwrap_or(text);
    let bare = bare.strip_suffix('$').unwrap_or(bare);
    if bare.is_empty() {
        return Err("the pattern is empty; leak:* matches everything".to_owned());
    }
    Ok(Pattern {
        text: text.to_owned(),
        from_begin: text.starts_with('^'),
        to_end: text.ends_with('$'),
        parts: bare.split('*').map(str::to_owned).collect(),
    })
}

impl Pattern {
    fn matches(&self, name: &str) -> bool {
        let Some((first, rest)) = self.parts.split_first() else { return false };
        let mut left = name;
        if self.from_begin {
            let Some(behind) = left.strip_prefix(first.as_str()) else { return false };
            left = behind;
        }
        let middle: &[String] = if self.from_begin { rest } else { &self.parts };
        let (last, middle) = match middle.split_last() {
            Some((last, middle)) if self.to_end => (Some(last), middle),
            _ => (None, middle),
        };
        for part in middle {
            let Some(at) = left.find(part.as_str()) else { return false };
            left = &left[at + part.len()..];
        }
        match last {
            Some(last) => left.ends_with(last.as_str()),
            // `^name$`: nothing may be left.
            None => !self.to_end || left.is_empty(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Frame;

    #[test]
    fn patterns() {
        for (pattern, name, expected) in [
            ("foo", "a_foo_b", true),
            ("foo", "fo", false),
            ("^foo", "foo_b", true),
            ("^foo", "a_foo", false),
            ("foo$", "a_foo", true),
            ("foo$", "foo_foo", true),
            ("foo$", "foo_b", false),
            ("^foo$", "foo", true),
            ("^foo$", "foofoo", false),
            ("a*c", "xabcx", true),
            ("a*c", "xcax", false),
            ("^a*c$", "abc", true),
            ("^a*c$", "abcd", false),
            ("^a*", "ba", false),
            ("*a$", "ab", false),
            ("^a*b*c$", "a-b-b-c", true),
            ("^ab*bc$", "abc", false),
            ("*", "anything", true),
            ("libfoo.so", "/usr/lib/libfoo.so.1", true),
            ("std::*<int>::push", "void std::vector<int>::push(int)", true),
            ("a^b", "a^b", true),
            ("ü*é", "üxé", true),
        ] {
            let parsed = Suppressions::parse(&format!("leak:{pattern}")).unwrap();
            let frame = Frame { function: Some(name.to_owned()), ..Frame::default() };
            let stack =
                Stack { frames: vec![Frame::default().into(), frame.into()], ..Stack::default() };
            assert_eq!(parsed.matches(&stack).is_some(), expected, "{pattern} on {name}");
        }
    }

    #[test]
    fn functions_files_and_modules_match_and_the_first_pattern_is_named() {
        let text = "# known\n\n  leak:nothing\r\nleak:*/cache.c$\n\tleak:^/opt/\nleak:evict\n";
        let parsed = Suppressions::parse(text).unwrap();
        let some = |text: &str| Some(text.to_owned());
        for (frame, expected) in [
            (Frame { file: some("/src/cache.c"), ..Frame::default() }, some("*/cache.c$")),
            (Frame { module: some("/opt/lib.so"), ..Frame::default() }, some("^/opt/")),
            (Frame { function: some("evict_one"), ..Frame::default() }, some("evict")),
            (Frame { function: some("main"), ..Frame::default() }, None),
        ] {
            let stack = Stack { frames: vec![frame.into()], ..Stack::default() };
            assert_eq!(parsed.matches(&stack), expected.as_deref());
        }
        assert_eq!(parsed.patterns().count(), 4);
    }

    #[test]
    fn errors_name_the_line() {
        for (text, expected) in [
            (
                "leak:a\nrace:b",
                "line 2 of the suppressions: \"race\" is no kind that memmgr knows; it takes leak:PATTERN only",
            ),
            (
                "# x\n\nmalloc",
                "line 3 of the suppressions: \"malloc\" has no kind; write leak:malloc",
            ),
            (
                "leak:",
                "line 1 of the suppressions: the pattern is empty; leak:* matches everything",
            ),
            (
                "leak:^$",
                "line 1 of the suppressions: the pattern is empty; leak:* matches everything",
            ),
        ] {
            assert_eq!(Suppressions::parse(text).unwrap_err().to_string(), expected);
        }
    }
}
