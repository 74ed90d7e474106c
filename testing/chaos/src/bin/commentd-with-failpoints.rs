//! commentd with failpoints, for tests of crashes; see `commentd_providers::failpoint`. With the name of a rule in
//! `COMMENTD_WITHOUT` it is broken on purpose; see `commentd_delivery::rule_switch`.

#![allow(clippy::print_stderr, reason = "a program for tests says what it doesn't understand")]

use commentd::cli::Cli;
use commentd_delivery::rule_switch;
use std::process::ExitCode;

fn main() -> ExitCode {
    die_with_parent();
    if let Ok(name) = std::env::var("COMMENTD_WITHOUT") {
        match name.parse() {
            Ok(rule) => rule_switch::switch_off(rule),
            Err(error) => {
                eprintln!("commentd-with-failpoints: COMMENTD_WITHOUT: {error}");
                return ExitCode::from(commentd::COULD_NOT_RUN);
            }
        }
    }
    Cli::from_command_line().run()
}

/// A run that was killed itself leaves nobody behind who holds its ledger.
fn die_with_parent() {
    #[cfg(target_os = "linux")]
    {
        let _ = rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL));
    }
}
