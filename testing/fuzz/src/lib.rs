//! Hostile input for everything that reads what comes from outside.
//!
//! A target takes bytes and says what is wrong with what our code made of them. `scripts/fuzz` runs each under
//! libFuzzer, which changes the inputs of `corpus/<target>/`, with the words of `dictionaries/`, towards code that no
//! input has reached yet. `cargo test` replays the corpora, and inputs near them, without libFuzzer. Inputs are texts
//! whose parts are separated by a line `%%`, so that a corpus can be read and written by hand.

pub mod targets;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::{fs, io};

/// One thing to be fed.
#[derive(Clone, Copy)]
pub struct Target {
    /// Its name, and its corpus's.
    pub name: &'static str,
    /// Feeds it.
    ///
    /// # Errors
    /// Says what is wrong.
    pub feed: fn(&[u8]) -> Result<(), String>,
}

impl Target {
    /// Its corpus, by file name.
    ///
    /// # Errors
    /// When it can't be read.
    pub fn corpus(&self) -> io::Result<Vec<(PathBuf, Vec<u8>)>> {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(self.name);
        let mut paths: Vec<PathBuf> =
            fs::read_dir(directory)?.map(|entry| Ok(entry?.path())).collect::<io::Result<_>>()?;
        paths.sort();
        paths.into_iter().map(|path| fs::read(&path).map(|bytes| (path, bytes))).collect()
    }

    /// Feeds it this input.
    ///
    /// # Errors
    /// Says what is wrong; a panic is wrong, too.
    pub fn try_one(&self, input: &[u8]) -> Result<(), String> {
        catch_unwind(AssertUnwindSafe(|| (self.feed)(input)))
            .unwrap_or_else(|_| Err("it panicked; its message is above".into()))
    }
}

/// The parts of an input, as texts; what isn't UTF-8 is replaced.
fn parts(input: &[u8]) -> Vec<String> {
    String::from_utf8_lossy(input).split("\n%%\n").map(str::to_owned).collect()
}
