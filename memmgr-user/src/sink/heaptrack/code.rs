//! The tables of the file: strings, instructions and traces, each written before its first use.
//! Their numbers begin at 1 and count lines of a kind; 0 means "none".

use std::collections::HashMap;
use std::io::{self, Write};
use std::sync::Arc;

use crate::report::{Frame, Stack};
use crate::sink::frames;

/// What was written already.
#[derive(Default)]
pub(super) struct Code<'a> {
    strings: HashMap<String, usize>,
    calls: HashMap<&'a [Arc<Frame>], usize>,
    notes: HashMap<String, usize>,
    /// By instruction and by the trace of the caller.
    traces: HashMap<(usize, usize), usize>,
}

impl<'a> Code<'a> {
    /// The trace of a stack, which grows from the root.
    pub(super) fn trace(&mut self, out: &mut impl Write, stack: &'a Stack) -> io::Result<usize> {
        let mut trace = 0;
        if let Some(cut) = frames::cut(stack) {
            let instruction = self.note(out, &cut)?;
            trace = self.node(out, instruction, trace)?;
        }
        for call in frames::calls(stack).rev() {
            let instruction = self.call(out, call)?;
            trace = self.node(out, instruction, trace)?;
        }
        Ok(trace)
    }

    fn node(&mut self, out: &mut impl Write, ip: usize, parent: usize) -> io::Result<usize> {
        let next = self.traces.len() + 1;
        let node = *self.traces.entry((ip, parent)).or_insert(next);
        if node == next {
            writeln!(out, "t {ip:x} {parent:x}")?;
        }
        Ok(node)
    }

    /// An instruction: address, module, and then function, file and line, the innermost first.
    fn call(&mut self, out: &mut impl Write, call: &'a [Arc<Frame>]) -> io::Result<usize> {
        if let Some(number) = self.calls.get(call) {
            return Ok(*number);
        }
        let outermost = call.last();
        let module = outermost.and_then(|frame| frame.module.as_deref()).unwrap_or_default();
        let module = self.string(out, module)?;
        let mut functions = Vec::new();
        for frame in call {
            let function = self.string(out, &frames::name(frame))?;
            let file = self.string(out, frame.file.as_deref().unwrap_or_default())?;
            write!(functions, " {function:x} {file:x} {:x}", frame.line.unwrap_or_default())?;
        }
        // Without a module an address means nothing once the process is gone.
        let address = outermost.filter(|_| module > 0).map_or(0, |frame| frame.address);
        write!(out, "i {address:x} {module:x}")?;
        out.write_all(&functions)?;
        writeln!(out)?;
        let number = self.calls.len() + self.notes.len() + 1;
        self.calls.insert(call, number);
        Ok(number)
    }

    /// An instruction that is none, such as the place where a stack was cut.
    fn note(&mut self, out: &mut impl Write, note: &str) -> io::Result<usize> {
        if let Some(number) = self.notes.get(note) {
            return Ok(*number);
        }
        let name = self.string(out, note)?;
        writeln!(out, "i 0 0 {name:x} 0 0")?;
        let number = self.calls.len() + self.notes.len() + 1;
        self.notes.insert(note.to_owned(), number);
        Ok(number)
    }

    fn string(&mut self, out: &mut impl Write, text: &str) -> io::Result<usize> {
        if text.is_empty() {
            return Ok(0);
        }
        if let Some(number) = self.strings.get(text) {
            return Ok(*number);
        }
        writeln!(out, "s {}", frames::one_line(text))?;
        let number = self.strings.len() + 1;
        self.strings.insert(text.to_owned(), number);
        Ok(number)
    }
}
