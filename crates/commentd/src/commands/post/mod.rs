//! `commentd post`: one comment, or a file of them that a second run goes on with.
//!
//! - `file`: the comments of a file, with their keys
//! - `state`: what is kept beside the file, and when it forbids to send
//! - `sidecar`: the sidecar that posts
//! - `request`: one comment's request, and what its reply means
//! - `show`: what is printed

mod file;
mod request;
mod show;
mod sidecar;
mod state;

use super::client::warn_of_secrets;
use crate::commands::flags::ServeFlags;
use crate::failure::{COULD_NOT_RUN, CommandResult, Failure, config_failure};
use crate::{console, logging, signals};
use clap::builder::RangedU64ValueParser;
use commentd_acceptance::{Address, given_base_url};
use commentd_contract::SystemClock;
use commentd_contract::limits::{MAX_CONTENT_BYTES, MAX_DEADLINE_MS, MIN_DEADLINE_MS};
use commentd_contract::{Addressing, IdempotencyKey, Outcome, Var};
use commentd_delivery::id::Ids;
use commentd_delivery::{Clock, Comment};
use commentd_sidecar::ids::SystemIds;
use file::{CommentFile, KeyedComment};
use futures_util::{FutureExt, StreamExt};
use indicatif::{ProgressBar, ProgressStyle};
use request::{GiveUp, Posted};
use secrecy::SecretString;
use show::OutcomeCounts;
use sidecar::{SidecarHealth, TargetSidecar};
use state::FileState;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Between two questions about what is unknown.
const SETTLE_EVERY: Duration = Duration::from_millis(500);
/// Digits of a file's name for its keys, hexadecimal: 64 bits, which with the comment's hash are a key.
const NAME_DIGITS: usize = 16;
/// After so many comments in a row that found no sidecar, no further one is tried.
const MOST_REFUSED: u32 = 3;

/// Post one comment, or a file of them, through the sidecar that holds the ledger, or without one.
#[derive(clap::Args)]
pub struct PostArgs {
    /// The comment's text; - reads it from standard input
    #[arg(value_name = "TEXT", required_unless_present = "file", conflicts_with = "file")]
    text: Option<String>,
    /// File of comments, a JSON object a line: content, and if need be sns_id, author, content_hash, reply_to, wxid,
    /// vars, idempotency_key. A second run sends what is missing; FILE.state keeps what that takes. The same line in
    /// another file is another comment. - reads standard input, which has no state
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// The target: the post, page or thread; with --file, of the lines that name none
    #[arg(long, visible_alias = "target", value_name = "ID", default_value = "", hide_default_value = true)]
    sns_id: String,
    /// Name of the target's author, a hint to find the target
    #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true)]
    author: String,
    /// A hash of the target's content, a hint to find the target
    #[arg(long, value_name = "HASH", default_value = "", hide_default_value = true)]
    content_hash: String,
    /// The comment that is answered
    #[arg(long, value_name = "ID", default_value = "", hide_default_value = true)]
    reply_to: String,
    /// The account of the older gateways' contract
    #[arg(long, value_name = "ID", default_value = "", hide_default_value = true)]
    wxid: String,
    /// A value for the channel's templates; may be given again
    #[arg(long = "var", value_name = "NAME=TEXT", value_parser = var)]
    vars: Vec<(String, String)>,
    /// The comment's key: the same key never posts twice [default: a new one]
    #[arg(long, value_name = "KEY", conflicts_with = "file")]
    idempotency_key: Option<String>,
    /// When each comment gets its answer, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 10_000,
        value_parser = RangedU64ValueParser::<u64>::new().range(MIN_DEADLINE_MS..=MAX_DEADLINE_MS))]
    deadline_ms: u64,
    /// Without a sidecar: how long to go on looking for comments whose outcome is unknown, in milliseconds from the
    /// last answer. Lookups end with this command, and one that proves absence takes its time; 0 looks once
    #[arg(long, value_name = "MS", default_value_t = 60_000,
        value_parser = RangedU64ValueParser::<u64>::new().range(0..=MAX_DEADLINE_MS))]
    settle_ms: u64,
    /// Comments of a file under way at once; 1 keeps their order
    #[arg(long, value_name = "N", default_value_t = 1,
        value_parser = RangedU64ValueParser::<u64>::new().range(1..=100))]
    concurrency: u64,
    /// Address of the sidecar [env: PYWEIXIN_HTTP_BASE_URL] [default: the one that holds the ledger]
    #[arg(long, value_name = "URL")]
    http_base_url: Option<String>,
    /// Value of the Authorization header; prefer PYWEIXIN_HTTP_AUTHORIZATION, PYWEIXIN_HTTP_AUTH_BASIC or
    /// PYWEIXIN_HTTP_USER and PYWEIXIN_HTTP_PASSWORD in the environment
    #[arg(long, value_name = "VALUE")]
    http_authorization: Option<SecretString>,
    /// Print a JSON object for each comment and one for the summary, a line each
    #[arg(long)]
    json: bool,
    /// Without a sidecar: the settings of `serve`.
    #[command(flatten)]
    serve: ServeFlags,
}

