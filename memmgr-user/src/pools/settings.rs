//! What governs jemalloc, tcmalloc and mimalloc: their options as the program, a link and the environment have them, and
//! otherwise their defaults.

use std::{
    io,
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
};

use rustix::fs::{Mode, OFlags, ResolveFlags};
use serde::{Deserialize, Serialize};

use crate::{
    allocator::Family,
    source::process_dir::{ProcessDir, ProcessError},
};

/// Longer options are none that a person gave.
const MOST_TEXT: usize = 4096;

/// Where a setting is from. What comes later in the order goes before what comes earlier (jemalloc's `obtain_malloc_conf`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// Nobody said otherwise, as far as can be seen: who built the library may have, and the program can by its functions.
    Default,
    /// `malloc_conf` of the program.
    Program,
    /// The link `/etc/malloc.conf` in the root of the process.
    Link,
    /// The environment that the process was started with.
    Environment,
    /// The variable of the allocator itself, read from its memory.
    Memory,
}

impl Origin {
    /// For people.
    pub fn words(self) -> &'static str {
        match self {
            Origin::Default => "default",
            Origin::Program => "by malloc_conf of the program",
            Origin::Link => "by the link malloc.conf",
            Origin::Environment => "by its environment",
            Origin::Memory => "in force",
        }
    }
}

/// One setting.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Setting {
    /// As the allocator calls it: `dirty_decay_ms`, `TCMALLOC_RELEASE_RATE`. Hostile.
    pub name: String,
    /// Its value, as it was given. Hostile.
    pub value: String,
    /// Where it is from.
    pub origin: Origin,
}

/// All settings of an allocator: the known ones first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Settings(pub Vec<Setting>);

impl Settings {
    /// The value of a setting.
    pub fn value(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|setting| setting.name == name).map(|setting| setting.value.as_str())
    }

    /// The value as a number.
    pub fn number(&self, name: &str) -> Option<f64> {
        self.value(name)?.parse().ok()
    }

    /// Sets one, unless what is there is from a place that goes before.
    pub(super) fn set(&mut self, name: &str, value: impl Into<String>, origin: Origin) {
        let setting = Setting { name: name.to_owned(), value: value.into(), origin };
        match self.0.iter_mut().find(|known| known.name == name) {
            Some(known) if known.origin > origin => {}
            Some(known) => *known = setting,
            None => self.0.push(setting),
        }
    }
}

/// Defaults of jemalloc from 5.2 on (ChangeLog, include/jemalloc/internal/arena_types.h; the manual, "opt.").
const JEMALLOC: [(&str, &str); 7] = [
    ("narenas", "four a processor"),
    ("dirty_decay_ms", "10000"),
    ("muzzy_decay_ms", "0"),
    ("background_thread", "false"),
    ("retain", "true"),
    ("tcache", "true"),
    ("oversize_threshold", "8388608"),
];
/// Defaults of gperftools' (docs/tcmalloc.html; src/common.h of 2.10, `kDefaultOverallThreadCacheSize`).
const TCMALLOC: [(&str, &str); 4] = [
    ("TCMALLOC_RELEASE_RATE", "1"),
    ("TCMALLOC_MAX_TOTAL_THREAD_CACHE_BYTES", "33554432"),
    ("TCMALLOC_AGGRESSIVE_DECOMMIT", "false"),
    ("TCMALLOC_HEAP_LIMIT_MB", "0"),
];
/// Defaults of mimalloc 2.0 (src/options.c of 2.0.9), in milliseconds where it is a delay.
const MIMALLOC_2_0: [(&str, &str); 4] = [
    ("MIMALLOC_DECOMMIT_DELAY", "25"),
    ("MIMALLOC_SEGMENT_DECOMMIT_DELAY", "500"),
    ("MIMALLOC_ALLOW_DECOMMIT", "1"),
    ("MIMALLOC_LARGE_OS_PAGES", "0"),
];
/// Defaults of mimalloc 1.8 and 2.1 (src/options.c of 1.8.7 and 2.1.7).
const MIMALLOC_2_1: [(&str, &str); 4] = [
    ("MIMALLOC_PURGE_DELAY", "10"),
    ("MIMALLOC_PURGE_DECOMMITS", "1"),
    ("MIMALLOC_ARENA_EAGER_COMMIT", "2"),
    ("MIMALLOC_ALLOW_LARGE_OS_PAGES", "0"),
];

