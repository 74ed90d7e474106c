//! A manifest as people write it. Every key is documented here; unknown keys are errors.
//!
//! Where a value is called an *expression*, a TOML string is a MiniJinja expression (a literal text stands in
//! quotes of its own: `"'text'"`), and a number or boolean stands for itself.

use serde::Deserialize;
use std::collections::BTreeMap;

/// A whole manifest.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WrittenManifest {
    /// The format; always 1.
    pub manifest: u32,
    /// The channel's name on the command line.
    pub name: String,
    /// Older names that still work.
    #[serde(default)]
    pub aliases: Vec<String>,
    /// Counts up when requests or verdicts change.
    pub version: u32,
    /// One line for `channels list`.
    pub summary: String,
    /// What `sns_id` means here.
    pub target: String,
    /// What `reply_to` means here.
    pub reply: String,
    /// Who comments, as an expression over the settings; part of where an attempt was sent.
    pub account: Option<String>,
    /// The settings, by name.
    #[serde(default)]
    pub settings: BTreeMap<String, WrittenSetting>,
    /// What carries the delivery id through the channel: an expression that gives a text, or none.
    pub marker: Option<String>,
    /// The request that carries the comment.
    pub send: WrittenRequest,
    /// What replies mean; the first match wins, no match is `unknown`.
    #[serde(rename = "verdict")]
    pub verdicts: Vec<WrittenVerdict>,
    /// The channel's id of the stored comment: an expression over the reply.
    pub receipt: Option<String>,
    /// What must be ours in a reply: an expression over the reply. If it is false, the reply is another's and the
    /// attempt is `unknown`, whatever else the reply says. If it is true, the receipt is ours: nobody else may claim
    /// it, and a lookup knows the comment by it. None says neither; so it must be none where a refusal repeats nothing
    /// of ours.
    pub echo: Option<String>,
    /// Whether the channel itself wrote the reply, and nothing that stands before it (a proxy, a filter, a cache): an
    /// expression over the reply. Only then is a verdict without effect believed. Absent: the body is a JSON object or
    /// list. It doesn't stand for the channel's own words in a rule, since others answer in JSON, too.
    pub from_channel: Option<String>,
    /// What a comment must have; asked before anything is sent.
    #[serde(rename = "require", default)]
    pub required: Vec<WrittenRequired>,
    /// The channel's own code and text in a reply that isn't a success.
    #[serde(default)]
    pub failure: WrittenFailure,
    /// How commentd shows who it is.
    #[serde(default)]
    pub auth: WrittenAuth,
    /// How to ask, without any effect, whether the channel would take comments from us at all.
    pub probe: Option<WrittenProbe>,
    /// How to ask whether a comment is there.
    pub lookup: Option<WrittenLookup>,
    /// The longest, in seconds, that a request which was cut off may still be stored: an expression over the
    /// settings. Absent: nobody knows, and not finding a comment proves nothing.
    pub settles_within_s: Option<toml::Value>,
    /// How long, in seconds, the channel deduplicates by our `Idempotency-Key`: an expression over the settings.
    /// Absent or none: it doesn't.
    pub deduplicates_within_s: Option<toml::Value>,
    /// What the channel bears.
    #[serde(default)]
    pub limits: WrittenLimits,
    /// Captured replies and what they must be taken for.
    #[serde(rename = "example", default)]
    pub examples: Vec<WrittenExample>,
}

/// What a comment must have.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WrittenRequired {
    /// An expression over comment and settings. Where it isn't true, nothing is sent, and the comment is `denied` with
    /// code 10.
    pub that: String,
    /// What to do, for people.
    pub message: String,
}

/// A setting.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WrittenSetting {
    /// What its value may be.
    #[serde(rename = "type")]
    pub kind: SettingKind,
    /// What it is for.
    pub help: String,
    /// Its value if none is given; without one it must be given.
    pub default: Option<toml::Value>,
}

impl WrittenSetting {
    /// Whether a secret stands in the manifest itself.
    pub(crate) fn has_written_secret(&self) -> bool {
        let is_empty = |value: &toml::Value| value.as_str().is_some_and(|text| text.trim().is_empty());
        self.kind == SettingKind::Secret && self.default.as_ref().is_some_and(|value| !is_empty(value))
    }
}

