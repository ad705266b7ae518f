//! Sentences → rules.

use std::{str::FromStr, time::Duration};

use super::{
    config::Severity,
    rule::{Condition, Event, Figure, Rule, Side, Subject, Threshold},
};
use crate::{pattern::Pattern, units::Pid};

/// Distance of two captures that look for findings.
const USUALLY_EACH: Duration = Duration::from_mins(30);

/// Words of a rule, taken one after the other.
struct Words<'a>(std::str::SplitWhitespace<'a>);

impl<'a> Words<'a> {
    fn take(&mut self, what: &str) -> Result<&'a str, String> {
        self.0.next().ok_or_else(|| format!("{what} is missing at the end"))
    }

    fn expect(&mut self, word: &str) -> Result<(), String> {
        match self.take(word)? {
            found if found == word => Ok(()),
            found => Err(format!("{found:?} stands where {word:?} has to be")),
        }
    }
}

impl FromStr for Rule {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut words = Words(text.split_whitespace());
        let subject =
            subject(words.take("what is watched (host, cgroup:PATH, process:NAME, pid:N)")?)?;
        let condition = condition(&subject, &mut words)?;
        let mut rule = Rule { subject, condition, lasting: Duration::ZERO };
        while let Some(word) = words.0.next() {
            match (word, &mut rule.condition) {
                (
                    "for",
                    Condition::OomKill
                    | Condition::Pressure { .. }
                    | Condition::Event(_)
                    | Condition::Finding { .. },
                ) => {
                    return Err("this happens at a moment: it cannot last (`for`)".to_owned());
                }
                ("each", Condition::Finding { each, .. }) => *each = time(words.take("a time")?)?,
                ("for", _) => rule.lasting = time(words.take("a time")?)?,
                ("clear", Condition::Level { side, threshold, clear, .. }) => {
                    let text = words.take("a threshold")?;
                    *clear = level(text)?;
                    if std::mem::discriminant(clear) != std::mem::discriminant(threshold)
                        || clear.is_beyond(*threshold, *side)
                    {
                        return Err(format!(
                            "`clear {text}` has to be on the calm side of the threshold, and like it bytes or percent"
                        ));
                    }
                }
                ("clear", Condition::Growth { threshold, clear }) => {
                    let text = words.take("a rate")?;
                    *clear = rate(text)?;
                    if *clear > *threshold {
                        return Err(format!(
                            "`clear {text}` has to be on the calm side of the threshold"
                        ));
                    }
                }
                ("each", _) => {
                    return Err("only findings are looked for again and again (`each`)".to_owned());
                }
                ("clear", _) => return Err("this has no level to be cleared at".to_owned()),
                _ => {
                    return Err(format!(
                        "{word:?} is not understood; `for TIME`, `clear VALUE` and `each TIME` can stand there"
                    ));
                }
            }
        }
        Ok(rule)
    }
}

fn subject(word: &str) -> Result<Subject, String> {
    let pattern = |text: &str| {
        Pattern::new(text).ok_or_else(|| format!("{word:?} names nobody; `*` stands for all"))
    };
    // No path of a group ends with a slash, but people type it.
    let group = |path: &str| match path.trim_end_matches('/') {
        "" => pattern("/"),
        path => pattern(path),
    };
    match word.split_once(':') {
        None if word == "host" => Ok(Subject::Host),
        Some(("cgroup", path)) if path.starts_with(['/', '*']) => Ok(Subject::Cgroup(group(path)?)),
        Some(("cgroup", path)) => {
            Err(format!("{path:?} is no path of a cgroup: they begin with /"))
        }
        Some(("process", text)) => {
            // A name may have an @, hardly one before a path.
            let (name, group) = match text.split_once("@/") {
                Some((name, path)) => (name, Some(group(&format!("/{path}"))?)),
                None => match text.rsplit_once('@') {
                    Some((_, path)) if path.contains('/') => {
                        return Err(format!("{path:?} is no path of a cgroup: they begin with /"));
                    }
                    _ => (text, None),
                },
            };
            Ok(Subject::Process { name: Pattern::of_process(name)?, group })
        }
        Some(("pid", number)) => match number.parse() {
            Ok(pid) if pid > 0 => Ok(Subject::Pid(Pid(pid))),
            _ => Err(format!("{number:?} is no process number")),
        },
        _ => Err(format!(
            "{word:?} cannot be watched; host, cgroup:PATH, process:NAME and pid:N can"
        )),
    }
}