impl std::fmt::Debug for PostArgs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PostArgs").finish_non_exhaustive()
    }
}

fn var(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("must be NAME=TEXT")?;
    Ok((name.to_owned(), value.to_owned()))
}

pub(crate) async fn run(args: PostArgs) -> CommandResult {
    logging::start("warn", false);
    let stop = signals::stop_requested();
    let comments = comments_of(&args)?;
    // Those of the settings are told with the others, where they are used.
    warn_of_secrets(args.http_base_url.as_deref(), args.http_authorization.is_some(), None);
    let sidecar = find_sidecar(&args).await?;
    let ended = post(&args, comments, &sidecar, stop).await;
    if let Some(own) = sidecar.own {
        own.end().await?;
    }
    ended
}

/// What there is to post.
enum Comments {
    /// The comment of the command line.
    One(Box<KeyedComment>),
    /// The comments of a file, and the state beside it.
    File(CommentFile, Option<FileState>),
    /// Those of standard input.
    Input(CommentFile),
}

fn comments_of(args: &PostArgs) -> Result<Comments, Failure> {
    let texts = |(name, text): &(String, String)| (name.clone(), Var::Text(text.clone()));
    let addressing = Addressing {
        sns_id: args.sns_id.clone(),
        author: args.author.clone(),
        content_hash: args.content_hash.clone(),
        reply_to: args.reply_to.clone(),
        wxid: args.wxid.clone(),
        vars: args.vars.iter().map(texts).collect(),
    };
    let Some(content) = &args.text else {
        let path = args.file.as_deref().unwrap_or("".as_ref());
        let source = file::read(path, &addressing)?;
        return Ok(if path == Path::new("-") {
            Comments::Input(source)
        } else {
            // After the file is locked: the run before has written it by then.
            Comments::File(source, FileState::read(&state::path_of(path))?)
        });
    };
    let content = &if content == "-" { standard_input()? } else { content.clone() };
    if content.is_empty() || content.len() > MAX_CONTENT_BYTES {
        return Err(Failure(format!(
            "TEXT: must have 1 to {MAX_CONTENT_BYTES} bytes, has {}",
            content.len()
        )));
    }
    let key = match &args.idempotency_key {
        Some(key) => IdempotencyKey::parse(key)
            .map_err(|error| Failure(format!("--idempotency-key: {error}")))?
            .to_string(),
        // Made here, so that it is known even if the sidecar doesn't answer.
        None => format!("post-{}", SystemIds.fresh().map_err(Failure)?),
    };
    addressing.check()?;
    let comment = Comment { content: content.clone(), addressing: addressing.into() };
    Ok(Comments::One(Box::new(KeyedComment { line: 0, comment, key })))
}

/// A comment's text from standard input, without the line break that ends it.
fn standard_input() -> Result<String, Failure> {
    let mut text = String::new();
    let most = MAX_CONTENT_BYTES as u64 + 3;
    std::io::stdin()
        .take(most)
        .read_to_string(&mut text)
        .map_err(|error| Failure(format!("TEXT: standard input can't be read: {error}; nothing was sent")))?;
    let end = text.strip_suffix('\n').map(|line| line.strip_suffix('\r').unwrap_or(line).len());
    text.truncate(end.unwrap_or(text.len()));
    Ok(text)
}

