//! `commentd deliveries`: what became of comments, and a person's word about those that are unknown.
//!
//! - `source`: where they are: at the sidecar that holds the ledger, or in the ledger itself
//! - `show`: what is printed

mod show;
mod source;

use super::client::warn_of_secrets;
use crate::commands::flags::ServeFlags;
use crate::failure::{CommandResult, Failure, config_failure};
use crate::{console, logging};
use clap::ValueEnum;
use clap::builder::RangedU64ValueParser;
use commentd_contract::Outcome;
use commentd_contract::deliveries::{DeliveryView, ResolveRequest};
use secrecy::SecretString;
use source::{DeliverySource, ListFilter, SourceError};

/// See deliveries, and settle those that are unknown. Goes through the sidecar that holds the ledger, if one does.
/// Exit 0 if done, 1 if there is no such delivery or its record forbids it, 2 if it could not run.
#[derive(clap::Subcommand)]
pub enum DeliveriesCommand {
    /// List deliveries, the newest first
    List {
        /// Only those that came to this: delivered, held, misplaced, refused, not_sent or unknown
        #[arg(long, value_name = "OUTCOME", value_parser = outcome)]
        outcome: Option<Outcome>,
        /// Only the items of this key, in the order of their batch
        #[arg(long, value_name = "KEY")]
        key: Option<String>,
        /// At most this many, up to 1000
        #[arg(long, value_name = "N", default_value_t = 100,
            value_parser = RangedU64ValueParser::<u32>::new().range(1..=1000))]
        limit: u32,
        /// What all of these commands take.
        #[command(flatten)]
        common: SharedArgs,
    },
    /// Show one, with what the channel has that reads like it if it is unknown
    Show {
        /// The delivery's id, or the first digits of it
        #[arg(value_name = "ID")]
        id: String,
        /// What all of these commands take.
        #[command(flatten)]
        common: SharedArgs,
    },
    /// Say what an unknown delivery came to; look at the channel first. Recorded with who said it and when
    Resolve {
        /// The delivery's id, or the first digits of it
        #[arg(value_name = "ID")]
        id: String,
        /// What it came to
        #[arg(long, value_name = "OUTCOME")]
        outcome: SettledOutcome,
        /// The channel's id of the comment, if it is there
        #[arg(long, value_name = "ID", default_value = "", hide_default_value = true)]
        comment_id: String,
        /// Who says so [default: the user of this shell]
        #[arg(long, value_name = "NAME")]
        by: Option<String>,
        /// What all of these commands take.
        #[command(flatten)]
        common: SharedArgs,
    },
    /// Erase the content of one; its key, fingerprint and outcome stay
    Forget {
        /// The delivery's id, or the first digits of it
        #[arg(value_name = "ID")]
        id: String,
        /// What all of these commands take.
        #[command(flatten)]
        common: SharedArgs,
    },
}

/// What a person may say.
#[derive(Clone, Copy, Debug, ValueEnum)]
#[value(rename_all = "snake_case")]
pub enum SettledOutcome {
    /// The comment is there
    Delivered,
    /// It is there and awaits moderation
    Held,
    /// It is there, but not as it was asked for
    Misplaced,
    /// It isn't there; refused until the channel's settles_within has passed
    NotSent,
}

/// What all of these commands take.
#[derive(clap::Args)]
pub struct SharedArgs {
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Address of the sidecar [env: PYWEIXIN_HTTP_BASE_URL] [default: the one that holds the ledger]
    #[arg(long, value_name = "URL")]
    http_base_url: Option<String>,
    /// Value of the Authorization header [default: what the settings of the sidecar say]; prefer the environment:
    /// PYWEIXIN_HTTP_AUTHORIZATION, PYWEIXIN_HTTP_AUTH_BASIC, or PYWEIXIN_HTTP_USER and PYWEIXIN_HTTP_PASSWORD
    #[arg(long, value_name = "VALUE")]
    http_authorization: Option<SecretString>,
    /// The settings of `serve`, which say where the ledger is.
    #[command(flatten)]
    serve: ServeFlags,
}

impl std::fmt::Debug for DeliveriesCommand {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DeliveriesCommand").finish_non_exhaustive()
    }
}

fn outcome(word: &str) -> Result<Outcome, String> {
    Outcome::parse(word)
        .ok_or_else(|| "must be delivered, held, misplaced, refused, not_sent or unknown".to_owned())
}

