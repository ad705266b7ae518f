//! The program that `demo` attaches to: a small service with one leak, one bounded cache, and churn.

use std::{collections::VecDeque, hint::black_box, time::Duration};

/// Runs for at most two minutes, in case nobody ends it.
pub fn run() -> anyhow::Result<()> {
    // The demo ends when its parent does, however that ends.
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
    let mut sessions = Vec::new();
    let mut cache = VecDeque::new();
    for request in 0..120_000u32 {
        handle_request(request, &mut sessions, &mut cache);
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

#[inline(never)]
fn handle_request(request: u32, sessions: &mut Vec<Vec<u8>>, cache: &mut VecDeque<Vec<u8>>) {
    parse_and_forget(request);
    remember_in_cache(request, cache);
    open_session(request, sessions);
}

/// Churn: allocated and freed within the request.
#[inline(never)]
fn parse_and_forget(request: u32) {
    for size in [64, 300, 4096] {
        black_box(vec![request as u8; size]);
    }
}

/// A cache with a bound: its bytes stay, but they do not grow.
#[inline(never)]
fn remember_in_cache(request: u32, cache: &mut VecDeque<Vec<u8>>) {
    cache.push_back(vec![request as u8; 2048]);
    if cache.len() > 500 {
        cache.pop_front();
    }
}

/// The leak: sessions are opened and never closed.
#[inline(never)]
fn open_session(request: u32, sessions: &mut Vec<Vec<u8>>) {
    sessions.push(session_buffer(request));
}

#[inline(never)]
fn session_buffer(request: u32) -> Vec<u8> {
    black_box(vec![request as u8; 1500])
}
