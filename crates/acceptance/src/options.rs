//! The settings of a run, checked: what is here can be run.

use crate::address::{Address, secrets_on_command_line};
use crate::args::AcceptArgs;
use crate::error::AcceptError;
use crate::settings::{self, Env, TargetContext, pick};
use commentd_contract::limits::{MAX_BATCH_COMMENTS, MAX_CONTENT_BYTES};
use commentd_contract::{Addressing, ProviderName};
use secrecy::SecretString;
use std::path::{Path, PathBuf};
use url::Url;

/// Most rounds without `--soak`.
const MAX_ROUNDS: u64 = 5;
/// Most rounds with it.
const MAX_SOAK_ROUNDS: u64 = 100_000;
/// Longest pause and target, in milliseconds (an hour).
const MAX_WAIT_MS: u64 = 3_600_000;
/// Longest time for a request, in milliseconds; as long as the contract's longest deadline.
const MAX_TIMEOUT_MS: u64 = 600_000;
/// Longest comment prefix, in characters.
const MAX_PREFIX_CHARS: usize = 64;
/// What a comment's name may add to its prefix, in bytes: dashes, run, round, place and a space.
const NAME_BYTES: usize = 32;
/// Where the workspace of the older tools keeps what was captured last, below the directory that it is started in.
const LATEST_CONTEXT: &str = "local_workspace/http_context/latest_context.json";
/// A sidecar answers within this if no deadline is asked for, in milliseconds.
pub(crate) const SIDECAR_DEFAULT_DEADLINE_MS: u64 = 1000;

/// The settings of a run. Made by [`AcceptArgs::check`], whose ranges the fields name.
#[derive(Clone, Debug)]
pub struct AcceptOptions {
    /// Rounds to run: 1–5, with `soak` up to 100000.
    pub rounds: u32,
    /// Comments in a batch: 1–1000.
    pub count: u32,
    /// How many of them at a time, at least 1; the sidecar clamps it.
    pub concurrency: u32,
    /// The p95 of the batch latencies must be under this, in milliseconds: 1–3600000.
    pub target_ms: u64,
    /// What every comment starts with: 1–64 characters, no control characters.
    pub comment_prefix: String,
    /// Pause between two rounds, in milliseconds: 0–3600000.
    pub round_interval_ms: u64,
    /// Whether the run ends after the first round that is not strict.
    pub fail_fast: bool,
    /// Where the report goes; `None` for a new file in `acceptance_reports`.
    pub report_file: Option<PathBuf>,
    /// The sidecar's address: http, without credentials, query or fragment.
    pub base_url: Url,
    /// The same for people: credentials that were given in it as `***`.
    pub base_url_shown: String,
    /// From connecting to the reply's last byte, in milliseconds: 1–600000.
    pub timeout_ms: u64,
    /// Path of single comments, for the record: rounds are batches.
    pub comment_path: String,
    /// Path of batches, with a leading slash.
    pub batch_path: String,
    /// The provider that is expected.
    pub provider: ProviderName,
    /// The value of the `Authorization` header, whichever setting it came from.
    pub authorization: Option<SecretString>,
    /// Whether another provider than the expected one is a failure.
    pub require_provider_match: bool,
    /// Where the comments go.
    pub addressing: Addressing,
    /// Whether the target may be the one that was captured last, or be left to the sidecar's provider.
    pub use_latest_context: bool,
    /// The file that filled what the addressing flags left empty.
    pub context_file: Option<PathBuf>,
    /// The file that the contents came from.
    pub contents_file: Option<PathBuf>,
    /// Texts that follow the comments' names, going round; empty for names alone.
    pub contents: Vec<String>,
    /// Whether the target is read back after each round.
    pub verify: bool,
    /// Whether more than 5 rounds were allowed.
    pub soak: bool,
    /// Whether the caller prints the report as JSON.
    pub json: bool,
    /// Whether comments may be posted without asking a person first.
    pub yes: bool,
    /// Settings that have no effect, or an unlikely one: for people, before the run.
    pub warnings: Vec<String>,
}

