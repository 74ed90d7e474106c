//! `commentd completions`: what a shell needs to complete our commands and flags.

use crate::console;
use clap::Command;
use clap_complete::Shell;

/// Print a shell's completions, to be sourced or put where the shell looks for them.
#[derive(Debug, clap::Args)]
pub struct CompletionsArgs {
    /// The shell
    shell: Shell,
}

pub(crate) fn run(args: &CompletionsArgs, commentd: &mut Command) -> u8 {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, commentd, "commentd", &mut script);
    console::say_as_it_is(String::from_utf8_lossy(&script).trim_end());
    0
}
