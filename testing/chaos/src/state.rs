//! How far a run has come, in its directory.

use crate::error::ChaosError;
use crate::options::{ChannelKind, ChaosOptions, LedgerFault};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use tokio::net::TcpListener;

/// What makes two runs the same run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunIdentity {
    /// The channel.
    pub channel: ChannelKind,
    /// New keys in each life.
    pub keys: u64,
    /// The seed.
    pub seed: u64,
    /// How the ledger fails.
    pub ledger_fault: Option<LedgerFault>,
    /// The rule that is switched off.
    #[serde(alias = "sabotage")]
    pub without: Option<String>,
    /// What the sidecar is told of the channel's slowness, in seconds.
    pub settles_within_s: u64,
}

/// How far a run has come.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RunState {
    /// Which run it is.
    pub identity: RunIdentity,
    /// Lives that are over.
    pub lives: u64,
    /// How the lives ended.
    pub endings: BTreeMap<String, u64>,
    /// How often the run was begun or gone on with.
    pub starts: u64,
    /// Time that the run has taken, in milliseconds.
    pub took_ms: u64,
    /// The channel's port, taken free at the first start. A channel that is gone on with must be at the same address:
    /// what was sent to another one is looked up nowhere.
    pub port: u16,
    #[serde(skip)]
    path: PathBuf,
}

impl RunState {
    /// The state in the run's directory, or that of a new run. Creates the directory.
    ///
    /// # Errors
    /// When it can't be read, or belongs to another run.
    pub async fn load(options: &ChaosOptions) -> Result<Self, ChaosError> {
        let identity = RunIdentity {
            channel: options.channel,
            keys: options.keys,
            seed: options.seed,
            ledger_fault: options.ledger_fault,
            without: options.without.clone(),
            settles_within_s: options.settles_within_s,
        };
        std::fs::create_dir_all(&options.state)
            .map_err(|error| ChaosError(format!("--state {}: {error}", options.state.display())))?;
        let path = options.state.join("state.json");
        let mut state = if path.exists() {
            let state: RunState = serde_json::from_slice(&std::fs::read(&path)?)
                .map_err(|error| ChaosError(format!("{}: {error}; name another --state", path.display())))?;
            if state.identity != identity {
                return Err(ChaosError(format!(
                    "{} is of a run with other options ({}); name another --state",
                    path.display(),
                    serde_json::to_string(&state.identity)?
                )));
            }
            state
        } else {
            let port = take_port().await?;
            let (endings, path) = (BTreeMap::new(), PathBuf::new());
            Self { identity, lives: 0, endings, starts: 0, took_ms: 0, port, path }
        };
        state.path = path;
        state.starts += 1;
        state.save()?;
        Ok(state)
    }

    /// Takes in a life that is over.
    ///
    /// # Errors
    /// When it can't be written down.
    pub fn life_is_over(&mut self, ended: &str, took_ms: u64) -> Result<(), ChaosError> {
        self.lives += 1;
        *self.endings.entry(ended.to_owned()).or_default() += 1;
        self.took_ms += took_ms;
        self.save()
    }

    fn save(&self) -> Result<(), ChaosError> {
        write_whole(&self.path, &serde_json::to_vec_pretty(self)?)
    }
}

/// A free port that nobody else is given by chance. It must be free again at each start of the run, and the ports that
/// systems hand out (Linux: from 32768 on) are soon somebody's.
async fn take_port() -> Result<u16, ChaosError> {
    for _ in 0..100 {
        let port = fastrand::u16(10_000..32_000);
        if TcpListener::bind(("127.0.0.1", port)).await.is_ok() {
            return Ok(port);
        }
    }
    Err(ChaosError("no port between 10000 and 32000 is free".into()))
}

/// Writes a file so that it appears whole or not at all.
///
/// # Errors
/// When it can't be written.
pub fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), ChaosError> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(folder)
        .map_err(|error| ChaosError(format!("{}: {error}", path.display())))?;
    file.write_all(bytes)?;
    file.persist(path).map_err(|error| ChaosError(format!("{}: {}", path.display(), error.error)))?;
    Ok(())
}
