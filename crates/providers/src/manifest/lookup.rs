//! How a channel is asked whether a comment is there: page by page, by marker, receipt or slot.

use super::judge::{Reply, shortened, verdict_kind};
use super::language::Expr;
use super::names::Scope;
use super::request::{HttpRequest, Leaf, RenderError, RequestTemplate};
use super::written::{WrittenLookup, WrittenState};
use commentd_contract::VerdictKind;
use commentd_delivery::verdict::{Effect, rule};
use minijinja::{Value, context};

/// A scan ends after this many pages, incomplete.
const MOST_PAGES: usize = 20;

/// What a lookup shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sighting {
    /// The comment, in this state.
    Found {
        /// `delivered`, `held` or `misplaced`.
        kind: VerdictKind,
        /// The channel's id of it; empty if it gives it none.
        comment_id: String,
    },
    /// Not the comment.
    NotFound {
        /// Whether everything was read that could be the comment, and it would have been known.
        complete: bool,
    },
    /// No answer to the question.
    NoAnswer,
}

/// A comment as it was read back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// The channel's id.
    pub comment_id: String,
    /// The text as the channel keeps it.
    pub text: String,
}

#[derive(Clone, Debug)]
pub(super) struct CompiledLookup {
    request: RequestTemplate,
    answers: Expr,
    items: Expr,
    complete: Expr,
    next: Option<Expr>,
    slot: Option<Expr>,
    ours: Option<Expr>,
    id: Expr,
    text: Expr,
    states: Vec<(VerdictKind, Expr)>,
    pub(super) sees_every_state: Leaf,
}

/// A lookup under way: gives the request of each page and takes in its reply.
#[derive(Debug)]
pub struct Scan<'a> {
    lookup: &'a CompiledLookup,
    scope: Scope,
    /// Whether the channel carries a marker of this delivery.
    marked: bool,
    /// The comment id of a reply whose echo was ours; empty if there is none.
    receipt: String,
    page: Value,
    pages_read: usize,
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

impl CompiledLookup {
    pub(super) fn compile(written: &WrittenLookup) -> Result<Self, String> {
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
            states: written.states.iter().map(state).collect::<Result<_, _>>()?,
            sees_every_state: Leaf::compile(&written.sees_every_state)
                .map_err(|error| format!("lookup.sees_every_state: {error}"))?,
        })
    }

    /// Whether it knows a comment by the place where it stands.
    pub(super) fn has_slot(&self) -> bool {
        self.slot.is_some()
    }
}

impl<'a> Scan<'a> {
    pub(super) fn new(lookup: &'a CompiledLookup, scope: &Scope, marked: bool, receipt: &str) -> Self {
        let known = if receipt.is_empty() { Value::from(()) } else { Value::from(receipt) };
        let scope = scope.with(context! { receipt => known });
        Self { lookup, scope, marked, receipt: receipt.to_owned(), page: Value::from(()), pages_read: 0 }
    }

    /// The request of the page that comes next.
    ///
    /// # Errors
    /// When an expression fails.
    pub fn request(&self) -> Result<HttpRequest, RenderError> {
        self.lookup.request.render(&self.paged().value())
    }

    fn paged(&self) -> Scope {
        self.scope.with(context! { page => self.page.clone() })
    }

    /// Takes in the reply to [`Scan::request`]; `None` if the next page is to be asked for.
    ///
    /// # Errors
    /// When an expression fails on the reply.
    pub fn sight(&mut self, reply: &Reply) -> Result<Option<Sighting>, String> {
        let Some(page) = self.read(reply)? else { return Ok(Some(Sighting::NoAnswer)) };
        for item in &page.items {
            let values = context! { item => item.clone(), ..page.values.clone() };
            if let Some(seen) = self.sight_item(&values)? {
                return Ok(Some(seen));
            }
        }
        if page.more {
            return Ok(None);
        }
        // Where there is a slot, it wasn't among the items; whatever holds it isn't there to be asked.
        let would_be_known = self.marked && !self.lookup.has_slot();
        Ok(Some(self.not_found(page.complete && would_be_known)))
    }

    /// `None` for an item that says nothing about the comment.
    fn sight_item(&self, values: &Value) -> Result<Option<Sighting>, String> {
        let lookup = self.lookup;
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
            let by_receipt = !self.receipt.is_empty() && lookup.id.text(values)? == self.receipt;
            let by_marker = || match &lookup.ours {
                Some(ours) if self.marked => ours.holds(values),
                _ => Ok(false),
            };
            if !by_receipt && !by_marker()? {
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
        Ok(Some(Sighting::Found { kind, comment_id: lookup.id.text(values)? }))
    }

    /// A reply that showed a stored comment never has effect none, whatever became of the comment since: with a
    /// receipt of ours, not finding it proves nothing.
    fn not_found(&self, complete: bool) -> Sighting {
        Sighting::NotFound { complete: complete && self.receipt.is_empty() }
    }

    /// Takes in the reply to [`Scan::request`] when a whole target is read back; true if it was the last page.
    ///
    /// # Errors
    /// When the reply is no answer, the scan ends incomplete, or an expression fails.
    pub fn collect(&mut self, reply: &Reply, items: &mut Vec<Item>) -> Result<bool, String> {
        let Some(page) = self.read(reply)? else {
            let words = shortened(&reply.text());
            return Err(format!("the channel answered HTTP {} {words}", reply.status));
        };
        for item in &page.items {
            let values = context! { item => item.clone(), ..page.values.clone() };
            let item =
                Item { comment_id: self.lookup.id.text(&values)?, text: self.lookup.text.text(&values)? };
            let is_empty_slot = self.lookup.has_slot() && item.text.is_empty();
            if !is_empty_slot {
                items.push(item);
            }
        }
        if !page.more && !page.complete {
            return Err("the channel's answer isn't complete".into());
        }
        Ok(!page.more)
    }

    /// `None` if the reply is no answer.
    fn read(&mut self, reply: &Reply) -> Result<Option<Page>, String> {
        let values = reply.scope(&self.paged());
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
        Ok(Some(Page { values, items, more: self.pages_read < MOST_PAGES, complete: false }))
    }
}