async fn find_sidecar(args: &PostArgs) -> Result<TargetSidecar, Failure> {
    let env = |name: &str| std::env::var(name).ok();
    let authorization = args.http_authorization.clone();
    match given_base_url(args.http_base_url.clone(), &env) {
        Some(url) => sidecar::named(url, authorization, &env),
        None => {
            let written = args.serve.clone().load().map_err(config_failure)?;
            sidecar::by_ledger(written, authorization, &env).await
        }
    }
}

/// Posts the comments. What `stop` ends is only the start of further ones.
async fn post(
    args: &PostArgs,
    comments: Comments,
    sidecar: &TargetSidecar,
    stop: impl Future<Output = ()>,
) -> CommandResult {
    let health = sidecar::health(&sidecar.address).await?;
    let clock = SystemClock::start();
    let Prepared { items, state, _source } = prepare(args, comments, &health, &clock)?;
    let mut tally = OutcomeCounts::of_total(items.len());
    let bar = bar(items.len());
    let address = &sidecar.address;
    let posting = |item: KeyedComment| {
        let forgotten = state.as_ref().is_some_and(|state| !state.may_send(&item.key, clock.unix_ms()));
        async move {
            if forgotten {
                let message =
                    "its retention passed while this command ran; what became of it earlier is forgotten";
                return Err(GiveUp(format!("line {}: {message}", item.line)));
            }
            request::send(address, item, args.deadline_ms).await
        }
    };
    let concurrency = usize::try_from(args.concurrency).unwrap_or(1);
    let stop = stop.shared();
    let mut answers = std::pin::pin!(
        futures_util::stream::iter(items).take_until(stop.clone()).map(posting).buffer_unordered(concurrency)
    );
    let mut give_up = None;
    let mut unknown = Vec::new();
    let mut refused = 0;
    while let Some(answer) = answers.next().await {
        match answer {
            Ok(posted) if posted.outcome == Outcome::Unknown => unknown.push(posted),
            Ok(posted) => {
                tally.count(&posted);
                bar.suspend(|| tell(&posted, args.json));
                bar.inc(1);
                refused = if posted.connected { 0 } else { refused + 1 };
                if refused == MOST_REFUSED {
                    give_up = Some(GiveUp(unreachable(args, address, &posted)));
                    break;
                }
            }
            // Those that are under way are seen through by the sidecar; what they came to, the next run tells.
            Err(reason) => {
                give_up = Some(reason);
                break;
            }
        }
    }
    if sidecar.own.is_some() && give_up.is_none() {
        tokio::select! {
            // Whatever was asked for is seen through and recorded; only the answer is lost.
            () = stop => {}
            () = settle(args, address, &clock, &mut unknown) => {}
        }
    }
    for posted in &unknown {
        tally.count(posted);
        bar.suspend(|| tell(posted, args.json));
        bar.inc(1);
    }
    bar.finish_and_clear();
    let code = if give_up.is_some() { COULD_NOT_RUN } else { tally.exit_code() };
    if args.json {
        console::say_json(&tally.json(code));
    } else if args.file.is_some() {
        console::say(&tally.summary());
    }
    match give_up {
        Some(GiveUp(reason)) => Err(Failure(reason)),
        None => Ok(code),
    }
}

/// Why no further comment is tried, and how to go on.
fn unreachable(args: &PostArgs, address: &Address, last: &Posted) -> String {
    let go_on = match args.file.as_deref() {
        Some(file) if file != Path::new("-") => "run the same command again: it sends only what is missing",
        _ => "send again what isn't told as delivered",
    };
    format!(
        "{}: {MOST_REFUSED} comments in a row found no sidecar there ({}), so no further one was tried. Start it, \
         then {go_on}",
        address.shown, last.message
    )
}

