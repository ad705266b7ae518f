//! The heap probes as something that is there or not: placed and taken away while a capture runs, in threads of
//! their own, because the kernel waits for every processor.

use std::{mem, os::fd::OwnedFd, sync::Arc, thread};

use crate::units::Pid;

use super::{
    attach::{FileProbes, HeapPrograms, Links},
    kernel::KernelError,
};

/// Owns the placed probes.
pub struct Gate {
    /// What places them.
    pub programs: Arc<HeapPrograms>,
    pid: Pid,
    files: Vec<FileProbes>,
    state: State,
    freeing: Option<thread::JoinHandle<()>>,
}

enum State {
    Open(Links),
    Closed,
    Turning(thread::JoinHandle<Result<Option<Links>, KernelError>>),
}

impl Gate {
    /// Probes that are in place.
    pub fn open(programs: HeapPrograms, pid: Pid, files: Vec<FileProbes>, links: Links) -> Self {
        Gate { programs: Arc::new(programs), pid, files, state: State::Open(links), freeing: None }
    }

    /// Begins to place the probes that are wanted, or to take all away; nothing when they are so already, or on their way.
    ///
    /// # Errors
    /// When there can be no thread.
    pub fn turn(&mut self, open: bool, wanted: impl Fn(u16) -> bool) -> Result<(), KernelError> {
        let no_thread = |error| KernelError::Attach { what: "heap probes".into(), error };
        self.state = match mem::replace(&mut self.state, State::Closed) {
            State::Closed if open => {
                let (programs, pid) = (Arc::clone(&self.programs), self.pid);
                let mut files = self.files.clone();
                for file in &mut files {
                    file.points.retain(|point| wanted(point.cookie.function()));
                }
                let place = move || programs.place(pid, &files).map(Some);
                State::Turning(thread::Builder::new().spawn(place).map_err(no_thread)?)
            }
            State::Open(links) if !open => {
                let close = move || {
                    drop(links);
                    Ok(None)
                };
                State::Turning(thread::Builder::new().spawn(close).map_err(no_thread)?)
            }
            state => state,
        };
        Ok(())
    }

    /// Takes in probes that were placed beside it. Where its own are away these go too, and come back with them.
    ///
    /// # Errors
    /// When its own, which were on their way, could not be placed.
    pub fn add(&mut self, files: Vec<FileProbes>, links: Links) -> Result<(), KernelError> {
        let settled = self.settle();
        self.files.extend(files);
        if let State::Open(own) = &mut self.state {
            own.take_in(links);
        }
        settled
    }

    /// Whether the probes are in place; `None` while they are on their way.
    ///
    /// # Errors
    /// When they could not be placed: then they are away.
    pub fn is_open(&mut self) -> Result<Option<bool>, KernelError> {
        if matches!(&self.state, State::Turning(thread) if !thread.is_finished()) {
            return Ok(None);
        }
        self.settle()?;
        Ok(Some(matches!(self.state, State::Open(_))))
    }

    /// Waits for what is on its way.
    fn settle(&mut self) -> Result<(), KernelError> {
        self.state = match mem::replace(&mut self.state, State::Closed) {
            State::Turning(thread) => {
                let links =
                    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
                links.map_or(State::Closed, State::Open)
            }
            state => state,
        };
        Ok(())
    }

    /// Begins to take the breakpoints, and those of `others`, out of processes that the target has made; see
    /// [`HeapPrograms::free_heirs`]. Whether it does: not while probes are on their way, nor while it does already.
    pub fn free_heirs(&mut self, others: Option<&FileProbes>) -> bool {
        let own = match &self.state {
            State::Turning(_) => return false,
            State::Closed => &[][..],
            State::Open(_) => &self.files,
        };
        if self.freeing.as_ref().is_some_and(|thread| !thread.is_finished()) {
            return false;
        }
        let files: Vec<FileProbes> = own.iter().chain(others).cloned().collect();
        let programs = Arc::clone(&self.programs);
        let free = move || {
            if let Err(error) = programs.free_heirs(&files) {
                tracing::debug!("children keep their breakpoints: {error}");
            }
        };
        self.freeing = thread::Builder::new().spawn(free).ok();
        self.freeing.is_some()
    }

    /// What is in place, to be closed.
    pub fn into_descriptors(mut self) -> Vec<OwnedFd> {
        if let Err(error) = self.settle() {
            tracing::debug!("{error}");
        }
        if let Some(freeing) = self.freeing.take() {
            freeing.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        }
        match self.state {
            State::Open(links) => links.into_descriptors(),
            State::Closed | State::Turning(_) => Vec::new(),
        }
    }
}
