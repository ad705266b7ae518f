//! Names of which only a part is given.

use std::fmt;

/// A name in which `*` stands for anything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern(String);

impl Pattern {
    /// Takes the text; nothing if it is empty.
    pub fn new(text: &str) -> Option<Self> {
        (!text.is_empty()).then(|| Pattern(text.to_owned()))
    }

    /// Takes the name of processes, as the kernel keeps it.
    ///
    /// # Errors
    /// When it can be no process's name.
    pub fn of_process(text: &str) -> Result<Self, String> {
        let pattern = Self::new(text).ok_or("the name is empty, which names nobody")?;
        // TASK_COMM_LEN of include/linux/sched.h, less the 0 at the end.
        if pattern.shortest() > 15 {
            return Err(format!(
                "the kernel keeps 15 bytes of a process's name, {text:?} has more: cut it there, or write `*` for the rest"
            ));
        }
        Ok(pattern)
    }

    /// Bytes of the shortest name that matches.
    fn shortest(&self) -> usize {
        self.0.split('*').map(str::len).sum()
    }

    /// Whether the whole name matches.
    pub fn matches(&self, name: &str) -> bool {
        let mut parts = self.0.split('*');
        let first = parts.next().unwrap_or_default();
        let Some(mut left) = name.strip_prefix(first) else { return false };
        let Some(last) = parts.next_back() else { return left.is_empty() };
        for part in parts {
            let Some(at) = left.find(part) else { return false };
            left = &left[at + part.len()..];
        }
        left.ends_with(last)
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        for (pattern, name, expected) in [
            ("nginx", "nginx", true),
            ("nginx", "nginx2", false),
            ("nginx*", "nginx: worker", true),
            ("*", "", true),
            ("/a/*/c", "/a/b/c", true),
            ("/a/*/c", "/a/c", false),
            ("*b*d", "abcd", true),
            ("a*a", "a", false),
        ] {
            assert_eq!(
                Pattern::new(pattern).unwrap().matches(name),
                expected,
                "{pattern} on {name}"
            );
        }
    }

    #[test]
    fn the_shortest_name() {
        for (pattern, bytes) in [("nginx", 5), ("*", 0), ("*ab*é*", 4)] {
            assert_eq!(Pattern::new(pattern).unwrap().shortest(), bytes, "{pattern}");
        }
    }

    #[test]
    fn nothing_is_no_pattern() {
        assert_eq!(Pattern::new(""), None);
    }
}
