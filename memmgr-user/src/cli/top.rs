//! `top`: the host and its processes on a terminal.

use memmgr::{
    top::{Options, run as show},
    units::Pid,
};

use super::args::Top;

/// Shows them until a person has seen enough.
pub fn run(what: &Top) -> anyhow::Result<()> {
    show(&Options { interval: what.interval, pid: what.pid.map(Pid) })
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::super::args::{Arguments, Verb};
    use memmgr::{capture::CapturePlan, units::Pid};

    #[test]
    fn a_process_is_captured_as_other_verbs_capture_it_by_default() {
        let arguments = Arguments::parse_from(["memmgr", "report", "-p", "7", "-d", "0"]);
        let Verb::Report(job) = arguments.verb else { panic!("another verb") };
        let usual = CapturePlan::usual(Pid(7));
        assert_eq!(format!("{:?}", job.capture.plan(Pid(7))), format!("{usual:?}"));
    }
}