/// What a setting's value may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SettingKind {
    /// Any text.
    Text,
    /// A text that is never shown; from the environment or a file.
    Secret,
    /// A whole number.
    Integer,
    /// A number, with or without a fraction.
    Number,
    /// `true` or `false`.
    Boolean,
    /// A URL path that starts with `/`; may be used with `{+…}`.
    Path,
}

/// A request.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WrittenRequest {
    /// `GET`, `POST`, `PUT` or `PATCH`.
    pub method: String,
    /// Appended to the base URL. `{expression}` is percent-encoded, slashes included; `{+settings.name}` keeps
    /// the slashes of a setting of type `path`.
    pub path: String,
    /// DeliveryNames and expressions; `none` and `omit` leave a name out.
    #[serde(default)]
    pub query: BTreeMap<String, toml::Value>,
    /// DeliveryNames and expressions; `none` and `omit` leave a name out.
    #[serde(default)]
    pub headers: BTreeMap<String, toml::Value>,
    /// A tree of tables and arrays whose leaves are expressions; sent as JSON. `omit` leaves a leaf out.
    pub body: Option<toml::Value>,
    /// Instead of `body`: names and expressions, sent as an HTML form would be
    /// (`application/x-www-form-urlencoded`); `none` and `omit` leave a name out.
    pub form: Option<BTreeMap<String, toml::Value>>,
}

/// How commentd shows who it is. An empty secret sends no credentials.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WrittenAuth {
    /// How credentials go along; which of the other keys are needed depends on it.
    #[serde(default)]
    pub kind: AuthKind,
    /// For `basic`: the user's name, as an expression over the settings.
    pub user: Option<String>,
    /// For `basic`: the password, as an expression over the settings.
    pub password: Option<String>,
    /// For `bearer`, `header` and `query`: the secret, as an expression over the settings. For `token`: what is
    /// sent, as an expression that may use `token`; the token itself if absent.
    pub secret: Option<String>,
    /// For `header` and `query`, and for `token` with that `send_as`: the name of the header or query part.
    pub name: Option<String>,
    /// For `signature`: the keys, as expressions over the settings, each as Standard Webhooks writes them
    /// (`whsec_` and base64). All that aren't empty sign, so that a key can be changed without a gap.
    #[serde(default)]
    pub keys: Vec<String>,
    /// For `token`: the call that gives a token, at the channel's base URL. `forced` says in it whether the channel
    /// refused the last token.
    pub request: Option<WrittenRequest>,
    /// For `token`: the token, as an expression over the call's reply; `none` or empty says that we got none.
    pub token: Option<String>,
    /// For `token`: how long it is good, in seconds, as an expression over the call's reply; until the channel
    /// refuses it, if absent or none.
    pub expires_in_s: Option<toml::Value>,
    /// For `token`: how many seconds before its end a new one is fetched, as an expression over the settings; 300
    /// if absent. Never more than half of the time that it is good.
    pub renew_early_s: Option<toml::Value>,
    /// For `token`: at least so many seconds lie between two renewals that the channel's refusals force, as an
    /// expression over the settings; 30 if absent.
    pub renew_apart_s: Option<toml::Value>,
    /// For `token`: how the token goes along.
    #[serde(default)]
    pub send_as: SendAs,
}

/// How credentials go along.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AuthKind {
    /// There are none, or the request's own headers carry them.
    #[default]
    None,
    /// HTTP Basic.
    Basic,
    /// `Authorization: Bearer …`.
    Bearer,
    /// A header of any name.
    Header,
    /// A part of the query.
    Query,
    /// A token that a call gives; kept, and renewed before it expires. A verdict `denied` with code 54 gives the
    /// token up, and the comment is tried once more with a new one.
    Token,
    /// Signed as Standard Webhooks says: `webhook-id`, `webhook-timestamp`, `webhook-signature`.
    Signature,
}

/// How a token goes along.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SendAs {
    /// `Authorization: Bearer …`.
    #[default]
    Bearer,
    /// A header of any name.
    Header,
    /// A part of the query.
    Query,
}

