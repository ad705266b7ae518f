//! Reports of captures in a directory, as `watch --capture` writes them: what they say in short, for `/metrics`, the page and
//! `/api/v1/reports`.

use std::{
    collections::HashMap,
    fs::{self, File, Metadata, OpenOptions},
    io::{self, Read as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::Arc,
    thread,
    time::{Duration, SystemTime},
};

use rustix::fs::OFlags;
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use tokio::sync::watch;

use crate::{
    judge::{name_of, subject},
    report::{Report, Stack},
    sink::verdict_line,
};

/// The directory is looked at this often.
const EVERY: Duration = Duration::from_secs(5);
/// Reports that are told: the newest.
const MOST_REPORTS: usize = 20;
/// Stacks of a report that are told: the largest.
const MOST_STACKS: usize = 10;
/// No report of a capture is larger by far.
const LARGEST: u64 = 64 << 20;

/// What a report says in short.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Entry {
    /// The name of its file, without `.json`.
    pub name: String,
    /// Whether there is a page of that name too.
    pub has_page: bool,
    /// When the capture ended, RFC 3339.
    pub captured_at: String,
    /// The process.
    pub pid: u32,
    /// Its name. Hostile.
    pub comm: String,
    /// Its start in seconds since boot.
    pub start_time_s: f64,
    /// The worst finding.
    pub verdict: String,
    /// Its severity, if there is one.
    pub severity: Option<String>,
    /// Findings by severity: info, warning, critical.
    pub findings: [u64; 3],
    /// The stacks that hold most.
    pub stacks: Vec<TopStack>,
}

/// A stack of a report.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TopStack {
    /// The same for the same functions in the same files, in every capture of a program.
    pub id: String,
    /// The function to look at. Hostile.
    pub function: String,
    /// Bytes outstanding.
    pub live_bytes: u64,
    /// Their growth, where it is known.
    pub growth_bytes_per_s: Option<f64>,
}

/// The newest reports, and those that could not be read.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Shelf {
    /// The newest first.
    pub reports: Vec<Entry>,
    /// Files that are no report, or cannot be read.
    pub unread: Vec<Unread>,
}

/// A file that is not told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Unread {
    /// Its name. Hostile.
    pub name: String,
    /// Why.
    pub why: String,
}

/// Severities as reports name them, the least first.
pub const SEVERITIES: [&str; 3] = ["info", "warning", "critical"];

/// Looks at a directory in a thread until nobody listens any more. Without a directory there are no reports.
///
/// # Errors
/// When there is no thread for it.
pub fn start(directory: Option<PathBuf>) -> io::Result<watch::Receiver<Arc<Shelf>>> {
    let (sender, receiver) = watch::channel(Arc::default());
    let Some(directory) = directory else { return Ok(receiver) };
    let mut reader = Reader::default();
    let go_on = move || {
        loop {
            let shelf = reader.read(&directory);
            sender.send_if_modified(|last| {
                let is_new = **last != shelf;
                if is_new {
                    *last = Arc::new(shelf);
                }
                is_new
            });
            thread::sleep(EVERY);
            if sender.is_closed() {
                return;
            }
        }
    };
    thread::Builder::new().name("reports".into()).spawn(go_on)?;
    Ok(receiver)
}

/// Reads each file once.
#[derive(Debug, Default)]
struct Reader {
    known: HashMap<PathBuf, (Stamp, Result<Entry, Unread>)>,
}

/// What changes when a file is written again.
type Stamp = (u64, u64, SystemTime);

