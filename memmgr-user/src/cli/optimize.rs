//! `optimize`: actions that give memory back, and the plan of them.

use std::{
    io::Write as _,
    path::{Path, PathBuf},
};

use anyhow::Context as _;

use memmgr::{
    escape::Safe,
    optimize::{
        Order,
        action::{Action, Scope},
        optimize, plan,
        report::Report,
    },
    output::Output,
    sink,
    source::roots::Roots,
};

use super::{
    exit::Misused,
    optimize_args::{ActionFlags, Common, Optimize, Out},
    pauses::Pauses,
    render::terminal,
};

/// Does what was asked for, and shows what it changed.
pub fn run(flags: &Optimize) -> anyhow::Result<()> {
    let roots = Roots::default();
    let mut pauses = Pauses::new()?;
    if let ActionFlags::Plan(flags) = &flags.action {
        let outputs = Outputs::open(&flags.output)?;
        let report = plan(&roots, &flags.scope(), flags.idle, |time| pauses.pause(time))?;
        return outputs.write(&report, &flags.output);
    }
    let (action, scope, common) = order(&flags.action)?;
    let outputs = Outputs::open(&common.output)?;
    let order = Order {
        action,
        scope,
        apply: common.apply,
        settle: common.settle,
        log: common.log.clone(),
    };
    let report = optimize(
        &roots,
        &order,
        |time| pauses.pause(time),
        |text| memmgr::say!("memmgr: {}", Safe::text(text)),
    )?;
    outputs.write(&report, &common.output).with_context(|| {
        let done = report.changed.as_ref().map(|changed| changed.effect.words());
        match done {
            Some(effect) => format!(
                "the {} of {} was applied ({effect}), but its report is lost",
                report.action,
                report.subject.words()
            ),
            None => "nothing was done, and the report is lost".to_owned(),
        }
    })
}

/// What the flags mean.
fn order(flags: &ActionFlags) -> anyhow::Result<(Action, Scope, &Common)> {
    Ok(match flags {
        ActionFlags::Plan(_) => unreachable!("a plan is no action"),
        ActionFlags::Reclaim(flags) => {
            let (amount, swappiness) = (flags.amount(), flags.swappiness);
            (Action::Reclaim { amount, swappiness }, flags.scope(), &flags.common)
        }
        ActionFlags::Pageout(flags) => {
            let mappings = &flags.mappings;
            (Action::PageOut(flags.selection()), mappings.scope(), &mappings.common)
        }
        ActionFlags::Cold(flags) => {
            let mappings = &flags.mappings;
            (Action::Cold(flags.selection()), mappings.scope(), &mappings.common)
        }
        ActionFlags::Collapse(flags) => {
            let mappings = &flags.mappings;
            (Action::Collapse(flags.selection()), mappings.scope(), &mappings.common)
        }
        ActionFlags::Merge(flags) => (Action::Merge, Scope::Host, &flags.common),
        ActionFlags::Compact(flags) => {
            (Action::Compact { node: flags.node }, Scope::Host, &flags.host.common)
        }
        ActionFlags::DropCaches(flags) => {
            (Action::DropCaches(flags.caches()), Scope::Host, &flags.host.common)
        }
        ActionFlags::Trim(flags) => {
            if flags.common.apply && !flags.i_accept_the_risk {
                let text = "--apply of trim needs --i-accept-the-risk: gdb stops the process and calls a function in it, which can hang or crash \
                            it; without --apply it says what it would do";
                return Err(Misused(text.to_owned()).into());
            }
            (Action::Trim, super::optimize_args::scope(&flags.process, None), &flags.common)
        }
        ActionFlags::Gc(flags) => {
            (Action::Gc, super::optimize_args::scope(&flags.process, None), &flags.common)
        }
    })
}

/// How a file is written.
#[derive(Clone, Copy)]
enum Form {
    Html,
    Json,
    Text,
}

/// Where results go, opened before anything is done.
struct Outputs(Vec<(PathBuf, Form, Output)>);

impl Outputs {
    fn open(flags: &Out) -> anyhow::Result<Self> {
        let mut files = Vec::new();
        for path in &flags.output {
            let form = match path.extension().and_then(|ending| ending.to_str()) {
                Some("html") => Form::Html,
                Some("json") => Form::Json,
                Some("txt") | None => Form::Text,
                Some(_) => {
                    let shown = Safe::bytes(path.as_os_str().as_encoded_bytes());
                    anyhow::bail!("the ending of {shown} says no format: use .html, .json or .txt");
                }
            };
            files.push((path.clone(), form, Output::open(path, flags.force)?));
        }
        Ok(Outputs(files))
    }

    /// Writes the files, and stdout unless one of them was that.
    fn write(self, report: &Report, flags: &Out) -> anyhow::Result<()> {
        let mut stdout_taken = false;
        for (path, form, output) in self.0 {
            let on_stdout = output.is_stdout();
            stdout_taken |= on_stdout;
            let form = if on_stdout && flags.json { Form::Json } else { form };
            output.commit(&rendered(report, form, flags.top, false, None)?)?;
            if !on_stdout {
                memmgr::say!("memmgr: wrote {}", Safe::bytes(path.as_os_str().as_encoded_bytes()));
            }
        }
        if stdout_taken {
            return Ok(());
        }
        let form = if flags.json { Form::Json } else { Form::Text };
        let (color, width) = terminal();
        let bytes = rendered(report, form, flags.top, color, width)?;
        Output::open(Path::new("-"), false)?.commit(&bytes)
    }
}

fn rendered(
    report: &Report,
    form: Form,
    top: usize,
    color: bool,
    width: Option<usize>,
) -> anyhow::Result<Vec<u8>> {
    Ok(match form {
        Form::Html => sink::optimize_page(report)?,
        Form::Text => sink::optimize(report, top, color, width).into_bytes(),
        Form::Json => {
            let mut json = serde_json::to_vec_pretty(report)?;
            json.write_all(b"\n")?;
            json
        }
    })
}