impl AcceptArgs {
    /// Checks the arguments; where they are silent, the environment speaks, then the defaults.
    ///
    /// `env` is asked for the `PYWEIXIN_HTTP_…` variables. Reads `--context-file` and `--contents-file`
    /// (64 KiB and 16 MiB at most), blocking.
    ///
    /// # Errors
    /// [`AcceptError::Setting`] and [`AcceptError::File`]; both name the flag, the source of its value and
    /// what is allowed.
    pub fn check(self, env: Env<'_>) -> Result<AcceptOptions, AcceptError> {
        let mut warnings = self.warnings();
        let target = self.target(env, Path::new(LATEST_CONTEXT), &mut warnings)?;
        let rounds = self.rounds()?;
        let comment_prefix = self.prefix()?;
        let Address { url: base_url, shown: base_url_shown, authorization } =
            Address::check(self.http_base_url, self.http_authorization, env)?;
        let path = |flag, written, variable, default: &str| {
            pick(flag, written, Some(variable), env).map_or(Ok(default.to_owned()), |given| given.path())
        };
        let timeout = pick("--http-timeout-ms", self.http_timeout_ms, Some("PYWEIXIN_HTTP_TIMEOUT_MS"), env);
        let timeout_ms = timeout.map_or(Ok(1200), |given| given.number(1..=MAX_TIMEOUT_MS, " ms"))?;
        let target_ms = settings::number("--target-ms", self.target_ms, 1..=MAX_WAIT_MS, " ms", 1000)?;
        if timeout_ms < target_ms {
            warnings.push(format!(
                "--http-timeout-ms {timeout_ms} is under --target-ms {target_ms}: rounds end before they can \
                 miss the target"
            ));
        }
        let contents = match &self.contents_file {
            None => Vec::new(),
            Some(file) => settings::contents(file, MAX_CONTENT_BYTES - NAME_BYTES - comment_prefix.len())?,
        };
        Ok(AcceptOptions {
            rounds,
            count: narrow(settings::number("--count", self.count, 1..=MAX_BATCH_COMMENTS as u64, "", 10)?),
            concurrency: narrow(settings::number(
                "--concurrency",
                self.concurrency,
                1..=u64::from(u32::MAX),
                "",
                10,
            )?),
            target_ms,
            comment_prefix,
            round_interval_ms: settings::number(
                "--round-interval-ms",
                self.round_interval_ms,
                0..=MAX_WAIT_MS,
                " ms",
                300,
            )?,
            fail_fast: !self.no_fail_fast,
            report_file: self.report_file.filter(|path| !path.as_os_str().is_empty()),
            base_url,
            base_url_shown,
            timeout_ms,
            comment_path: path(
                "--http-comment-path",
                self.http_comment_path,
                "PYWEIXIN_HTTP_COMMENT_PATH",
                "/api/comment",
            )?,
            batch_path: path(
                "--http-batch-path",
                self.http_batch_path,
                "PYWEIXIN_HTTP_BATCH_PATH",
                "/api/comment/batch",
            )?,
            provider: provider(self.http_provider, env)?,
            authorization,
            require_provider_match: self.require_provider_match,
            addressing: target,
            use_latest_context: self.use_latest_context,
            context_file: self.context_file,
            contents_file: self.contents_file,
            contents,
            verify: self.verify,
            soak: self.soak,
            json: self.json,
            yes: self.yes,
            warnings,
        })
    }

    fn warnings(&self) -> Vec<String> {
        let mut warnings =
            secrets_on_command_line(self.http_base_url.as_deref(), self.http_authorization.is_some());
        if self.http_comment_path.is_some() {
            warnings.push("--http-comment-path has no effect: rounds are batches".into());
        }
        if self.use_latest_context && given(&self.sns_id) {
            warnings.push("--use-latest-context has no effect: --sns-id names the target".into());
        }
        warnings
    }