impl Reader {
    fn read(&mut self, directory: &Path) -> Shelf {
        let mut files: Vec<(PathBuf, Stamp)> = fs::read_dir(directory)
            .into_iter()
            .flatten()
            .filter_map(Result::ok)
            .map(|entry| entry.path())
            .filter(|path| is_report(path))
            .filter_map(|path| Some((stamp(&fs::symlink_metadata(&path).ok()?)?, path)))
            .map(|(stamp, path)| (path, stamp))
            .collect();
        files.sort_by(|(a, (.., a_time)), (b, (.., b_time))| b_time.cmp(a_time).then(a.cmp(b)));
        files.truncate(MOST_REPORTS);
        let mut before = std::mem::take(&mut self.known);
        let mut shelf = Shelf::default();
        for (path, stamp) in files {
            let known = before.remove(&path).filter(|(known, _)| *known == stamp);
            let entry = known.map_or_else(|| entry(&path), |(_, entry)| entry);
            match &entry {
                // Its page may come, or go, after it.
                Ok(entry) => shelf.reports.push(Entry {
                    has_page: is_file(&path.with_extension("html")),
                    ..entry.clone()
                }),
                Err(unread) => shelf.unread.push(unread.clone()),
            }
            self.known.insert(path, (stamp, entry));
        }
        // A file may have been copied since its capture.
        shelf.reports.sort_by(|a, b| b.captured_at.cmp(&a.captured_at));
        shelf
    }
}

/// Whether there is a file that [`page`] would read: no link to one.
fn is_file(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_file())
}

/// Records of kills are beside reports, and are none.
fn is_report(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().as_encoded_bytes();
    path.extension().is_some_and(|ending| ending == "json") && !name.starts_with(b"memmgr-oom-")
}

fn stamp(metadata: &Metadata) -> Option<Stamp> {
    Some((metadata.ino(), metadata.len(), metadata.modified().ok()?))
}

fn entry(path: &Path) -> Result<Entry, Unread> {
    let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let unread = |why: String| Unread { name: name.clone(), why };
    let bytes = content(path).map_err(|error| unread(error.to_string()))?;
    let report: Report = serde_json::from_slice(&bytes)
        .map_err(|error| unread(format!("it is no report of memmgr: {error}")))?;
    let count = |severity: &str| {
        report.findings.iter().filter(|finding| finding.severity == severity).count() as u64
    };
    let findings = SEVERITIES.map(count);
    let class = report.main_class().name();
    let stacks = report.stacks.iter().filter(|stack| stack.class == class && stack.live_bytes > 0);
    Ok(Entry {
        name,
        has_page: false,
        captured_at: report.captured_at.clone(),
        pid: report.target.pid,
        comm: report.target.comm.clone(),
        start_time_s: report.target.start_time_s,
        verdict: verdict_line(&report),
        severity: findings
            .iter()
            .zip(SEVERITIES)
            .rev()
            .find(|(count, _)| **count > 0)
            .map(|(_, severity)| severity.to_owned()),
        findings,
        stacks: stacks.take(MOST_STACKS).map(top_stack).collect(),
    })
}

fn top_stack(stack: &Stack) -> TopStack {
    TopStack {
        id: stable_id(stack),
        function: subject(stack).map_or_else(|| "?".to_owned(), name_of),
        live_bytes: stack.live_bytes,
        growth_bytes_per_s: stack.growth.as_ref().map(|growth| growth.bytes_per_s),
    }
}

/// Half of a hash is enough for ten stacks. Functions and the names of their files count, addresses do not: they are
/// others in every process.
fn stable_id(stack: &Stack) -> String {
    let mut hash = Sha256::new();
    hash.update(&stack.class);
    for frame in &stack.frames {
        let file =
            frame.module.as_deref().map_or("", |path| path.rsplit('/').next().unwrap_or(path));
        for part in [frame.function.as_deref().unwrap_or(""), file] {
            hash.update([0]);
            hash.update(part);
        }
    }
    hash.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

/// The page of a report on the shelf.
///
/// # Errors
/// When it is not there any more, or not a file of the directory itself.
pub fn page(directory: &Path, name: &str) -> io::Result<Vec<u8>> {
    content(&directory.join(format!("{name}.html")))
}

/// A file of a directory that others may write to: no link is followed, no device waited for.
fn content(path: &Path) -> io::Result<Vec<u8>> {
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits() as i32;
    let file: File = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() || metadata.len() > LARGEST {
        let text = format!("it is no file of at most {} MiB", LARGEST >> 20);
        return Err(io::Error::other(text));
    }
    let mut bytes = Vec::new();
    file.take(LARGEST).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests;
