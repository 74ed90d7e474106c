//! `commentd-chaos`: see the library. Exits 0 without violations, 1 with some, 2 if it could not run.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "what a command prints is what it is for")]

use clap::Parser;
use commentd_chaos::options::ChaosOptions;
use commentd_chaos::{ChaosError, run};
use std::process::ExitCode;

fn main() -> ExitCode {
    let options = ChaosOptions::parse();
    match go(&options) {
        Ok(result) => {
            println!("{result}");
            ExitCode::from(u8::from(result.summary.violations > 0))
        }
        Err(failure) => {
            eprintln!("commentd-chaos: {failure}");
            ExitCode::from(2)
        }
    }
}

fn go(options: &ChaosOptions) -> Result<run::ChaosResult, ChaosError> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        #[cfg(unix)]
        let mut asked = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
        let stop = async {
            #[cfg(unix)]
            tokio::select! {
                _ = tokio::signal::ctrl_c() => {}
                _ = asked.recv() => {}
            }
            #[cfg(not(unix))]
            drop(tokio::signal::ctrl_c().await);
        };
        run::run(options, stop).await
    })
}