fn condition(subject: &Subject, words: &mut Words) -> Result<Condition, String> {
    let word = words.take("what has to be so")?;
    let process = matches!(subject, Subject::Process { .. } | Subject::Pid(_));
    let figure = match (word, subject) {
        ("available", Subject::Host) => Some(Figure::Available),
        ("used", Subject::Host) => Some(Figure::Used),
        ("swap", Subject::Host) => Some(Figure::Swap),
        ("usage", Subject::Cgroup(_)) => Some(Figure::Usage),
        ("rss", _) if process => Some(Figure::Rss),
        _ => None,
    };
    if let Some(figure) = figure {
        let side = match words.take("`<` or `>`")? {
            ">" => Side::Above,
            "<" => Side::Below,
            other => return Err(format!("{other:?} stands where `<` or `>` has to be")),
        };
        let threshold = level(words.take("a threshold")?)?;
        let clear = threshold.eased(side);
        return Ok(Condition::Level { figure, side, threshold, clear });
    }
    match (word, subject) {
        ("grows", _) => {
            words.expect(">")?;
            let threshold = rate(words.take("a rate")?)?;
            Ok(Condition::Growth { threshold, clear: threshold / 2.0 })
        }
        ("full", Subject::Cgroup(_) | Subject::Host) => {
            words.expect("within")?;
            Ok(Condition::Full { within: time(words.take("a time")?)? })
        }
        ("pressure.some" | "pressure.full", Subject::Host | Subject::Cgroup(_)) => {
            words.expect(">")?;
            let text = words.take("a share of time")?;
            let Threshold::Percent(percent) = level(text)? else {
                return Err(format!("{text:?} is no share of time; write 10%"));
            };
            words.expect("in")?;
            let window = time(words.take("a window of time")?)?;
            if !(Duration::from_millis(500)..=Duration::from_secs(10)).contains(&window) {
                return Err("the kernel looks at windows of 500ms to 10s".to_owned());
            }
            Ok(Condition::Pressure { all: word == "pressure.full", percent, window })
        }
        ("oom_kill", Subject::Host | Subject::Cgroup(_)) => Ok(Condition::OomKill),
        ("finding", _) if process => {
            let text = words.take("`info`, `warning` or `critical`")?;
            let severity = Severity::named(text).ok_or_else(|| {
                format!("{text:?} is no severity; info, warning and critical are")
            })?;
            Ok(Condition::Finding { severity, each: USUALLY_EACH })
        }
        (name, Subject::Cgroup(_)) => {
            event(name).map(Condition::Event).ok_or_else(|| unknown(name, subject))
        }
        (name, _) => Err(unknown(name, subject)),
    }
}

fn event(name: &str) -> Option<Event> {
    Event::ALL.into_iter().find(|event| event.name() == name)
}

fn unknown(word: &str, subject: &Subject) -> String {
    format!("{word:?} is not known of {subject}; {} are", known(subject))
}

fn known(subject: &Subject) -> &'static str {
    match subject {
        Subject::Host => {
            "available, used, swap, grows, full, pressure.some, pressure.full and oom_kill"
        }
        Subject::Cgroup(_) => {
            "usage, grows, full, pressure.some, pressure.full, oom_kill, event.low, event.high, event.max and event.oom"
        }
        Subject::Process { .. } | Subject::Pid(_) => "rss, grows and finding",
    }
}

fn level(text: &str) -> Result<Threshold, String> {
    if let Some(number) = text.strip_suffix('%') {
        return match number.parse::<f64>() {
            Ok(percent) if (0.0..=100.0).contains(&percent) => Ok(Threshold::Percent(percent)),
            _ => Err(format!("{text:?} is no percent from 0% to 100%")),
        };
    }
    size(text).map(Threshold::Bytes)
}

fn rate(text: &str) -> Result<f64, String> {
    match text.strip_suffix("/s").map(size) {
        Some(Ok(bytes)) if bytes > 0 => Ok(bytes as f64),
        _ => Err(format!("{text:?} is no rate; write 1MiB/s")),
    }
}

fn size(text: &str) -> Result<u64, String> {
    // A number alone is a percent to one and MiB to another.
    let has_unit = text.ends_with(|last: char| !last.is_ascii_digit());
    match text.parse::<bytesize::ByteSize>() {
        Ok(size) if has_unit => Ok(size.as_u64()),
        _ => Err(format!("{text:?} is neither a size nor a percent; write 512MiB or 10%")),
    }
}

