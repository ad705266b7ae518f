//! Where results go: files by `-o`, the rest to stdout. The same for everything that can be rendered.

use std::{
    io::{IsTerminal, Write, stdout},
    path::{Path, PathBuf},
};

use memmgr::{
    escape::Safe,
    output::Output,
    sink::{Class, Format, RenderOptions},
};

use super::args::RenderFlags;

/// Where the results go; opened before the work, so that a bad path fails before the wait.
pub struct Destinations {
    files: Vec<(PathBuf, Format, Output)>,
    stdout_taken: bool,
}

impl Destinations {
    /// Opens every `-o`; without one and without a format, `usual` if there is any. A file whose
    /// name has no ending gets `fallback`.
    pub fn open(
        flags: &RenderFlags,
        fallback: Format,
        usual: Option<PathBuf>,
    ) -> anyhow::Result<Self> {
        let mut paths = flags.output.clone();
        if paths.is_empty() && flags.format.is_none() && !flags.json {
            paths.extend(usual);
        }
        let fallback = flags.format.unwrap_or(fallback);
        let mut files = Vec::new();
        for path in paths {
            let format = format_of(&path, flags.format, fallback)?;
            let output = Output::open(&path, flags.force)?;
            files.push((path, format, output));
        }
        let stdout_taken = files.iter().any(|(_, _, output)| output.is_stdout());
        Ok(Destinations { files, stdout_taken })
    }

    /// Fails unless every format that was asked for is one of these.
    pub fn expect(&self, flags: &RenderFlags, known: &[Format]) -> anyhow::Result<()> {
        let asked = self.files.iter().map(|(_, format, _)| *format).chain(flags.format);
        for format in asked {
            let names: Vec<&str> = known.iter().map(|format| format.name()).collect();
            anyhow::ensure!(
                known.contains(&format),
                "there is no {format} of this; take one of: {}",
                names.join(", ")
            );
        }
        Ok(())
    }

    /// Writes the files, and then stdout unless a file was: in the format that the flags name, or else
    /// what `shown` makes. Where the flags name no class of memory it is `main`.
    pub fn write(
        self,
        flags: &RenderFlags,
        main: Class,
        render: impl Fn(Format, &RenderOptions, &mut dyn Write) -> anyhow::Result<()>,
        shown: impl Fn(&RenderOptions) -> anyhow::Result<Vec<u8>>,
    ) -> anyhow::Result<()> {
        let options = RenderOptions {
            metric: flags.metric,
            class: flags.class.unwrap_or(main),
            top: flags.top,
            color: false,
            width: None,
        };
        let filed = !self.files.is_empty();
        for (path, format, output) in self.files {
            let on_stdout = output.is_stdout();
            output.commit_with(|out| render(format, &options, out))?;
            if !on_stdout {
                memmgr::say!("memmgr: wrote {}", Safe::bytes(path.as_os_str().as_encoded_bytes()));
            }
        }
        if self.stdout_taken {
            return Ok(());
        }
        let (color, width) = terminal();
        let on_terminal = RenderOptions { color, width, ..options };
        let stdout = Output::open(Path::new("-"), false)?;
        let format = if flags.json { Some(Format::Json) } else { flags.format };
        match format {
            // The format was that of the files.
            Some(_) if filed && !flags.json => Ok(()),
            Some(format) => stdout.commit_with(|out| render(format, &on_terminal, out)),
            None => stdout.commit(&shown(&on_terminal)?),
        }
    }
}

/// The ending decides, then `--format`; an ending that means nothing is an error before the capture.
fn format_of(path: &Path, asked: Option<Format>, fallback: Format) -> anyhow::Result<Format> {
    match (Format::from_extension(path), asked) {
        (Some(format), _) | (None, Some(format)) => Ok(format),
        (None, None) if path.extension().is_none() => Ok(fallback),
        (None, None) => anyhow::bail!(
            "the ending of {} says no format: use .html, .svg, .json, .folded, .txt, .pb.gz, .speedscope.json, .heaptrack or .massif, or give --format",
            Safe::bytes(path.as_os_str().as_encoded_bytes())
        ),
    }
}

/// Whether stdout shall have colour, and its columns if it is a terminal.
pub fn terminal() -> (bool, Option<usize>) {
    let terminal = stdout().is_terminal();
    let wanted = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    (terminal && wanted, terminal.then(terminal_width).flatten())
}

fn terminal_width() -> Option<usize> {
    let size = rustix::termios::tcgetwinsize(stdout()).ok()?;
    (size.ws_col > 0).then_some(usize::from(size.ws_col))
}
