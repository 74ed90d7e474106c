//! What the board has done to its clients, for those who judge them.

use crate::error::BoardError;
use crate::fault::Fault;
use serde::Serialize;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

#[derive(Serialize)]
struct JournalLine<'a> {
    number: u64,
    fault: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    late_ms: Option<u64>,
    texts: &'a [&'a str],
}

/// An open journal. Lines are short and go to the system's cache, so writing them holds nobody up.
#[derive(Debug)]
pub(crate) struct Journal {
    file: Mutex<File>,
}

impl Journal {
    pub(crate) fn open(path: PathBuf) -> Result<Self, BoardError> {
        let file = OpenOptions::new().create(true).append(true).open(&path);
        file.map(|file| Self { file: Mutex::new(file) })
            .map_err(|source| BoardError::Journal { path, source })
    }

    pub(crate) fn note(&self, number: u64, fault: &Fault, texts: &[&str]) {
        let late_ms = match fault {
            Fault::StoreLate { late_ms, .. } => Some(*late_ms),
            _ => None,
        };
        let line = JournalLine { number, fault: fault.name(), late_ms, texts };
        let Ok(mut bytes) = serde_json::to_vec(&line) else { return };
        bytes.push(b'\n');
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = file.write_all(&bytes) {
            tracing::error!(%error, number, "a fault could not be written to the journal");
        }
    }
}
