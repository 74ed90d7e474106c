//! What `kill -9` doesn't show: a loss of power takes with it whatever wasn't synced. So for each comment of a load
//! `strace` is asked what was on the disk when its first byte went to the channel, and when it was answered.

use crate::support::{TestBoard, batch, command};
use crate::trace::{Proof, Trace, prove};
use commentd_board::{Fault, FaultPlan, FaultRule};
use commentd_test_support::ServingProcess;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// The longest that a test waits for the trace to end.
const PATIENCE: Duration = Duration::from_secs(60);
const CLIENTS: usize = 6;
const CALLS: usize = 10;
/// Comments in each call.
const COMMENTS: [&str; 2] = ["one", "another"];
/// Every sync takes this much longer, in microseconds, so that a byte that doesn't wait for it is seen.
const SLOW_SYNC_US: u32 = 4000;

/// False, loudly, where processes can't be traced and `COMMENTD_E2E` doesn't require it.
fn can_trace() -> bool {
    let trial = Command::new("strace").args(["-f", "-o", "/dev/null", "true"]).stderr(Stdio::null()).status();
    if trial.is_ok_and(|status| status.success()) {
        return true;
    }
    let message = "strace isn't installed or may not trace; scripts/install-servers installs it";
    assert!(std::env::var("COMMENTD_E2E").as_deref() != Ok("require"), "{message}");
    eprintln!("SKIPPED: {message}");
    false
}

/// A load on a traced sidecar, without this rule of the promise if one is named.
fn load(without: Option<&str>) -> Proof {
    let plan = FaultPlan::default()
        .with(FaultRule::ratio(Fault::Throttle { retry_after_s: 0 }, 0.1))
        .with(FaultRule::ratio(Fault::CutAfter, 0.1))
        .with(FaultRule::ratio(Fault::RefuseAfter, 0.05));
    let (board, folder) = (TestBoard::with(plan), tempfile::tempdir().unwrap());
    let trace = folder.path().join("trace");
    let with_failpoints = command(&board.url, folder.path());
    let mut command = Command::new("strace");
    // -D: the sidecar is our child, and strace only looks on.
    command.args(["-D", "-f", "-y", "-s", "1000000", "-o"]).arg(&trace);
    command.args(["-e", "trace=write,writev,sendto,sendmsg,pwrite64,pwritev,fsync,fdatasync"]);
    for sync in ["fsync", "fdatasync"] {
        command.args(["-e", &format!("inject={sync}:delay_exit={SLOW_SYNC_US}")]);
    }
    command.arg(with_failpoints.get_program()).args(with_failpoints.get_args());
    for (name, value) in with_failpoints.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command.envs(without.map(|rule| ("COMMENTD_WITHOUT", rule)));
    let sidecar = ServingProcess::start(command);
    std::thread::scope(|scope| {
        for client in 0..CLIENTS {
            let sidecar = &sidecar;
            scope.spawn(move || {
                for call in 0..CALLS {
                    let (status, reply) = batch(sidecar, &format!("{client}-{call}"), &COMMENTS, 20_000);
                    assert_eq!(status, 200, "{reply}");
                }
            });
        }
    });
    let process = sidecar.id();
    sidecar.terminate();
    let proof = prove(&Trace::parse(&whole(&trace, process)));
    // `scripts/evidence` reads this line.
    eprintln!(
        "\npower loss {} {{\"sent\":{},\"answered\":{},\"sent_early\":{},\"answered_early\":{}}}",
        without.unwrap_or("healthy"),
        proof.sent,
        proof.answered,
        proof.sent_early.len(),
        proof.answered_early.len()
    );
    proof
}

/// The trace, once strace has seen the process's last thread out.
fn whole(path: &Path, process: u32) -> Vec<u8> {
    let start = Instant::now();
    let end = format!("{process} ");
    loop {
        let trace = std::fs::read(path).unwrap();
        let last = trace.trim_ascii_end().rsplit(|byte| *byte == b'\n').next().unwrap_or_default();
        if last.starts_with(end.as_bytes()) && last.ends_with(b"+++") {
            return trace;
        }
        assert!(start.elapsed() < PATIENCE, "strace never said that process {process} has ended");
        std::thread::park_timeout(Duration::from_millis(10));
    }
}

#[test]
fn every_intent_is_on_the_disk_before_its_comment_leaves_and_every_result_before_its_answer() {
    if !can_trace() {
        return;
    }
    let proof = load(None);
    let comments = CLIENTS * CALLS * COMMENTS.len();
    assert!(proof.sent >= comments, "of {comments} comments {} were seen leaving", proof.sent);
    assert_eq!(proof.answered, comments, "not every answer was seen");
    assert_eq!(proof.sent_early, [""; 0]);
    assert_eq!(proof.answered_early, [""; 0]);
}

#[test]
fn a_comment_that_leaves_before_its_intent_is_on_the_disk_is_seen() {
    if can_trace() {
        let proof = load(Some("intent_before_send"));
        assert!(!proof.sent_early.is_empty(), "{proof:?}");
    }
}

#[test]
fn an_answer_before_its_result_is_on_the_disk_is_seen() {
    if can_trace() {
        let proof = load(Some("settling_before_answer"));
        assert!(!proof.answered_early.is_empty(), "{proof:?}");
        assert_eq!(proof.sent_early, [""; 0]);
    }
}