/// How to ask, without any effect, whether the channel would take comments from us at all. A reply for which
/// neither expression is true leaves it open, and comments are tried.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WrittenProbe {
    /// The request.
    pub request: WrittenRequest,
    /// When the reply says yes: an expression over the reply.
    pub able: String,
    /// When the reply says no: an expression over the reply. Without it, the probe only shows that the channel is there.
    pub not_able: Option<String>,
    /// Why not, for people: an expression over the reply.
    pub reason: Option<String>,
}

/// A rule that turns a reply into a verdict. Either `is` with `when`, or `of` with `map`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WrittenVerdict {
    /// The verdict's name.
    pub is: Option<String>,
    /// The predicate over the reply.
    pub when: Option<String>,
    /// The value to look up in `map`; `none` matches nothing.
    pub of: Option<String>,
    /// From the value's text to the verdict's name.
    #[serde(default)]
    pub map: BTreeMap<String, String>,
    /// The verdict for a value that isn't in `map`; without it the next rule is asked.
    pub otherwise: Option<String>,
    /// The `error_code` of our reply; the verdict's usual one if absent.
    pub code: Option<u16>,
}

/// The channel's own words about a failure.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WrittenFailure {
    /// An expression over the reply.
    pub code: Option<String>,
    /// An expression over the reply.
    pub message: Option<String>,
    /// How long to wait, in seconds, where it isn't said by `Retry-After`: an expression over the reply.
    pub retry_after_s: Option<String>,
}

/// How to ask whether a comment is there.
///
/// A lookup finds a comment in one of three ways, and a text alone is none of them:
/// - by its *marker*: `ours` holds. It is only asked where the delivery has a marker.
/// - by its *receipt*: the item's `id` is the comment id of a reply whose `echo` was ours, although the attempt
///   ended unknown. Needs no words of its own here, only a `receipt` and an `echo` in the manifest.
/// - by its *slot*, where the channel keeps at most one comment in a place (one reply for each reader's comment):
///   `slot` names the item that is the place, `text` is what stands there, and the comment is ours if `ours` holds
///   or, without `ours`, if the text is the comment's. An empty slot, or one that holds another text, shows that
///   the comment isn't there; a slot that isn't among the items shows nothing.
///
/// Not finding it proves something only by the rules of `sees_every_state`, `complete` and `settles_within_s`.
/// Lookups are sent with `Cache-Control: no-cache`; against a cache that ignores it, put `nonce` into the query. A
/// reply that says of itself that it comes from a cache (`Age`, `X-Cache` and their like) may show the comment, and
/// never that it isn't there.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WrittenLookup {
    /// The request; `marker` is none when a whole target is read back. Beside what `send` may use there are
    /// `page`, which is none for the first page, and `receipt`, which is none where no reply gave one. It has
    /// headers of its own, so that it may read with other credentials than those that send.
    pub request: WrittenRequest,
    /// Credentials of the lookup's own; those of the channel if absent.
    pub auth: Option<WrittenAuth>,
    /// When the reply is an answer at all: an expression over the reply.
    pub answers: String,
    /// The stored comments, or the places for them if there is a `slot`: an expression over the reply that gives
    /// a list.
    pub items: String,
    /// Whether nothing that could match is left out: an expression over the reply, of several pages over the
    /// last.
    pub complete: String,
    /// What `page` is for the request of the following page (a number, an offset, a cursor), or none after the
    /// last: an expression over the reply. Absent: there is one page.
    pub next: Option<String>,
    /// Whether `item` is the one place where the comment would stand: an expression over the item. A manifest
    /// with a slot does well to give it a name that claims it: the same `id` here and as `receipt`, with `echo =
    /// "true"`; then a delivery doesn't take another one's comment in the slot for its own.
    pub slot: Option<String>,
    /// Whether `item` is this delivery's: an expression over the item. Needed unless there is a `slot`.
    pub ours: Option<String>,
    /// The item's comment id; empty or none if the channel gives it none.
    pub id: String,
    /// The item's text, as the channel keeps it; empty or none for an empty slot.
    pub text: String,
    /// What stands in the item where the marker would: an expression over the item, for example `item.link`. An item
    /// with exactly the comment's text and no delivery's marker there keeps a comment from being called absent: it
    /// may be the comment, with its marker dropped. Absent: every item with exactly the text does.
    pub marker_place: Option<String>,
    /// When the item was stored, in seconds since 1970: an expression over the item; none where it doesn't say.
    /// One that is more than a day older than the attempt isn't the comment.
    pub time: Option<String>,
    /// Whether no item of a later page can be younger than the oldest of this page: an expression over the reply.
    /// Then the lookup ends at a page with items that are too old. Needs `time`.
    pub newest_first: Option<String>,
    /// Most pages that one lookup reads, 1 to 10000: an expression over the settings; 100 if absent. A list with more
    /// gives no answer.
    pub max_pages: Option<toml::Value>,
    /// The longest page that is read, in bytes, 1 to 268435456: an expression over the settings; 8388608 (8 MiB) if
    /// absent. A longer one gives no answer.
    pub max_reply_bytes: Option<toml::Value>,
    /// In what state the item is; first match wins, no match is `delivered`.
    #[serde(rename = "state", default)]
    pub states: Vec<WrittenState>,
    /// Whether the lookup sees every stored state (approved, held, spam, trash, under a missing parent) with
    /// the credentials that it uses: an expression over the settings, for example `settings.unmoderated or
    /// settings.moderator_token != ''`.
    pub sees_every_state: toml::Value,
}

