//! A case: a program of `workloads/leaks/` and what its first lines say about it.
//!
//! The lines are `KEY: VALUE` behind the comment mark of the language, up to the first line that is none:
//!
//! | key | value |
//! |---|---|
//! | `case` | `leak` or `quiet` |
//! | `function` | of a leak: the function that has to stand on top |
//! | `mode` | of the capture: `exact` or `sample` |
//! | `seconds` | of the capture: 1 to 60 |
//! | `load` | `heavy` when nothing else may run beside it; may be left out |
//! | `flags` | for the compiler and the linker; may be left out |
//! | `capture` | more flags for memmgr; may be left out |
//! | `what` | a sentence |

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail, ensure};

use crate::Program;

/// Longest capture of a case, in seconds.
const MOST_SECONDS: u32 = 60;

/// A program, what it does, and how it is captured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Case {
    /// The file without its ending.
    pub name: String,
    /// What memmgr has to say.
    pub expected: Expected,
    /// The mode of the capture.
    pub mode: Mode,
    /// The length of the capture.
    pub seconds: u32,
    /// Whether others may run beside it.
    pub load: Load,
    /// For the compiler and the linker, beside those of every workload.
    pub flags: Vec<String>,
    /// For memmgr, beside the mode and the duration.
    pub capture: Vec<String>,
    /// A sentence.
    pub what: String,
    /// What it is written in.
    pub language: Language,
}

/// What memmgr has to say about a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expected {
    /// That it leaks, with this function on top.
    Leak {
        /// Without arguments; of a class as `Class::function`.
        function: String,
    },
    /// Nothing that alarms.
    Quiet,
}

/// The mode of a capture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Every call.
    Exact,
    /// Samples at the default interval.
    Sample,
}

impl Mode {
    /// As memmgr's `--mode` takes it.
    pub fn flag(self) -> &'static str {
        match self {
            Mode::Exact => "exact",
            Mode::Sample => "sample",
        }
    }
}

/// How much of the machine a case takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Load {
    /// Next to nothing.
    Light,
    /// So much that a capture beside it would lose events.
    Heavy,
}

/// What a case is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Language {
    /// C, by `cc`.
    C,
    /// C++, by `c++`.
    Cpp,
    /// Python, run by Debian's `python3`.
    Python,
}

impl Language {
    fn of(path: &Path) -> Option<Self> {
        match path.extension()?.to_str()? {
            "c" => Some(Language::C),
            "cpp" => Some(Language::Cpp),
            "py" => Some(Language::Python),
            _ => None,
        }
    }

    fn comment(self) -> &'static str {
        match self {
            Language::C | Language::Cpp => "//",
            Language::Python => "#",
        }
    }

    fn ending(self) -> &'static str {
        match self {
            Language::C => "c",
            Language::Cpp => "cpp",
            Language::Python => "py",
        }
    }
}

impl Case {
    /// All cases: leaks first, then by name.
    pub fn all() -> Result<Vec<Self>> {
        let mut cases = Vec::new();
        for entry in fs::read_dir(directory()).context("the cases cannot be listed")? {
            let path = entry?.path();
            let Some(language) = Language::of(&path) else { continue };
            let stem =
                path.file_stem().and_then(|stem| stem.to_str()).context("a name in UTF-8")?;
            let text = fs::read_to_string(&path)?;
            let case = Self::parse(stem, language, &text);
            cases.push(case.with_context(|| path.display().to_string())?);
        }
        cases.sort_by(|a, b| a.order().cmp(&b.order()));
        let mut names = BTreeSet::new();
        for case in &cases {
            ensure!(names.insert(case.name.as_str()), "two cases have the name {}", case.name);
        }
        drop(names);
        Ok(cases)
    }

    /// What cases are sorted by: leaks first, then the name.
    pub fn order(&self) -> (bool, &str) {
        (self.expected == Expected::Quiet, &self.name)
    }

    /// Reads the lines on top of a file.
    fn parse(name: &str, language: Language, text: &str) -> Result<Self> {
        let mut fields = BTreeMap::new();
        for line in text.lines() {
            let field = line.strip_prefix(language.comment()).and_then(|line| line.split_once(':'));
            let Some((key, value)) = field else { break };
            let (key, value) = (key.trim(), value.trim());
            ensure!(!value.is_empty(), "`{key}` says nothing");
            ensure!(fields.insert(key, value).is_none(), "`{key}` stands there twice");
        }
        let mut optional = |key| fields.remove(key);
        let function = optional("function");
        let load = optional("load");
        let mut words =
            |key| optional(key).unwrap_or_default().split_whitespace().map(str::to_owned).collect();
        let (flags, capture) = (words("flags"), words("capture"));
        let mut required = |key| fields.remove(key).with_context(|| format!("no line `{key}: …`"));
        let expected = match (required("case")?, function) {
            ("leak", Some(function)) => Expected::Leak { function: function.to_owned() },
            ("quiet", None) => Expected::Quiet,
            ("leak", None) => bail!("a leak needs a line `function: …`"),
            ("quiet", Some(_)) => bail!("no function leaks in a quiet program"),
            (other, _) => bail!("a case is `leak` or `quiet`, not `{other}`"),
        };
        let mode = match required("mode")? {
            "exact" => Mode::Exact,
            "sample" => Mode::Sample,
            other => bail!("a mode is `exact` or `sample`, not `{other}`"),
        };
        let length = required("seconds")?;
        let seconds = length.parse().ok().filter(|seconds| (1..=MOST_SECONDS).contains(seconds));
        let seconds = seconds
            .with_context(|| format!("{length} seconds are not from 1 to {MOST_SECONDS}"))?;
        let load = match load {
            None => Load::Light,
            Some("heavy") => Load::Heavy,
            Some(other) => bail!("a load is `heavy` or not there, not `{other}`"),
        };
        let what = required("what")?.to_owned();
        if let Some(key) = fields.keys().next() {
            bail!("there is no key `{key}`");
        }
        let name = name.to_owned();
        Ok(Case { name, expected, mode, seconds, load, flags, capture, what, language })
    }

