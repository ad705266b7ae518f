//! Kernel helpers whose result is thrown away: a failed read that nobody counts is a silent loss.

use super::Finding;

/// Helpers that return nothing.
const VOID: [&str; 2] = ["bpf_ringbuf_submit", "bpf_ringbuf_discard"];

/// Ignored results in the code of an eBPF program (without comments and literals).
pub(super) fn check(code: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (at, _) in code.match_indices("let _ =") {
        findings
            .push(Finding::new(line(code, at), "`let _ =` hides a failure: handle it or count it"));
    }
    for (at, _) in code.match_indices("bpf_") {
        let rest = &code[at..];
        let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
        let (name, rest) = rest.split_at(end);
        if begins_statement(&code[..at]) && is_dropped(rest) && !VOID.contains(&name) {
            findings.push(Finding::new(
                line(code, at),
                format!("the result of {name} is ignored: handle it or count it"),
            ));
        }
    }
    findings
}

/// Whether the code before a name ends a statement or opens a block; paths and `unsafe {` are looked through.
fn begins_statement(before: &str) -> bool {
    let path = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
    let before = before.trim_end_matches(path).trim_end();
    match before.strip_suffix('{').map(str::trim_end).and_then(|outer| outer.strip_suffix("unsafe"))
    {
        Some(outer) => begins_statement(outer.trim_end()),
        None => before.is_empty() || before.ends_with(['{', '}', ';']),
    }
}

/// Whether the call whose arguments begin here is followed by a semicolon, perhaps after the end of its unsafe block.
fn is_dropped(arguments: &str) -> bool {
    let mut depth = 0;
    for (at, c) in arguments.char_indices() {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            let rest = arguments[at + c.len_utf8()..].trim_start();
            let rest = rest.strip_prefix('}').map_or(rest, str::trim_start);
            return c == ')' && rest.starts_with(';');
        }
    }
    false
}

fn line(code: &str, at: usize) -> usize {
    1 + code[..at].matches('\n').count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ignored_results() {
        let check = |code: &str, expected: &[usize]| {
            let found: Vec<usize> = check(code).iter().map(|finding| finding.line).collect();
            assert_eq!(found, expected, "{code:?}");
        };
        check("fn f() {\n    let _ = MAP.insert(&a, &b, 0);\n}", &[2]);
        check("fn f() {\n    bpf_probe_read_user(a, b, c());\n}", &[2]);
        check("fn f() {\n    unsafe { generated::bpf_probe_read_user(\n        a, b) };\n}", &[2]);
        check("fn f() {\n    if x { bpf_get_stack(a); }\n}", &[2]);
        check("fn f() -> i64 { unsafe { bpf_get_stack(a) } }", &[]);
        check("fn f() { let n = unsafe { bpf_get_stack(a) }; g(bpf_ktime_get_ns()); }", &[]);
        check("fn f() { if unsafe { bpf_get_stack(a) } < 0 { count(); } }", &[]);
        check("fn f() { unsafe { bpf_ringbuf_submit(a, 0) }; }", &[]);
        check("use helpers::{bpf_get_stack, bpf_ktime_get_ns};", &[]);
    }
}