/// What an allocator was started with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Given {
    /// Variables of the environment whose names begin as those of allocators do.
    pub(super) environment: Vec<(String, String)>,
    /// Whether the process has written over its environment, as setproctitle(3) does.
    pub(super) is_overwritten: bool,
    /// Where the link leads.
    pub(super) link: Option<String>,
    /// `malloc_conf` of the program.
    pub(super) program: Option<String>,
}

impl Given {
    /// Reads the environment and the link. `prefix` is what stands before jemalloc's functions.
    pub(super) fn read(dir: &ProcessDir, prefix: &str) -> Result<Self, ProcessError> {
        let link = read_link(&dir.path().join("root"), &format!("/etc/{prefix}malloc.conf"));
        let environ = dir.read_optional("environ")?.unwrap_or_default();
        let is_overwritten = !environ.is_empty()
            && !environ.split(|&byte| byte == 0).next().is_some_and(|first| first.contains(&b'='));
        Ok(Given {
            environment: variables(environ.split(|&byte| byte == 0)),
            is_overwritten,
            link: link.ok().map(|path| text(path.as_os_str().as_bytes())),
            program: None,
        })
    }

    /// What of it governs an allocator. `version` is that of mimalloc, as far as it is known: `2.0`.
    pub(super) fn settings(&self, family: Family, prefix: &str, version: Option<&str>) -> Settings {
        let mut settings = Settings::default();
        let mut defaults = |rows: &[(&str, &str)]| {
            for (name, value) in rows {
                settings.set(name, *value, Origin::Default);
            }
        };
        let beginning = match family {
            Family::Jemalloc => {
                defaults(&JEMALLOC);
                self.add_options(&mut settings, prefix);
                return settings;
            }
            Family::Tcmalloc => {
                defaults(&TCMALLOC);
                "TCMALLOC_"
            }
            Family::Mimalloc => {
                match version {
                    Some("2.0") => defaults(&MIMALLOC_2_0),
                    Some("1.8" | "2.1") => defaults(&MIMALLOC_2_1),
                    _ => {}
                }
                "MIMALLOC_"
            }
            _ => return settings,
        };
        for (name, value) in &self.environment {
            if name.starts_with(beginning) {
                settings.set(name, value, Origin::Environment);
            }
        }
        settings
    }

    /// jemalloc's: `name:value,name:value`, from three places.
    fn add_options(&self, settings: &mut Settings, prefix: &str) {
        let variable = format!("{}MALLOC_CONF", prefix.to_ascii_uppercase());
        let environment = self.environment.iter().find(|(name, _)| *name == variable);
        let places = [
            (Origin::Program, self.program.as_ref()),
            (Origin::Link, self.link.as_ref()),
            (Origin::Environment, environment.map(|(_, value)| value)),
        ];
        for (origin, options) in places {
            let options = options.into_iter().flat_map(|options| options.split(','));
            for (name, value) in options.filter_map(|option| option.split_once(':')) {
                settings.set(name, value, origin);
            }
        }
    }
}

/// The variables of allocators among those of an environment. Others may be secrets, and are not taken.
pub(super) fn variables<'a>(environ: impl Iterator<Item = &'a [u8]>) -> Vec<(String, String)> {
    let variables = environ.filter_map(|variable| {
        let at = variable.iter().position(|&byte| byte == b'=')?;
        Some((text(&variable[..at]), text(&variable[at + 1..])))
    });
    let is_allocators = |name: &str| {
        name.ends_with("MALLOC_CONF")
            || name.starts_with("TCMALLOC_")
            || name.starts_with("MIMALLOC_")
    };
    variables.filter(|(name, _)| is_allocators(name)).collect()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(&bytes[..bytes.len().min(MOST_TEXT)]).into_owned()
}

