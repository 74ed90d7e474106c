//! How a channel is asked whether a comment is there: page by page, by marker, receipt or slot.

use crate::judge::verdict_kind;
use crate::language::{Expr, plain};
use crate::leaf::Leaf;
use crate::reply::{ChannelReply, shortened};
use crate::request::{HttpRequest, RenderError, RequestTemplate};
use crate::scope::Scope;
use crate::written::{WrittenLookup, WrittenState};
use crate::{freshness, repair};
use commentd_contract::VerdictKind;
use commentd_delivery::lookup::{LookupResult, Unfound};
use commentd_delivery::verdict::{Effect, rule};
use minijinja::{Value, context};

/// Pages that a pager reads at most where the manifest doesn't say.
const MOST_PAGES: usize = 100;
/// The longest page that is read where the manifest doesn't say, in bytes (8 MiB).
const MOST_BYTES: usize = 8 << 20;
/// How far the channel's clock may be behind ours, in seconds. Wide: a clock may be set to a wrong time zone, and an
/// item that is too old by it is taken for none of ours.
const CLOCK_MARGIN_S: f64 = 86_400.0;
/// The length of a delivery id.
const ID_LEN: usize = 32;

/// How much a lookup reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LookupLimits {
    /// Most pages; a pager that would need more has no answer.
    pub max_pages: usize,
    /// The longest page, in bytes; a longer one has no answer.
    pub max_reply_bytes: usize,
}

/// What a lookup shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListResult {
    /// The comment, in this state.
    Found {
        /// `delivered`, `held` or `misplaced`.
        kind: VerdictKind,
        /// The channel's id of it; empty if it gives it none.
        comment_id: String,
        /// Whether it was known by its marker, so that the channel keeps markers.
        by_marker: bool,
    },
    /// Not the comment.
    NotFound {
        /// Whether everything was read that could be the comment, and it would have been known.
        complete: bool,
    },
    /// Not the comment as we would know it, but one with exactly its text and no delivery's marker, with this id: it
    /// may be the comment without its marker.
    Alike(String),
    /// No answer to the question, and why.
    NoAnswer(String),
}

/// A comment as it was read back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedComment {
    /// The channel's id.
    pub comment_id: String,
    /// The text as the channel keeps it.
    pub text: String,
}

#[derive(Clone, Debug)]
pub(crate) struct CompiledLookup {
    request: RequestTemplate,
    answers: Expr,
    items: Expr,
    complete: Expr,
    next: Option<Expr>,
    slot: Option<Expr>,
    ours: Option<Expr>,
    id: Expr,
    text: Expr,
    marker_place: Option<Expr>,
    time: Option<Expr>,
    newest_first: Option<Expr>,
    states: Vec<(VerdictKind, Expr)>,
    pub(crate) sees_every_state: Leaf,
    max_pages: Option<Leaf>,
    max_reply_bytes: Option<Leaf>,
}

/// A lookup under way: gives the request of each page and takes in its reply.
#[derive(Debug)]
pub struct LookupPager<'a> {
    lookup: &'a CompiledLookup,
    scope: Scope,
    /// Whether the channel carries a marker of this delivery.
    marked: bool,
    /// The comment id of a reply whose echo was ours; empty if there is none.
    receipt: String,
    limits: LookupLimits,
    page: Value,
    pages_read: usize,
    /// Items that are older can't be the comment, in seconds since 1970.
    since_s: Option<f64>,
    /// The id of an item with exactly our text and no marker.
    alike: Option<String>,
    /// The word by which a page says that it comes from a cache.
    stale: Option<String>,
    /// Why what was read is no answer, although it may show the comment.
    doubt: Option<String>,
}

/// One page that was read.
struct Page {
    /// What expressions over it see.
    values: Value,
    items: Vec<Value>,
    /// Whether another one is to be asked for.
    more: bool,
    /// Whether nothing is left out, this page being the last.
    complete: bool,
}

/// What reading a whole target gives.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReadBack {
    /// What could be read.
    pub items: Vec<ListedComment>,
    /// Why that isn't all, or isn't what is there now; empty if it is.
    pub doubt: String,
}