/// Asks again for what is unknown until all of it is certain or the time is up. What turns out not to be there is sent
/// by this, too: that is what asking again with a key means.
async fn settle(args: &PostArgs, address: &Address, clock: &SystemClock, unknown: &mut [Posted]) {
    let end = clock.now() + Duration::from_millis(args.settle_ms);
    while clock.now() < end && unknown.iter().any(|posted| posted.outcome == Outcome::Unknown) {
        tokio::time::sleep(SETTLE_EVERY).await;
        for posted in unknown.iter_mut().filter(|posted| posted.outcome == Outcome::Unknown) {
            // A sidecar that doesn't answer (any more) leaves it as it is.
            if let Ok(again) = request::send(address, posted.item.clone(), args.deadline_ms).await {
                *posted = again;
            }
        }
    }
}

/// The comments with their keys, and the state beside their file.
struct Prepared {
    items: Vec<KeyedComment>,
    state: Option<FileState>,
    _source: Option<CommentFile>,
}

impl Prepared {
    /// With this name for the file, and nothing beside it.
    fn without_state(mut source: CommentFile, name: &str) -> Self {
        let items = std::mem::take(&mut source.entries).into_iter().map(|entry| entry.item(name)).collect();
        Self { items, state: None, _source: Some(source) }
    }
}

/// Gives the comments their keys, and writes the state beside the file, before anything is sent.
fn prepare(
    args: &PostArgs,
    comments: Comments,
    health: &SidecarHealth,
    clock: &SystemClock,
) -> Result<Prepared, Failure> {
    let fresh = || -> Result<String, Failure> {
        let id = SystemIds.fresh().map_err(Failure)?.to_string();
        Ok(id.chars().take(NAME_DIGITS).collect())
    };
    let (source, earlier) = match comments {
        Comments::One(item) => return Ok(Prepared { items: vec![*item], state: None, _source: None }),
        Comments::Input(source) => {
            if !health.dry_run {
                console::warn(
                    "standard input has no state: a second run sends all again, but for lines that bring an \
                     idempotency_key",
                );
            }
            return Ok(Prepared::without_state(source, &fresh()?));
        }
        Comments::File(source, earlier) => (source, earlier),
    };
    let file = args.file.as_deref().unwrap_or("".as_ref());
    if health.dry_run {
        return Ok(Prepared::without_state(source, &fresh()?));
    }
    let path = state::path_of(file);
    let wrong = |reason: String| Failure(format!("{} {reason}; nothing was sent", path.display()));
    let Some(keeper) = &health.keeper else {
        if earlier.is_some() {
            return Err(wrong("belongs to a ledger on disk, and this one is in memory".into()));
        }
        console::warn("the ledger is in memory: after a restart, a second run sends the whole file again");
        return Ok(Prepared::without_state(source, &name_of_place(file)));
    };
    let first = earlier.is_none();
    let state = match earlier {
        Some(state) => state,
        None => FileState::new(fresh()?, keeper),
    };
    let kept = Prepared::without_state(source, &state.file);
    let keys = kept.items.iter().map(|item| item.key.as_str());
    let state = state.next(keeper, keys, clock.unix_ms()).map_err(wrong)?;
    state.write(&path, first)?;
    Ok(Prepared { state: Some(state), ..kept })
}

/// A name for a file beside which nothing is kept: where it is.
fn name_of_place(file: &Path) -> String {
    let place = file.canonicalize().unwrap_or_else(|_| file.to_owned()).display().to_string();
    let hash = Comment { content: place, ..Comment::default() }.fingerprint(1).0;
    hash.iter().take(NAME_DIGITS / 2).map(|byte| format!("{byte:02x}")).collect()
}

fn tell(posted: &Posted, json: bool) {
    if json { console::say_json(&show::json(posted)) } else { console::say(&show::line(posted)) }
}

/// A bar on a terminal, nothing elsewhere.
fn bar(comments: usize) -> ProgressBar {
    let bar = if comments > 1 { ProgressBar::new(comments as u64) } else { ProgressBar::hidden() };
    if let Ok(style) =
        ProgressStyle::with_template("  {pos} of {len} {wide_bar} {elapsed} (about {eta} left)")
    {
        bar.set_style(style);
    }
    bar
}