/// Where a link inside a root leads. No other link on the way leads out of it.
fn read_link(root: &Path, path: &str) -> io::Result<PathBuf> {
    let directory = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);
    let root = rustix::fs::open(root, directory, Mode::empty())?;
    let link = OFlags::PATH.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
    let link = rustix::fs::openat2(root, path, link, Mode::empty(), ResolveFlags::IN_ROOT)?;
    let path = rustix::fs::readlinkat(link, "", Vec::new())?;
    Ok(PathBuf::from(std::ffi::OsStr::from_bytes(path.as_bytes())))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::{source::roots::fake::FakeTree, units::Pid};

    #[track_caller]
    fn check(given: &Given, family: Family, prefix: &str, version: Option<&str>, shown: &str) {
        let settings = given.settings(family, prefix, version);
        let all: Vec<String> = settings
            .0
            .iter()
            .filter(|setting| shown.is_empty() || setting.origin != Origin::Default)
            .map(|setting| format!("{}={} {}", setting.name, setting.value, setting.origin.words()))
            .collect();
        assert_eq!(all.join("; "), shown);
    }

    #[test]
    fn settings_are_read_from_where_the_allocator_reads_them() {
        let environ =
            b"SECRET=x\0MALLOC_CONF=narenas:2,dirty_decay_ms:-1,odd\0_RJEM_MALLOC_CONF=narenas:9\0\
            TCMALLOC_RELEASE_RATE=0\0MIMALLOC_PURGE_DELAY=-1\0MALLOC_ARENA_MAX=1\0";
        let tree = FakeTree::new(&[("proc/7/stat", "")]);
        tree.write("proc/7/environ", environ);
        let etc = tree.path().join("proc/7/root/etc");
        std::fs::create_dir_all(&etc).unwrap();
        symlink("narenas:1,tcache:false,prof:true", etc.join("malloc.conf")).unwrap();
        let dir = ProcessDir::open(&tree.roots(), Pid(7)).unwrap();
        let mut given = Given::read(&dir, "").unwrap();
        given.program = Some("narenas:7,muzzy_decay_ms:5".to_owned());
        check(
            &given,
            Family::Jemalloc,
            "",
            None,
            "narenas=2 by its environment; dirty_decay_ms=-1 by its environment; \
             muzzy_decay_ms=5 by malloc_conf of the program; tcache=false by the link malloc.conf; \
             prof=true by the link malloc.conf",
        );
        let prefixed = Given::read(&dir, "_rjem_").unwrap();
        check(&prefixed, Family::Jemalloc, "_rjem_", None, "narenas=9 by its environment");
        check(&given, Family::Tcmalloc, "", None, "TCMALLOC_RELEASE_RATE=0 by its environment");
        check(
            &given,
            Family::Mimalloc,
            "",
            Some("2.1"),
            "MIMALLOC_PURGE_DELAY=-1 by its environment",
        );
        check(&Given::default(), Family::Mimalloc, "", Some("9.9"), "");
        check(&Given::default(), Family::Musl, "", None, "");
        assert!(!format!("{given:?}").contains("SECRET") && !given.is_overwritten);
        for (environ, is_overwritten) in
            [(&b""[..], false), (b"\0\0\0", true), (b"server *:6379\0\0", true), (b"A=b\0", false)]
        {
            tree.write("proc/7/environ", environ);
            let given = Given::read(&dir, "").unwrap();
            assert_eq!(given.is_overwritten, is_overwritten, "{environ:?}");
        }
    }

    #[test]
    fn what_is_in_force_goes_before_what_was_given() {
        let given = Given { program: Some("dirty_decay_ms:1".to_owned()), ..Given::default() };
        let mut settings = given.settings(Family::Jemalloc, "", None);
        settings.set("dirty_decay_ms", "500", Origin::Memory);
        settings.set("dirty_decay_ms", "7", Origin::Environment);
        assert_eq!(settings.number("dirty_decay_ms"), Some(500.0));
        assert_eq!(settings.number("narenas"), None);
    }

    #[test]
    fn a_link_of_the_target_does_not_lead_to_the_host() {
        let tree = FakeTree::new(&[("proc/7/stat", "")]);
        std::fs::create_dir_all(tree.path().join("outside")).unwrap();
        symlink("narenas:1", tree.path().join("outside/malloc.conf")).unwrap();
        std::fs::create_dir_all(tree.path().join("proc/7/root")).unwrap();
        let outside = tree.path().join("outside");
        symlink(outside, tree.path().join("proc/7/root/etc")).unwrap();
        let dir = ProcessDir::open(&tree.roots(), Pid(7)).unwrap();
        assert_eq!(Given::read(&dir, "").unwrap(), Given::default());
    }
}
