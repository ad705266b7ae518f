//! The terminal: taken, watched, and given back as it was, whatever happens.

use std::io::{self, IsTerminal, stdin, stdout};

use ratatui::{DefaultTerminal, Frame, layout::Rect};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// There is nothing to draw on.
#[derive(Debug, thiserror::Error)]
#[error(
    "top draws on a terminal, and standard {0} is none; `memmgr stat` prints the figures of a moment, `memmgr leaks -p PID` \
     those of a process"
)]
pub struct NoTerminal(&'static str);

/// The terminal in raw mode on its other screen. Dropped, it is as it was before.
pub struct Screen(DefaultTerminal);

impl Screen {
    /// Takes the terminal. A panic of any thread gives it back before it says its word (the hook of ratatui).
    ///
    /// # Errors
    /// When there is none, or it cannot be written to.
    pub fn take() -> anyhow::Result<Self> {
        let missing = [("input", stdin().is_terminal()), ("output", stdout().is_terminal())];
        if let Some((name, _)) = missing.into_iter().find(|(_, is_terminal)| !is_terminal) {
            return Err(NoTerminal(name).into());
        }
        Ok(Screen(ratatui::try_init()?))
    }

    /// Its size now.
    ///
    /// # Errors
    /// When it is gone.
    pub fn size(&self) -> io::Result<Rect> {
        let size = self.0.size()?;
        Ok(Rect::new(0, 0, size.width, size.height))
    }

    /// Draws what has changed.
    ///
    /// # Errors
    /// When it is gone.
    pub fn draw(&mut self, draw: impl FnOnce(&mut Frame<'_>)) -> io::Result<()> {
        self.0.draw(draw).map(|_| ())
    }

    /// Forgets what was drawn: the next time everything is.
    ///
    /// # Errors
    /// When it is gone.
    pub fn forget(&mut self) -> io::Result<()> {
        self.0.clear()
    }

    /// Whether there is still somebody at its other end. crossterm reads from one that is gone for ever
    /// (its issue 793) and would not tell.
    pub fn is_gone() -> bool {
        let input = stdin();
        let mut fds = [PollFd::new(&input, PollFlags::empty())];
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        // Interrupted: the next time tells.
        let _ = poll(&mut fds, Some(&now));
        fds[0].revents().intersects(PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // After a panic the hook has done it; a second time would put the cursor over what it said.
        if !std::thread::panicking() {
            // One that is gone needs nothing.
            let _ = ratatui::try_restore();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{ffi::OsStr, fs::File, io::Read, os::unix::ffi::OsStrExt, process::Command};

    use rustix::{
        pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
        termios::{Winsize, tcgetattr, tcsetwinsize},
    };

    use super::*;

    /// Run by the test below, in a process of its own.
    #[test]
    #[ignore = "draws on its terminal, and panics"]
    fn panics_while_it_draws() {
        let mut screen = Screen::take().unwrap();
        screen.draw(|_| panic!("on purpose")).unwrap();
    }

    #[test]
    fn a_panic_gives_the_terminal_back_before_its_word() {
        let controller = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&controller).unwrap();
        unlockpt(&controller).unwrap();
        let name = ptsname(&controller, Vec::new()).unwrap();
        let path = OsStr::from_bytes(name.to_bytes());
        let terminal = File::options().read(true).write(true).open(path).unwrap();
        tcsetwinsize(&terminal, Winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 })
            .unwrap();
        let modes = || {
            let at = tcgetattr(&terminal).unwrap();
            (at.input_modes, at.output_modes, at.local_modes)
        };
        let before = modes();
        let end = || terminal.try_clone().unwrap();
        let ended = Command::new(std::env::current_exe().unwrap())
            .args([
                "--ignored",
                "--exact",
                "--nocapture",
                "top::terminal::tests::panics_while_it_draws",
            ])
            .stdin(end())
            .stdout(end())
            .stderr(end())
            .status()
            .unwrap();
        assert!(!ended.success());
        assert_eq!(modes(), before);
        let mut output = vec![0; 1 << 16];
        let length = File::from(controller).read(&mut output).unwrap();
        let output = String::from_utf8_lossy(&output[..length]);
        let place =
            |text: &str| output.find(text).unwrap_or_else(|| panic!("no {text:?}: {output:?}"));
        let (taken, given_back) = (place("\u{1b}[?1049h"), place("\u{1b}[?1049l"));
        assert!(taken < given_back && given_back < place("on purpose"), "{output:?}");
        assert_eq!(output.matches("\u{1b}[?1049l").count(), 1, "{output:?}");
    }
}