impl CompiledLookup {
    pub(crate) fn compile(written: &WrittenLookup) -> Result<Self, String> {
        let expr = |key: &str, source: &String| {
            Expr::compile(source).map_err(|error| format!("lookup.{key}: {error}"))
        };
        let optional =
            |key: &str, source: &Option<String>| source.as_ref().map(|source| expr(key, source)).transpose();
        let state = |state: &WrittenState| {
            let kind = verdict_kind(&state.is).map_err(|error| format!("lookup.state: {error}"))?;
            if rule(kind).effect != Effect::One {
                return Err(
                    "lookup.state: a comment that is there is delivered, held or misplaced".to_owned()
                );
            }
            Ok((kind, expr("state", &state.when)?))
        };
        let (slot, ours) = (optional("slot", &written.slot)?, optional("ours", &written.ours)?);
        match (&slot, &ours) {
            (Some(_), _) => {}
            (None, None) => {
                return Err("lookup.ours: is missing; say by what an item is known as this delivery's, for \
                     example item.link == marker, or name the slot that holds only one"
                    .into());
            }
            (None, Some(ours))
                if ours.uses("content") && !ours.uses("marker") && !ours.uses("delivery_id") =>
            {
                return Err(
                    "lookup.ours: a text alone proves nothing, because others write the same words; \
                     compare the marker, or name the slot that holds only one"
                        .into(),
                );
            }
            (None, Some(_)) => {}
        }
        if written.newest_first.is_some() && written.time.is_none() {
            return Err("lookup.newest_first: needs `time`, which says how old an item is".into());
        }
        let leaf = |key: &str, value: &Option<toml::Value>| {
            value.as_ref().map(Leaf::compile).transpose().map_err(|error| format!("lookup.{key}: {error}"))
        };
        Ok(Self {
            request: RequestTemplate::compile(&written.request)
                .map_err(|error| format!("lookup.request.{error}"))?,
            answers: expr("answers", &written.answers)?,
            items: expr("items", &written.items)?,
            complete: expr("complete", &written.complete)?,
            next: optional("next", &written.next)?,
            slot,
            ours,
            id: expr("id", &written.id)?,
            text: expr("text", &written.text)?,
            marker_place: optional("marker_place", &written.marker_place)?,
            time: optional("time", &written.time)?,
            newest_first: optional("newest_first", &written.newest_first)?,
            max_pages: leaf("max_pages", &written.max_pages)?,
            max_reply_bytes: leaf("max_reply_bytes", &written.max_reply_bytes)?,
            states: written.states.iter().map(state).collect::<Result<_, _>>()?,
            sees_every_state: Leaf::compile(&written.sees_every_state)
                .map_err(|error| format!("lookup.sees_every_state: {error}"))?,
        })
    }

    /// Whether it knows a comment by the place where it stands.
    pub(crate) fn has_slot(&self) -> bool {
        self.slot.is_some()
    }

    /// How much it reads with these settings.
    ///
    /// # Errors
    /// DeliveryNames the key.
    pub(crate) fn limits(&self, settings: &Value) -> Result<LookupLimits, String> {
        let number = |key: &str, leaf: &Option<Leaf>, default: usize, most: u64| {
            let given = match leaf {
                None => None,
                Some(leaf) => leaf.eval(settings).map_err(|error| format!("lookup.{key}: {error}"))?,
            };
            let Some(given) = given.filter(|given| !given.is_null()) else { return Ok(default) };
            let number = given.as_u64().filter(|number| (1..=most).contains(number));
            let number = number.and_then(|number| usize::try_from(number).ok());
            number.ok_or_else(|| format!("lookup.{key}: must be 1 to {most}, is {given}"))
        };
        Ok(LookupLimits {
            max_pages: number("max_pages", &self.max_pages, MOST_PAGES, 10_000)?,
            max_reply_bytes: number("max_reply_bytes", &self.max_reply_bytes, MOST_BYTES, 256 << 20)?,
        })
    }
}

impl<'a> LookupPager<'a> {
    pub(crate) fn new(
        lookup: &'a CompiledLookup,
        scope: &Scope,
        marked: bool,
        receipt: &str,
        limits: LookupLimits,
    ) -> Self {
        let known = if receipt.is_empty() { Value::from(()) } else { Value::from(receipt) };
        let since_s = scope.began_ms().map(|began_ms| began_ms as f64 / 1000.0 - CLOCK_MARGIN_S);
        let scope = scope.with(context! { receipt => known });
        Self {
            lookup,
            scope,
            marked,
            receipt: receipt.to_owned(),
            limits,
            page: Value::from(()),
            pages_read: 0,
            since_s,
            alike: None,
            stale: None,
            doubt: None,
        }
    }

    /// The request of the page that comes next.
    ///
    /// # Errors
    /// When an expression fails.
    pub fn request(&self) -> Result<HttpRequest, RenderError> {
        self.lookup.request.render(&self.paged().value())
    }

    /// The same without what is another in each lookup: what a cassette knows the request by.
    pub fn request_without_nonce(&self) -> Result<HttpRequest, RenderError> {
        self.lookup.request.render(&self.paged().with(context! { nonce => () }).value())
    }