pub(crate) async fn run(command: DeliveriesCommand) -> CommandResult {
    logging::start("warn", false);
    let (DeliveriesCommand::List { common, .. }
    | DeliveriesCommand::Show { common, .. }
    | DeliveriesCommand::Resolve { common, .. }
    | DeliveriesCommand::Forget { common, .. }) = &command;
    let json = common.json;
    let written = common.serve.clone().load().map_err(config_failure)?;
    warn_of_secrets(common.http_base_url.as_deref(), common.http_authorization.is_some(), Some(&written));
    let source =
        DeliverySource::open(written, common.http_base_url.clone(), common.http_authorization.clone())
            .await?;
    let ended = output_of(command, &source).await;
    source.close().await?;
    match ended {
        Ok(Output::List(deliveries)) => {
            say(json, &deliveries, |deliveries| show::list(deliveries))?;
            Ok(0)
        }
        Ok(Output::One(delivery)) => {
            say(json, delivery.as_ref(), show::one)?;
            Ok(0)
        }
        Err(SourceError::NotAllowed(reason)) => {
            console::complain(&reason);
            Ok(1)
        }
        Err(SourceError::Failed(failure)) => Err(failure),
    }
}

fn say<T: serde::Serialize>(json: bool, data: &T, for_people: impl Fn(&T) -> String) -> Result<(), Failure> {
    if json {
        console::say_json(&show::json(data)?)
    } else {
        console::say(&for_people(data))
    }
    Ok(())
}

/// What there is to print.
enum Output {
    List(Vec<DeliveryView>),
    One(Box<DeliveryView>),
}

async fn output_of(command: DeliveriesCommand, source: &DeliverySource) -> Result<Output, SourceError> {
    let one = |view: DeliveryView| Output::One(Box::new(view));
    match command {
        DeliveriesCommand::List { outcome, key, limit, .. } => {
            Ok(Output::List(source.list(&ListFilter { outcome, key, limit }).await?))
        }
        DeliveriesCommand::Show { id, .. } => Ok(one(source.show(&whole(source, &id).await?).await?)),
        DeliveriesCommand::Resolve { id, outcome, comment_id, by, .. } => {
            let by = by.or_else(user).ok_or_else(|| Failure("--by: say who settles it".into()))?;
            let outcome = match outcome {
                SettledOutcome::Delivered => Outcome::Delivered,
                SettledOutcome::Held => Outcome::Held,
                SettledOutcome::Misplaced => Outcome::Misplaced,
                SettledOutcome::NotSent => Outcome::NotSent,
            };
            let said = ResolveRequest { outcome, comment_id, by };
            said.check().map_err(|reason| Failure(format!("--{}", reason.replacen('_', "-", 1))))?;
            Ok(one(source.resolve(&whole(source, &id).await?, &said).await?))
        }
        DeliveriesCommand::Forget { id, .. } => Ok(one(source.forget(&whole(source, &id).await?).await?)),
    }
}

/// The name that this shell's user has.
fn user() -> Option<String> {
    let name = ["USER", "USERNAME", "LOGNAME"].iter().find_map(|name| std::env::var(name).ok());
    name.filter(|name| !name.is_empty())
}

/// The whole id of which these are the first digits, among the thousand newest deliveries and the thousand newest
/// unknown ones.
async fn whole(source: &DeliverySource, digits: &str) -> Result<String, SourceError> {
    const WHOLE: usize = 32;
    let digits = digits.to_ascii_lowercase();
    if digits.is_empty() || digits.len() > WHOLE || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return Err(Failure(format!("ID: must be up to {WHOLE} hexadecimal digits, is {digits:?}")).into());
    }
    if digits.len() == WHOLE {
        return Ok(digits);
    }
    let mut ids = std::collections::BTreeSet::new();
    for outcome in [None, Some(Outcome::Unknown)] {
        let listed = source.list(&ListFilter { outcome, key: None, limit: 1000 }).await?;
        ids.extend(listed.into_iter().map(|view| view.id).filter(|id| id.starts_with(&digits)));
    }
    match (ids.pop_first(), ids.is_empty()) {
        (Some(id), true) => Ok(id),
        (Some(_), false) => Err(SourceError::NotAllowed(format!(
            "more than one delivery starts with {digits}; give more digits"
        ))),
        (None, _) => Err(SourceError::NotAllowed(format!("no delivery starts with {digits}"))),
    }
}