/// A state that a stored comment may be in.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WrittenState {
    /// `delivered`, `held` or `misplaced`.
    pub is: String,
    /// The predicate over the item.
    pub when: String,
}

/// What the channel bears.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WrittenLimits {
    /// The longest comment, in bytes of UTF-8; a longer one is `denied`.
    pub max_content_bytes: Option<usize>,
    /// How fast requests may follow each other, for example `["2 per 60s by target", "20 per 60s"]`; all hold at
    /// once. What doesn't start with a digit is an expression over the settings that gives such a text, or an empty
    /// one. A comment whose turn comes after its deadline is `not_sent`. Reads count where it isn't `by target`.
    #[serde(default)]
    pub pace: Vec<String>,
    /// Most requests at a time; more wait for their turn before their gate.
    pub concurrency: Option<usize>,
}

/// A captured reply and what it must be taken for.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WrittenExample {
    /// Says what it shows.
    pub name: String,
    /// Settings of this example, beside the defaults.
    #[serde(default)]
    pub settings: BTreeMap<String, toml::Value>,
    /// The comment that was sent.
    #[serde(default)]
    pub comment: WrittenComment,
    /// The delivery id, 32 hexadecimal digits; all zeros if absent.
    pub delivery_id: Option<String>,
    /// The reply to the request that carried the comment, or with `finds` the reply to the lookup.
    pub reply: WrittenReply,
    /// The verdict that the reply must give.
    pub verdict: Option<String>,
    /// What the lookup must find: `delivered`, `held`, `misplaced`, `nothing` (a complete scan without it) or
    /// `undetermined`.
    pub finds: Option<String>,
    /// With `finds`: the replies to the requests of the following pages. As many must be asked for, unless the
    /// comment is found before.
    #[serde(default)]
    pub then: Vec<WrittenReply>,
    /// With `finds`: the comment id of an earlier reply whose echo was ours, by which the lookup may know it.
    pub receipt: Option<String>,
    /// The comment id that must be read from it.
    pub comment_id: Option<String>,
}

/// The comment of an example.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WrittenComment {
    /// The text.
    #[serde(default)]
    pub content: String,
    /// The target.
    #[serde(default)]
    pub sns_id: String,
    /// The comment that it answers.
    #[serde(default)]
    pub reply_to: String,
    /// The account of the older gateways' contract.
    #[serde(default)]
    pub wxid: String,
}

/// A captured reply.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WrittenReply {
    /// The HTTP status.
    pub status: u16,
    /// Header names and values.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// The body, as it came.
    #[serde(default)]
    pub body: String,
}