fn time(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text)
        .map_err(|_| format!("{text:?} is no time; write 30s, 5m or 500ms"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, subject: &str, condition: Condition, lasting_s: u64) {
        let rule: Rule = text.parse().unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(rule.subject.to_string(), subject, "{text}");
        assert_eq!(rule.condition, condition, "{text}");
        assert_eq!(rule.lasting, Duration::from_secs(lasting_s), "{text}");
    }

    fn above(figure: Figure, threshold: Threshold, clear: Threshold) -> Condition {
        Condition::Level { figure, side: Side::Above, threshold, clear }
    }

    #[test]
    fn rules_are_read() {
        let bytes = |mib: u64| Threshold::Bytes(mib << 20);
        check(
            "host available < 10% for 10s",
            "host",
            Condition::Level {
                figure: Figure::Available,
                side: Side::Below,
                threshold: Threshold::Percent(10.0),
                clear: Threshold::Percent(10.5),
            },
            10,
        );
        check(
            "  process:nginx*   rss > 100MiB ",
            "process:nginx*",
            above(Figure::Rss, bytes(100), bytes(95)),
            0,
        );
        check(
            "cgroup:/a/* usage > 90% clear 80% for 1m",
            "cgroup:/a/*",
            above(Figure::Usage, Threshold::Percent(90.0), Threshold::Percent(80.0)),
            60,
        );
        check(
            "pid:7 grows > 1MiB/s for 30s",
            "pid:7",
            Condition::Growth { threshold: 1_048_576.0, clear: 524_288.0 },
            30,
        );
        check(
            "cgroup:* grows > 1MiB/s clear 1KiB/s",
            "cgroup:*",
            Condition::Growth { threshold: 1_048_576.0, clear: 1024.0 },
            0,
        );
        check(
            "cgroup:/web full within 10m",
            "cgroup:/web",
            Condition::Full { within: Duration::from_mins(10) },
            0,
        );
        check(
            "host pressure.full > 7.5% in 2s",
            "host",
            Condition::Pressure { all: true, percent: 7.5, window: Duration::from_secs(2) },
            0,
        );
        check("host oom_kill", "host", Condition::OomKill, 0);
        check("cgroup:/a event.high", "cgroup:/a", Condition::Event(Event::High), 0);
        check(
            "cgroup:/a/* pressure.some > 10% in 1s",
            "cgroup:/a/*",
            Condition::Pressure { all: false, percent: 10.0, window: Duration::from_secs(1) },
            0,
        );
        let rss = above(Figure::Rss, bytes(100), bytes(95));
        check("process:a@/web/ rss > 100MiB", "process:a@/web", rss.clone(), 0);
        check("cgroup:/ event.max", "cgroup:/", Condition::Event(Event::Max), 0);
        check("process:a@b*@/web/* rss > 100MiB", "process:a@b*@/web/*", rss, 0);
        let finding =
            |severity, minutes| Condition::Finding { severity, each: Duration::from_mins(minutes) };
        check("pid:7 finding critical", "pid:7", finding(Severity::Critical, 30), 0);
        check("pid:7 finding info each 5m", "pid:7", finding(Severity::Info, 5), 0);
    }

    #[test]
    fn errors_say_what_could_stand_there() {
        for (text, expected) in [
            ("", "what is watched"),
            (
                "disk used > 5%",
                "\"disk\" cannot be watched; host, cgroup:PATH, process:NAME and pid:N can",
            ),
            ("cgroup:web usage > 1", "they begin with /"),
            ("process: rss > 1", "names nobody"),
            ("process:a-service-of-ours rss > 1MiB", "15 bytes of a process's name"),
            ("process:*a-service-of-ours* rss > 1MiB", "15 bytes of a process's name"),
            ("host used > 5", "write 512MiB or 10%"),
            ("host used > 5MiB clear 4", "write 512MiB or 10%"),
            ("pid:7 grows > 5/s", "write 1MiB/s"),
            ("pid:0 rss > 1", "is no process number"),
            ("pid:x rss > 1", "is no process number"),
            ("host", "what has to be so is missing"),
            ("host rss > 5MiB", "\"rss\" is not known of host; available, used,"),
            ("cgroup:/a rss > 5MiB", "usage, grows, full, pressure.some,"),
            ("process:a usage > 5MiB", "rss, grows and finding are"),
            ("host event.high", "\"event.high\" is not known of host"),
            ("cgroup:/a event.low for 5s", "cannot last"),
            ("process:a finding bad", "\"bad\" is no severity"),
            ("process:a finding", "`info`, `warning` or `critical` is missing"),
            ("process:a rss > 5MiB each 5m", "only findings"),
            ("process:a@b/c rss > 5MiB", "they begin with /"),
            ("process:@/a rss > 5MiB", "names nobody"),
            ("host used = 5%", "\"=\" stands where `<` or `>` has to be"),
            ("host used >", "a threshold is missing"),
            ("host used > much", "write 512MiB or 10%"),
            ("host used > 101%", "no percent from 0% to 100%"),
            ("pid:7 grows > 5MiB", "write 1MiB/s"),
            ("pid:7 grows > 0/s", "write 1MiB/s"),
            ("host used > 5% for ever", "\"ever\" is no time"),
            ("host used > 5% clear 6%", "calm side"),
            ("host used > 5% clear 1MiB", "calm side"),
            ("host available < 5% clear 4%", "calm side"),
            ("host oom_kill for 3s", "cannot last"),
            ("host full within 3s clear 5s", "no level to be cleared at"),
            ("host pressure.some > 10% in 1m", "500ms to 10s"),
            ("host pressure.some > 10MiB in 1s", "no share of time"),
            ("host used > 5% soon", "`for TIME`, `clear VALUE`"),
        ] {
            let error = text.parse::<Rule>().expect_err(text);
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