    fn paged(&self) -> Scope {
        self.scope.with(context! { page => self.page.clone() })
    }

    /// Takes in the reply to [`LookupPager::request`]; `None` if the next page is to be asked for.
    ///
    /// # Errors
    /// When an expression fails on the reply.
    pub fn read_page(&mut self, reply: &ChannelReply) -> Result<Option<ListResult>, String> {
        let Some(page) = self.read(reply)? else {
            return Ok(Some(ListResult::NoAnswer(self.doubt.take().unwrap_or_else(|| said(reply)))));
        };
        let mut ends = false;
        for item in &page.items {
            let values = context! { item => item.clone(), ..page.values.clone() };
            match self.read_item(&values) {
                Ok(Some(seen)) => return Ok(Some(seen)),
                Ok(None) => {}
                // What somebody else wrote must not hide the rest.
                Err(error) => self.doubt(format!("an item of the list can't be read: {error}")),
            }
            ends |= self.time(&values).ok().flatten().is_some_and(|time| self.is_too_old(time));
        }
        // Whatever comes on later pages is older still.
        let newest_first = |expr: &Expr| expr.holds(&page.values);
        let ends = ends && self.lookup.newest_first.as_ref().map_or(Ok(false), newest_first)?;
        if page.more && !ends {
            if self.pages_read < self.limits.max_pages {
                return Ok(None);
            }
            self.doubt(self.too_many_pages());
        }
        // Where there is a slot, it wasn't among the items; whatever holds it isn't there to be asked.
        let would_be_known = self.marked && !self.lookup.has_slot();
        let complete = if page.more { self.lookup.complete.holds(&page.values)? } else { page.complete };
        Ok(Some(self.not_found(complete && would_be_known)))
    }

    /// What it means that the comment isn't among what was read. A reply that showed a stored comment never has effect
    /// none, whatever became of the comment since: with a receipt of ours, not finding it proves nothing.
    fn not_found(&mut self, complete: bool) -> ListResult {
        let complete = complete && self.receipt.is_empty();
        let unfound = Unfound { complete, stale: self.stale.take(), alike: self.alike.take() };
        match (unfound.finding(), self.doubt.take()) {
            (LookupResult::Alike(comment_id), _) => ListResult::Alike(comment_id),
            (_, Some(why)) | (LookupResult::Failed(why), None) => ListResult::NoAnswer(why),
            (LookupResult::NotFound { complete }, None) => ListResult::NotFound { complete },
            (LookupResult::Found(_) | LookupResult::CannotBeKnown, None) => {
                ListResult::NotFound { complete: false }
            }
        }
    }

    /// Keeps the first reason why what is read can't show that the comment isn't there.
    fn doubt(&mut self, why: String) {
        self.doubt.get_or_insert(why);
    }

    fn too_many_pages(&self) -> String {
        format!(
            "the channel's list has more than {} pages; let lookup.max_pages in its manifest allow more",
            self.limits.max_pages
        )
    }

    /// When the item was stored, in seconds since 1970; `None` if nothing says so.
    fn time(&self, values: &Value) -> Result<Option<f64>, String> {
        let Some(time) = &self.lookup.time else { return Ok(None) };
        let time = time.eval(values)?;
        Ok(f64::try_from(time).ok().filter(|seconds| seconds.is_finite()))
    }

    fn is_too_old(&self, time_s: f64) -> bool {
        self.since_s.is_some_and(|since_s| time_s < since_s)
    }

    /// `None` for an item that says nothing about the comment.
    fn read_item(&mut self, values: &Value) -> Result<Option<ListResult>, String> {
        let lookup = self.lookup;
        let mut by_marker = false;
        if let Some(slot) = &lookup.slot {
            if !slot.holds(values)? {
                return Ok(None);
            }
            let text = lookup.text.text(values)?;
            let is_ours = match &lookup.ours {
                Some(ours) => ours.holds(values)?,
                None => values.get_attr("content").is_ok_and(|content| content == Value::from(text.as_str())),
            };
            if text.is_empty() || !is_ours {
                return Ok(Some(self.not_found(true)));
            }
        } else {
            by_marker = match &lookup.ours {
                Some(ours) if self.marked => ours.holds(values)?,
                _ => false,
            };
            let by_receipt = !self.receipt.is_empty() && lookup.id.text(values)? == self.receipt;
            if !by_receipt && !by_marker {
                if self.alike.is_none() && self.is_alike(values)? {
                    self.alike = Some(lookup.id.text(values)?);
                }
                return Ok(None);
            }
        }
        let mut kind = VerdictKind::Delivered;
        for (state, when) in &lookup.states {
            if when.holds(values)? {
                kind = *state;
                break;
            }
        }
        Ok(Some(ListResult::Found { kind, comment_id: lookup.id.text(values)?, by_marker }))
    }