    fn rounds(&self) -> Result<u32, AcceptError> {
        let Some(given) = pick("--rounds", self.rounds.clone(), None, &|_| None) else {
            return Ok(narrow(MAX_ROUNDS));
        };
        let rounds = given.number(1..=MAX_SOAK_ROUNDS, "").ok().filter(|n| self.soak || *n <= MAX_ROUNDS);
        rounds.map(narrow).ok_or_else(|| {
            given.wrong(&if self.soak {
                format!("must be 1 to {MAX_SOAK_ROUNDS} with --soak")
            } else {
                format!("must be 1 to {MAX_ROUNDS}; more than {MAX_ROUNDS} rounds need --soak")
            })
        })
    }

    fn prefix(&self) -> Result<String, AcceptError> {
        let Some(given) = pick("--comment-prefix", self.comment_prefix.clone(), None, &|_| None) else {
            return Ok("acc".into());
        };
        if given.text.chars().count() > MAX_PREFIX_CHARS || given.text.chars().any(char::is_control) {
            return Err(given.wrong(&format!(
                "must have 1 to {MAX_PREFIX_CHARS} characters, none of them a control one"
            )));
        }
        Ok(given.text)
    }

    /// `latest` is where the context that was captured last is, if there is one.
    fn target(
        &self,
        env: Env<'_>,
        latest: &Path,
        warnings: &mut Vec<String>,
    ) -> Result<Addressing, AcceptError> {
        let context = match &self.context_file {
            Some(file) => TargetContext::read("--context-file", file)?,
            None if self.use_latest_context && latest.exists() => {
                TargetContext::read("--use-latest-context", latest)?
            }
            None => {
                if self.use_latest_context && !given(&self.sns_id) {
                    warnings.push(format!(
                        "--use-latest-context: there is no {}, so the sidecar's provider chooses the target",
                        latest.display()
                    ));
                }
                TargetContext::default()
            }
        };
        let named = pick("--target-author", self.target_author.clone(), None, env);
        let author = self.author.clone().filter(|author| !author.is_empty());
        let author = match (author, named) {
            (Some(author), Some(named)) if author != named.text => {
                return Err(named.wrong(&format!("but [AUTHOR] is {author:?}; give one of them")));
            }
            (author, named) => author.or(named.map(|given| given.text)),
        };
        let or = |flag: &Option<String>, other: String| {
            flag.clone().filter(|text| !text.is_empty()).unwrap_or(other)
        };
        let addressing = Addressing {
            sns_id: or(&self.sns_id, context.target()),
            author: or(&author, context.author()),
            content_hash: or(&self.content_hash, context.content_hash.clone()),
            reply_to: or(&self.reply_to, context.reply_to.clone()),
            ..Addressing::default()
        };
        if self.verify && addressing.sns_id.is_empty() {
            return Err(AcceptError::Setting {
                flag: "--verify",
                given_by: "from the command line".into(),
                message: "has no target to read back; name it with --sns-id or --context-file".into(),
            });
        }
        Ok(addressing)
    }
}

fn given(text: &Option<String>) -> bool {
    text.as_ref().is_some_and(|text| !text.is_empty())
}

fn provider(written: Option<String>, env: Env<'_>) -> Result<ProviderName, AcceptError> {
    match pick("--http-provider", written, Some("PYWEIXIN_HTTP_PROVIDER"), env) {
        None => Ok(ProviderName::NativeHttp),
        Some(given) => ProviderName::parse(&given.text).ok_or_else(|| {
            let names = ProviderName::ALL.map(ProviderName::as_str).join(", ");
            given.wrong(&format!("must be one of {names}"))
        }),
    }
}

/// For numbers that their range keeps within 32 bits.
fn narrow(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests;
