//! Hostile input for everything that reads what comes from outside.
//!
//! A target takes bytes and says what is wrong with what our code made of them. Its corpus, in `corpus/<target>/`, is
//! mutated by seed: an input is a function of target and number. Inputs are texts whose parts are separated by a line
//! `%%`, so that a corpus can be read and written by hand.

mod mutate;
pub mod targets;

use mutate::Mutator;
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
    /// What makes good mutations.
    words: &'static [&'static str],
}

/// An input that something is wrong with.
#[derive(Debug)]
pub struct Finding {
    /// The input.
    pub input: Vec<u8>,
    /// What is wrong.
    pub what: String,
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

    /// Feeds it this input; a panic is a finding, too.
    pub fn try_one(&self, input: &[u8]) -> Option<Finding> {
        let what = match catch_unwind(AssertUnwindSafe(|| (self.feed)(input))) {
            Ok(Ok(())) => return None,
            Ok(Err(what)) => what,
            Err(_) => "it panicked; its message is above".to_owned(),
        };
        Some(Finding { input: input.to_vec(), what })
    }

    /// The input of this number, made from the corpus.
    pub fn input(&self, corpus: &[Vec<u8>], number: u64) -> Vec<u8> {
        Mutator::new(number, self.words).mutate(corpus)
    }
}

/// The parts of an input, as texts; what isn't UTF-8 is replaced.
fn parts(input: &[u8]) -> Vec<String> {
    String::from_utf8_lossy(input).split("\n%%\n").map(str::to_owned).collect()
}