    /// Whether the item has exactly our text, no marker of any delivery, and isn't older than the attempt.
    fn is_alike(&self, values: &Value) -> Result<bool, String> {
        let text = plain(&self.lookup.text.text(values)?);
        let is_ours = values.get_attr("content").is_ok_and(|ours| ours.as_str().map(plain) == Some(text));
        // An item that doesn't say how old it is, or what stands where the marker would, is none to be sure of.
        let is_old = self.time(values).ok().flatten().is_some_and(|time| self.is_too_old(time));
        let place = self.lookup.marker_place.as_ref().and_then(|place| place.text(values).ok());
        Ok(is_ours && !is_old && !place.is_some_and(|place| has_marker(&place)))
    }

    /// Takes in the reply to [`LookupPager::request`] when a whole target is read back; true if it was the last page.
    ///
    /// # Errors
    /// When the reply is no answer, or an expression fails on the whole of it.
    pub fn collect_page(&mut self, reply: &ChannelReply, back: &mut ReadBack) -> Result<bool, String> {
        let Some(page) = self.read(reply)? else {
            return Err(self.doubt.take().unwrap_or_else(|| said(reply)));
        };
        let mut ends = false;
        for item in &page.items {
            let values = context! { item => item.clone(), ..page.values.clone() };
            let read = |expr: &Expr| expr.text(&values);
            match (read(&self.lookup.id), read(&self.lookup.text)) {
                (Ok(comment_id), Ok(text)) => {
                    let is_empty_slot = self.lookup.has_slot() && text.is_empty();
                    if !is_empty_slot {
                        back.items.push(ListedComment { comment_id, text });
                    }
                }
                (Err(error), _) | (_, Err(error)) => {
                    self.doubt(format!("an item of the list can't be read: {error}"));
                }
            }
            ends |= self.time(&values).ok().flatten().is_some_and(|time| self.is_too_old(time));
        }
        let newest_first = |expr: &Expr| expr.holds(&page.values);
        let ends = ends && self.lookup.newest_first.as_ref().map_or(Ok(false), newest_first)?;
        let more = page.more && !ends;
        if more && self.pages_read >= self.limits.max_pages {
            self.doubt(self.too_many_pages());
        } else if !page.more && !page.complete {
            self.doubt("the channel's answer isn't complete".into());
        }
        let is_last = !more || self.pages_read >= self.limits.max_pages;
        if let Some(word) = self.stale.take_if(|_| is_last) {
            self.doubt(format!("the answer comes from a cache ({word}), so it may be old"));
        }
        if is_last {
            back.doubt = self.doubt.take().unwrap_or_default();
        }
        Ok(is_last)
    }

    /// `None` if the reply is no answer.
    fn read(&mut self, reply: &ChannelReply) -> Result<Option<Page>, String> {
        if let Some(word) = freshness::from_cache(&reply.headers) {
            self.stale.get_or_insert(word);
        }
        let repaired = repair::repaired(&reply.body).map(|body| ChannelReply { body, ..reply.clone() });
        let values = self.paged().with_reply(repaired.as_ref().unwrap_or(reply));
        if !self.lookup.answers.holds(&values)? {
            return Ok(None);
        }
        let items = self.lookup.items.eval(&values)?.try_iter().map_err(|error| error.to_string())?.collect();
        self.pages_read += 1;
        let next = match &self.lookup.next {
            None => Value::from(()),
            Some(next) => next.eval(&values)?,
        };
        if next.is_none() {
            let complete = self.lookup.complete.holds(&values)?;
            return Ok(Some(Page { values, items, more: false, complete }));
        }
        if next == self.page {
            return Err("lookup.next: names the page that was just read".into());
        }
        self.page = next;
        Ok(Some(Page { values, items, more: true, complete: false }))
    }
}

/// What the channel said instead of an answer.
fn said(reply: &ChannelReply) -> String {
    let words = shortened(&reply.text());
    format!("the channel answered HTTP {} {words}", reply.status).trim_end().to_owned()
}

/// Whether a text has a delivery's id in it.
fn has_marker(text: &str) -> bool {
    let mut run = 0;
    let mut ends = text.bytes().chain([b' ']);
    ends.any(|byte| {
        let is_end = run == ID_LEN && !byte.is_ascii_hexdigit();
        run = if byte.is_ascii_hexdigit() { run + 1 } else { 0 };
        is_end
    })
}
