//! A line for every action that is applied, in the system's log or in a file: before it and after it.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write as _},
    os::unix::{fs::OpenOptionsExt as _, net::UnixDatagram},
    path::{Path, PathBuf},
    time::SystemTime,
};

use humantime::format_rfc3339_seconds;

use crate::escape::Safe;

/// Where the system's log listens: journald or another syslog daemon.
const SYSTEM_LOG: &str = "/dev/log";
/// Where there is none.
const FILE: &str = "/var/log/memmgr.log";
/// Facility user, severity notice (RFC 5424, section 6.2.1).
const PRIORITY: u8 = (1 << 3) | 5;

/// Actions cannot be logged, so that none is applied.
#[derive(Debug, thiserror::Error)]
#[error(
    "{} cannot be written ({source}), and no action is applied without a line in a log: {}give a file with --log",
    Safe::bytes(path.as_os_str().as_encoded_bytes()),
    if rustix::process::geteuid().is_root() { "" } else { "run it as root (`sudo memmgr`), or " }
)]
pub struct LogError {
    path: PathBuf,
    source: io::Error,
}

/// An open log.
#[derive(Debug)]
pub struct Log {
    place: Place,
    shown: String,
}

#[derive(Debug)]
enum Place {
    System(UnixDatagram),
    File(File),
}

impl Log {
    /// Opens the file that is named, or else the system's log, or else `/var/log/memmgr.log`.
    ///
    /// # Errors
    /// When it cannot be written. Nothing was changed then.
    pub fn open(path: Option<&Path>) -> Result<Self, LogError> {
        if path.is_none()
            && let Ok(socket) = UnixDatagram::unbound()
            && socket.connect(SYSTEM_LOG).is_ok()
        {
            return Ok(Log { place: Place::System(socket), shown: "the system's log".to_owned() });
        }
        let path = path.unwrap_or(Path::new(FILE));
        // It is read by those who may read the host's other logs: names of processes are no secret on a host, but whose
        // memory was taken is nobody else's business.
        let file = OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o640)
            .custom_flags(libc::O_NOFOLLOW)
            .open(path)
            .map_err(|source| LogError { path: path.to_owned(), source })?;
        let shown = Safe::bytes(path.as_os_str().as_encoded_bytes()).to_string();
        Ok(Log { place: Place::File(file), shown })
    }

    /// Where it goes.
    pub fn shown(&self) -> &str {
        &self.shown
    }

    /// Writes one line.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn line(&mut self, text: &str) -> io::Result<()> {
        let (text, pid) = (Safe::text(text), std::process::id());
        match &mut self.place {
            Place::System(socket) => {
                socket.send(format!("<{PRIORITY}>memmgr[{pid}]: {text}").as_bytes()).map(drop)
            }
            Place::File(file) => {
                let at = format_rfc3339_seconds(SystemTime::now());
                // One write a line: several may append at once.
                file.write_all(format!("{at} memmgr[{pid}]: {text}\n").as_bytes())
            }
        }
    }
}

/// Who applies an action: the user that memmgr runs as, and the one that logged in.
pub fn who() -> String {
    let uid = rustix::process::getuid().as_raw();
    let login = std::fs::read_to_string("/proc/self/loginuid").unwrap_or_default();
    match login.trim().parse::<u32>() {
        // The largest number stands for nobody.
        Ok(login) if login != u32::MAX => format!("uid {uid}, login uid {login}"),
        _ => format!("uid {uid}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_appended_and_harmless() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        for text in ["reclaim of a", "evil\nname\x1b[2J"] {
            Log::open(Some(&path)).unwrap().line(text).unwrap();
        }
        let content = std::fs::read_to_string(&path).unwrap();
        let lines: Vec<&str> = content.lines().collect();
        assert_eq!(lines.len(), 2);
        assert!(lines[0].ends_with(": reclaim of a"), "{content}");
        assert!(lines[1].ends_with(": evil\\u{a}name\\u{1b}[2J"), "{content}");
    }

    #[test]
    fn a_log_that_cannot_be_written_is_found_out_first() {
        let error = Log::open(Some(Path::new("/proc/none/log"))).unwrap_err().to_string();
        assert!(error.starts_with("/proc/none/log cannot be written"), "{error}");
        let directory = tempfile::tempdir().unwrap();
        let link = directory.path().join("link");
        std::os::unix::fs::symlink("/etc/passwd", &link).unwrap();
        assert!(Log::open(Some(&link)).is_err());
    }
}
