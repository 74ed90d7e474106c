//! The worker that an earlier process has left at work, because it was killed.
//!
//! A worker is known by its start mark: its process id, and when it was started. On Linux the whole process group that it
//! leads is ended. On Windows there is nothing to do: the job that a worker is in ends with the process that made it.
//! On other systems a worker has only the end of its standard input to know by that it isn't needed any more.

use serde::{Deserialize, Serialize};
use std::io::{self, Write};
use std::path::Path;

/// Which worker it was.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Mark {
    /// Its process id, and that of the group that it leads.
    pid: u32,
    /// When it was started, in the system's own count.
    start: u64,
    /// Which run of the system that counts for.
    boot: String,
}

/// Writes down which worker runs. Whoever comes after us and can't read it ends nothing.
pub(super) fn leave_mark(path: &Path, pid: u32) {
    let Some(mark) = system::mark_of(pid) else { return };
    let written = serde_json::to_vec(&mark).map_err(io::Error::other).and_then(|text| write(path, &text));
    if let Err(error) = written {
        tracing::warn!(
            path = %path.display(),
            %error,
            "it can't be written down which UI worker runs; if this process is killed, end the worker by hand"
        );
    }
}

/// A new file, whatever stood under the name: a link isn't followed.
fn write(path: &Path, text: &[u8]) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    std::fs::File::create_new(path)?.write_all(text)
}

/// Ends the worker that is marked there, if it still runs, with its whole group.
///
/// # Errors
/// When it can't be ended; then no other one may be started.
pub(super) async fn end(path: &Path) -> Result<(), String> {
    let Ok(text) = std::fs::read(path) else { return Ok(()) };
    let Ok(mark) = serde_json::from_slice::<Mark>(&text) else { return Ok(()) };
    system::end(&mark).await
}

#[cfg(target_os = "linux")]
mod system {
    use super::Mark;
    use rustix::process::{Pid, Signal, kill_process_group};
    use std::time::Duration;

    /// How often, and how long after each time, it is looked whether a killed group is gone.
    const MOST_LOOKS: u32 = 200;
    const LOOK_AFTER: Duration = Duration::from_millis(10);

    /// A running process.
    struct Running {
        pid: u32,
        group: u32,
        start: u64,
    }

    fn boot() -> Option<String> {
        std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()
    }

    fn running(pid: u32) -> Option<Running> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name before it stands in brackets and may have any letters.
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        let (state, group, start) = (fields.first()?, fields.get(2)?, fields.get(19)?);
        if matches!(*state, "Z" | "X") {
            return None;
        }
        Some(Running { pid, group: group.parse().ok()?, start: start.parse().ok()? })
    }

    fn group(id: u32) -> Vec<Running> {
        let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
        let ids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        ids.filter_map(running).filter(|process| process.group == id).collect()
    }

    pub(super) fn mark_of(pid: u32) -> Option<Mark> {
        Some(Mark { pid, start: running(pid)?.start, boot: boot()? })
    }

    /// Whether these are the marked worker's: it was started when the mark says; or it is gone, and they are of its
    /// group, whose number nobody gets as long as one of them runs.
    fn are_of(group: &[Running], mark: &Mark) -> bool {
        if boot().as_deref() != Some(mark.boot.as_str()) {
            return false;
        }
        match group.iter().find(|process| process.pid == mark.pid) {
            Some(leader) => leader.start == mark.start,
            None => group.iter().all(|process| process.start >= mark.start),
        }
    }

    pub(super) async fn end(mark: &Mark) -> Result<(), String> {
        let left = group(mark.pid);
        let leader = i32::try_from(mark.pid).ok().and_then(Pid::from_raw);
        let Some(leader) = leader.filter(|_| !left.is_empty() && are_of(&left, mark)) else { return Ok(()) };
        tracing::warn!(pid = mark.pid, "an earlier process has left its UI worker at work; it is ended");
        let failed = |why: &dyn std::fmt::Display| {
            format!("an earlier process has left its worker (process group {}) at work: {why}", mark.pid)
        };
        kill_process_group(leader, Signal::KILL).map_err(|error| failed(&error))?;
        for _ in 0..MOST_LOOKS {
            if group(mark.pid).is_empty() {
                return Ok(());
            }
            tokio::time::sleep(LOOK_AFTER).await;
        }
        Err(failed(&"it doesn't end; end it by hand"))
    }

    #[cfg(test)]
    mod tests {
        use super::*;
        use std::os::unix::process::CommandExt;
        use std::process::{Command, Stdio};

        #[tokio::test]
        async fn only_the_process_that_was_marked_is_ended() {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("mark");
            let mut child =
                Command::new("sleep").arg("3600").stdin(Stdio::null()).process_group(0).spawn().unwrap();
            super::super::leave_mark(&path, child.id());
            let mark: Mark = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
            for other in [
                Mark { start: mark.start + 1, boot: mark.boot.clone(), ..mark },
                Mark { boot: "another".into(), ..mark },
            ] {
                super::super::write(&path, &serde_json::to_vec(&other).unwrap()).unwrap();
                super::super::end(&path).await.unwrap();
                assert!(child.try_wait().unwrap().is_none(), "it isn't the one of {other:?}");
            }
            super::super::leave_mark(&path, child.id());
            super::super::end(&path).await.unwrap();
            assert!(!child.wait().unwrap().success());
            super::super::end(&path).await.expect("there is nothing left to end");
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod system {
    use super::Mark;

    pub(super) fn mark_of(_pid: u32) -> Option<Mark> {
        None
    }

    pub(super) async fn end(_mark: &Mark) -> Result<(), String> {
        Ok(())
    }
}
