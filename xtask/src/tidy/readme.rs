//! The README against `--help`: what it tells people to type exists.

use super::Finding;
use crate::process;
use anyhow::Result;
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::Command,
};

/// Gives the help text of a verb.
type Ask = dyn Fn(&str) -> Result<String>;

/// The help texts of the binary, by verb; the empty verb is the binary itself.
pub(super) struct Help {
    ask: Box<Ask>,
    texts: BTreeMap<String, String>,
}

impl Help {
    /// Asks this binary.
    pub(super) fn of(binary: &Path) -> Self {
        let binary = binary.to_owned();
        Help::new(move |verb| {
            let ask =
                |words: &[&str]| process::output(Command::new(&binary).args(words).arg("--help"));
            if verb.is_empty() {
                return ask(&[]);
            }
            // With the flags of the verbs below it.
            let mut text = ask(&[verb])?;
            for below in verbs_of(&text) {
                text.push_str(&ask(&[verb, &below])?);
            }
            Ok(text)
        })
    }

    fn new(ask: impl Fn(&str) -> Result<String> + 'static) -> Self {
        Help { ask: Box::new(ask), texts: BTreeMap::new() }
    }

    fn text(&mut self, verb: &str) -> Result<&str> {
        if !self.texts.contains_key(verb) {
            self.texts.insert(verb.to_owned(), (self.ask)(verb)?);
        }
        Ok(&self.texts[verb])
    }

    /// The verbs below the heading `Commands:`.
    fn verbs(&mut self) -> Result<Vec<String>> {
        Ok(verbs_of(self.text("")?))
    }

    fn has_flag(&mut self, verb: &str, flag: &str) -> Result<bool> {
        let part_of_flag = |c: char| c.is_alphanumeric() || c == '-';
        let text = self.text(verb)?;
        Ok(text.match_indices(flag).any(|(at, _)| {
            !text[..at].ends_with(part_of_flag)
                && !text[at + flag.len()..].starts_with(part_of_flag)
        }))
    }
}

/// The verbs that a help text lists; `help` itself takes no flags.
fn verbs_of(text: &str) -> Vec<String> {
    let lines = text.lines().skip_while(|line| *line != "Commands:").skip(1);
    let commands = lines.take_while(|line| line.starts_with("  "));
    // A continued description is indented more than a verb.
    let verbs = commands
        .filter(|line| !line.starts_with("   "))
        .filter_map(|line| line.split_whitespace().next());
    verbs.filter(|verb| *verb != "help").map(str::to_owned).collect()
}

/// The release or debug binary, whichever was built last.
pub(super) fn newest_binary(target: &Path) -> Option<PathBuf> {
    let built = |path: &PathBuf| path.metadata().and_then(|metadata| metadata.modified()).ok();
    ["release/memmgr", "debug/memmgr"]
        .map(|name| target.join(name))
        .into_iter()
        .filter(|path| path.is_file())
        .max_by_key(built)
}

/// Verbs and flags in the README's code that the help does not know.
pub(super) fn check(readme: &str, help: &mut Help) -> Result<Vec<Finding>> {
    let verbs = help.verbs()?;
    let mut findings = Vec::new();
    for (line, code) in code(readme) {
        for command in code.split(['|', ';', '&']) {
            let mut words =
                command.split_whitespace().map(|word| word.trim_matches(['[', ']', ',']));
            let Some(first) = words.find(|word| !is_prefix(word)) else { continue };
            if first.starts_with("--") {
                let mut known = help.has_flag("", flag(first))?;
                for verb in &verbs {
                    known = known || help.has_flag(verb, flag(first))?;
                }
                if !known {
                    findings
                        .push(Finding::new(line, format!("no verb has the flag {}", flag(first))));
                }
            } else if first == "memmgr" || first.ends_with("/memmgr") {
                check_command(line, words, &verbs, help, &mut findings)?;
            }
        }
    }
    Ok(findings)
}

/// Checks the words after `memmgr`.
fn check_command<'a>(
    line: usize,
    words: impl Iterator<Item = &'a str>,
    verbs: &[String],
    help: &mut Help,
    findings: &mut Vec<Finding>,
) -> Result<()> {
    // After `--` come the words of another program, after `#` a comment.
    let mut words = words.take_while(|word| *word != "--" && !word.starts_with('#')).peekable();
    let verb = words
        .next_if(|word| word.starts_with(|c: char| c.is_ascii_lowercase()))
        .unwrap_or_default();
    if !verb.is_empty() && !verbs.iter().any(|known| known == verb) {
        findings.push(Finding::new(line, format!("there is no verb {verb}")));
        return Ok(());
    }
    for word in words.filter(|word| word.starts_with("--")) {
        if !help.has_flag(verb, flag(word))? {
            findings
                .push(Finding::new(line, format!("`memmgr {verb}` has no flag {}", flag(word))));
        }
    }
    Ok(())
}

/// `--flag` of `--flag=value`.
fn flag(word: &str) -> &str {
    word.find(|c: char| !c.is_alphanumeric() && c != '-').map_or(word, |end| &word[..end])
}

/// Words before a program's name: the prompt, sudo and variables.
fn is_prefix(word: &str) -> bool {
    matches!(word, "$" | "#" | "sudo") || (word.contains('=') && !word.starts_with('-'))
}

/// Code lines of fenced blocks, continued lines joined, and the code spans of the text, with their line numbers.
fn code(readme: &str) -> Vec<(usize, String)> {
    let mut code: Vec<(usize, String)> = Vec::new();
    let (mut fenced, mut continues) = (false, false);
    for (number, line) in (1..).zip(readme.lines()) {
        if line.trim_start().starts_with("```") {
            (fenced, continues) = (!fenced, false);
        } else if fenced {
            let part = line.trim_end().strip_suffix('\\');
            match code.last_mut() {
                Some((_, last)) if continues => *last += part.unwrap_or(line),
                _ => code.push((number, part.unwrap_or(line).to_owned())),
            }
            continues = part.is_some();
        } else {
            code.extend(
                line.split('`').skip(1).step_by(2).map(|span| (number, span.replace('\\', ""))),
            );
        }
    }
    code
}

#[cfg(test)]
mod tests {
    use super::*;

    fn help() -> Help {
        Help::new(|verb| {
            Ok(match verb {
                "" => "Usage: memmgr <COMMAND>\n\nCommands:\n  record  Capture\n            more --fake\n  top     Look\n\nOptions:\n  -V, --version\n",
                "record" => "Options:\n      --mode <MODE>\n      --stack-bytes <BYTES>\n",
                _ => "Options:\n      --once\n",
            }
            .to_owned())
        })
    }

    #[test]
    fn what_the_readme_names_exists() {
        let check = |readme: &str, expected: &[&str]| {
            let found: Vec<String> = check(readme, &mut help())
                .unwrap()
                .into_iter()
                .map(|finding| finding.what)
                .collect();
            assert_eq!(found, expected, "{readme:?}");
        };
        check("```sh\n$ sudo memmgr record -p 1 --mode=exact | less --raw\n```\n", &[]);
        check(
            "```\nmemmgr record \\\n  --once -- cmd --any\n```\n",
            &["`memmgr record` has no flag --once"],
        );
        check("```\nA=b ./memmgr grow # --x\n```\n", &["there is no verb grow"]);
        check("Type `memmgr top --once` or `memmgr VERB --version`, `--stack-bytes`.", &[]);
        check(
            "Not `--stack`, nor `memmgr top --mode`.",
            &["no verb has the flag --stack", "`memmgr top` has no flag --mode"],
        );
        check("`cargo xtask test --no-install`, memmgr loses nothing", &[]);
    }
}
