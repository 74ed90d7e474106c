//! The command line of `commentd accept`, as written.

use secrecy::SecretString;
use std::fmt;
use std::path::PathBuf;

/// The arguments of an acceptance run as they were written; nothing is checked yet.
///
/// Every value is optional, and an empty one counts as not given. [`AcceptArgs::check`] applies the
/// environment and the defaults.
#[derive(Clone, Default, clap::Args)]
pub struct AcceptArgs {
    /// Name of the target's author, a hint to find the target (the same as --target-author)
    #[arg(value_name = "AUTHOR")]
    pub author: Option<String>,
    /// Rounds to run, 1 to 5; more needs --soak [default: 5]
    #[arg(long, value_name = "N")]
    pub rounds: Option<String>,
    /// Comments in each round's batch, 1 to 1000 [default: 10]
    #[arg(long, value_name = "N")]
    pub count: Option<String>,
    /// Comments that the sidecar may have under way at once; it clamps this to its own limit [default: 10]
    #[arg(long, value_name = "N")]
    pub concurrency: Option<String>,
    /// The p95 of the batch latencies must be under this, in milliseconds [default: 1000]
    #[arg(long, value_name = "MS")]
    pub target_ms: Option<String>,
    /// What every comment starts with: PREFIX-r01-c01, with --verify PREFIX-RUN-r01-c01 [default: acc]
    #[arg(long, value_name = "TEXT")]
    pub comment_prefix: Option<String>,
    /// Pause between two rounds, in milliseconds [default: 300]
    #[arg(long, value_name = "MS")]
    pub round_interval_ms: Option<String>,
    /// Stop after the first round in which something failed (the default)
    #[arg(long, overrides_with = "no_fail_fast")]
    pub fail_fast: bool,
    /// Run every round, whatever fails
    #[arg(long, overrides_with = "fail_fast")]
    pub no_fail_fast: bool,
    /// Where the report goes [default: acceptance_reports/accept-TIME-RUN.json]
    #[arg(long, value_name = "FILE")]
    pub report_file: Option<PathBuf>,
    /// Address of the sidecar [env: PYWEIXIN_HTTP_BASE_URL] [default: http://127.0.0.1:19080]
    #[arg(long, value_name = "URL")]
    pub http_base_url: Option<String>,
    /// The longest a request may take from connecting to the reply's last byte, in milliseconds
    /// [env: PYWEIXIN_HTTP_TIMEOUT_MS] [default: 1200]
    #[arg(long, value_name = "MS")]
    pub http_timeout_ms: Option<String>,
    /// Path of single comments; rounds are batches and don't use it [env: PYWEIXIN_HTTP_COMMENT_PATH]
    /// [default: /api/comment]
    #[arg(long, value_name = "PATH")]
    pub http_comment_path: Option<String>,
    /// Path of batches [env: PYWEIXIN_HTTP_BATCH_PATH] [default: /api/comment/batch]
    #[arg(long, value_name = "PATH")]
    pub http_batch_path: Option<String>,
    /// The provider that is asked for: mock, native_http, real_hook or real_ui; a sidecar whose primary is another
    /// one refuses the rounds [env: PYWEIXIN_HTTP_PROVIDER] [default: native_http]
    #[arg(long, value_name = "PROVIDER")]
    pub http_provider: Option<String>,
    /// Value of the Authorization header, such as "Bearer …"; other users of this machine can see a command
    /// line, so prefer PYWEIXIN_HTTP_AUTHORIZATION, PYWEIXIN_HTTP_AUTH_BASIC or PYWEIXIN_HTTP_USER and
    /// PYWEIXIN_HTTP_PASSWORD in the environment
    #[arg(long, value_name = "VALUE")]
    pub http_authorization: Option<SecretString>,
    /// Ask for --http-provider in the replies, too: a sidecar of another provider is not run against, and a comment
    /// that a fallback carried has failed
    #[arg(long)]
    pub require_provider_match: bool,
    /// The target: the post, page or thread
    #[arg(long, value_name = "ID")]
    pub sns_id: Option<String>,
    /// Name of the target's author, a hint to find the target
    #[arg(long, value_name = "NAME")]
    pub target_author: Option<String>,
    /// A hash of the target's content, a hint to find the target
    #[arg(long, value_name = "HASH")]
    pub content_hash: Option<String>,
    /// The comment that every comment of the run answers
    #[arg(long, value_name = "ID")]
    pub reply_to: Option<String>,
    /// Where neither --sns-id nor --context-file names a target: take the one of
    /// local_workspace/http_context/latest_context.json, and where that file isn't there, let the sidecar's provider
    /// choose (the target stays empty in the requests)
    #[arg(long)]
    pub use_latest_context: bool,
    /// JSON file with sns_id, author, content_hash and reply_to, used where their flags are absent
    #[arg(long, value_name = "FILE")]
    pub context_file: Option<PathBuf>,
    /// JSON file with an array of texts that follow the comments' names, going round when they run out
    #[arg(long, value_name = "FILE")]
    pub contents_file: Option<PathBuf>,
    /// Read the target back after each round and count every comment: exactly once, missing, duplicate
    #[arg(long)]
    pub verify: bool,
    /// Allow more than 5 rounds
    #[arg(long)]
    pub soak: bool,
    /// Post without asking, where a terminal is attached and the comments go to other than a board
    #[arg(long)]
    pub yes: bool,
    /// Print the report as JSON instead of the summary
    #[arg(long)]
    pub json: bool,
}

impl fmt::Debug for AcceptArgs {
    /// Shows no values: the address may carry a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AcceptArgs").finish_non_exhaustive()
    }
}