    /// Compiles it, unless that was done before, and gives the command that runs it.
    ///
    /// The environment is empty: it lies on the stack, so that its length would be in every copied stack.
    pub fn command(&self) -> Command {
        let mut command = match self.language {
            Language::C => Command::new(self.build(Program::c)),
            Language::Cpp => Command::new(self.build(Program::cpp)),
            Language::Python => {
                let mut command = Command::new("/usr/bin/python3");
                command.arg(self.source());
                command
            }
        };
        command.env_clear();
        command
    }

    fn build(&self, program: fn(&str) -> Program) -> PathBuf {
        // A function that ends with the call that allocates has to stay on the stack.
        let flags: Vec<&str> = ["-fno-optimize-sibling-calls"]
            .into_iter()
            .chain(self.flags.iter().map(String::as_str))
            .collect();
        program(&format!("leaks/{}", self.name)).flags(&flags).build()
    }

    fn source(&self) -> PathBuf {
        directory().join(&self.name).with_extension(self.language.ending())
    }
}

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("workloads/leaks")
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: &str = "case: leak|function: Shop::sell|mode: exact|seconds: 40|load: heavy\
                         |flags: -lm -O0|capture: --stack fp|what: it sells: and forgets";

    fn parse(header: &str, language: Language) -> Result<Case> {
        let mark = language.comment();
        let lines: String = header.split('|').map(|line| format!("{mark} {line}\n")).collect();
        Case::parse("shop", language, &format!("{lines}\n{mark} mode: of no header\nint x;\n"))
    }

    #[test]
    fn a_whole_header() {
        for language in [Language::C, Language::Cpp, Language::Python] {
            let expected = Case {
                name: "shop".to_owned(),
                expected: Expected::Leak { function: "Shop::sell".to_owned() },
                mode: Mode::Exact,
                seconds: 40,
                load: Load::Heavy,
                flags: vec!["-lm".to_owned(), "-O0".to_owned()],
                capture: vec!["--stack".to_owned(), "fp".to_owned()],
                what: "it sells: and forgets".to_owned(),
                language,
            };
            assert_eq!(parse(WHOLE, language).expect("a whole header"), expected);
        }
    }

    #[test]
    fn headers_that_say_too_little_or_too_much() {
        let check = |from: &str, to: &str, expected: &str| {
            let header = WHOLE.replace(from, to);
            assert_ne!(header, WHOLE, "{from} is not in the header");
            let error = parse(&header, Language::C).expect_err(&header);
            assert_eq!(error.to_string(), expected, "{header}");
        };
        check("case: leak|", "", "no line `case: …`");
        check("case: leak", "case: leaky", "a case is `leak` or `quiet`, not `leaky`");
        check("case: leak", "case: quiet", "no function leaks in a quiet program");
        check("function: Shop::sell|", "", "a leak needs a line `function: …`");
        check("function: Shop::sell", "function:", "`function` says nothing");
        check("mode: exact", "mode: growth", "a mode is `exact` or `sample`, not `growth`");
        check("seconds: 40", "seconds: 61", "61 seconds are not from 1 to 60");
        check("seconds: 40", "seconds: 0", "0 seconds are not from 1 to 60");
        check("seconds: 40", "seconds: 4s", "4s seconds are not from 1 to 60");
        check("load: heavy", "load: light", "a load is `heavy` or not there, not `light`");
        check("load: heavy", "mode: exact", "`mode` stands there twice");
        check("load: heavy", "weight: 3", "there is no key `weight`");
        check("|what: it sells: and forgets", "", "no line `what: …`");
    }

    /// The set is as large as it has to be, and every file of it can be read.
    #[test]
    fn the_set() {
        let cases = Case::all().expect("every case has a whole header");
        let quiet = cases.iter().filter(|case| case.expected == Expected::Quiet).count();
        assert!(quiet >= 20, "{quiet} quiet programs");
        assert!(cases.len() - quiet >= 20, "{} leaks", cases.len() - quiet);
    }

    /// A function that is looked for stands in the source; of an interpreter's own there is no source.
    #[test]
    fn the_functions_exist() {
        for case in Case::all().expect("cases") {
            let Expected::Leak { function } = &case.expected else { continue };
            if case.language == Language::Python {
                continue;
            }
            let source = fs::read_to_string(case.source()).expect("it was read before");
            let code: String = source.lines().filter(|line| !line.starts_with("//")).collect();
            assert!(code.contains(&format!("{function}(")), "{}: {function}", case.name);
        }
    }
}
