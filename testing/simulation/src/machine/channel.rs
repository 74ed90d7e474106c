//! A model of the channel behind one link: what it stores (the hidden effect), what it says, and what a lookup
//! there shows. It keeps exactly the assumptions of SPEC 3 and breaks everything else; the rare foul that breaks one
//! of them says so.

use super::dice::Dice;
use super::samples::{ms, verdict};
use commentd_contract::ProviderName;
use commentd_contract::VerdictKind::{
    self, Delivered, Denied, Duplicate, Held, Misplaced, NotSent, Refused, Throttled, Unknown,
};
use commentd_delivery::lookup::{LookupAbility, LookupResult, Unfound};
use commentd_delivery::step::ProviderRules;
use commentd_delivery::verdict::{Contradiction, Effect};
use commentd_delivery::{Moment, Verdict};
use std::time::Duration;

/// The comment id of somebody else's comment: the ledger will not let us claim it.
pub(crate) const FOREIGN: &str = "of another delivery";

/// The longest that a request may still be stored where nobody states a bound.
const UNSTATED: Duration = ms(30_000);

/// What a channel does with markers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Markers {
    /// It keeps them, but for a few that a moderator clears.
    Keeps,
    /// It drops them, and always has.
    Drops,
    /// It has kept them, and drops them now.
    DropsNow,
}

/// Requests that the channel takes for one: it stores at most one comment for each.
#[derive(Debug)]
struct Received {
    received: Moment,
    stored: Option<StoredComment>,
}

#[derive(Clone, Copy, Debug)]
struct StoredComment {
    kind: VerdictKind,
    since: Moment,
    /// A lookup that doesn't see every state misses it.
    hidden: bool,
    /// It has its marker.
    marked: bool,
    /// Its text isn't the one that was sent: markup, or a filter for words. Where markers were kept once, only a
    /// reply that shows it then tells of it; without one the channel breaks what it was seen to do.
    altered: bool,
}

/// What becomes of one request once its gate is passed.
#[derive(Debug)]
pub(crate) struct Fate {
    /// The entry that it belongs to.
    pub(crate) entry: usize,
    /// When it is stored, counted from the gate; `None`: never.
    pub(crate) stored_after: Option<Duration>,
    /// When the attempt ends, counted from the gate.
    pub(crate) ends_after: Duration,
    /// What the attempt comes to.
    pub(crate) verdict: Verdict,
    /// How the channel breaks the assumptions of the promise with it, if it does.
    pub(crate) foul: Option<&'static str>,
    /// A proxy sends it twice, and hands back the second answer.
    pub(crate) posted_twice: bool,
}

/// One channel.
#[derive(Debug)]
pub(crate) struct Channel {
    /// What is true of it, and what its manifest states.
    pub(crate) rules: ProviderRules,
    /// Whether a marker of ours was seen there, by this delivery or others.
    pub(crate) marker_seen: bool,
    markers: Markers,
    /// Whether the ledger has a reply that shows a comment without its marker.
    pub(crate) echo_recorded: bool,
    /// Whether lookups may be answered by a cache, which says so.
    is_cached: bool,
    /// Whether a proxy stands before it that may send a request twice.
    has_proxy: bool,
    entries: Vec<Received>,
}

impl Channel {
    /// A channel of random abilities.
    pub(crate) fn random(dice: &mut Dice) -> Self {
        let lookup = |settles_ms: Option<u64>, sees_every_state| {
            Some(LookupAbility { settles_within: settles_ms.map(ms), sees_every_state, needs_marker: true })
        };
        let lookups = [
            lookup(Some(200), true),
            None,
            lookup(Some(5_000), true),
            lookup(Some(60), true),
            lookup(None, true),
            lookup(Some(200), false),
        ];
        let windows = [None, Some(ms(86_400_000)), Some(ms(500)), Some(ms(3_000)), Some(ms(30_000))];
        let rules = ProviderRules {
            name: ProviderName::NativeHttp,
            max_attempts: dice.pick(&[3, 1, 2]),
            min_useful: dice.pick_ms(&[50, 0, 200]),
            queues: dice.chance(30),
            deduplicates_within: dice.pick(&windows),
            lookup: dice.pick(&lookups),
        };
        let markers = dice.pick(&[
            Markers::Keeps,
            Markers::Keeps,
            Markers::Keeps,
            Markers::Drops,
            Markers::DropsNow,
            Markers::Keeps,
        ]);
        let marker_seen = match markers {
            Markers::Keeps => !dice.chance(30),
            Markers::Drops => false,
            Markers::DropsNow => true,
        };
        let (is_cached, has_proxy) = (dice.chance(20), dice.chance(20));
        Self { rules, marker_seen, markers, echo_recorded: false, is_cached, has_proxy, entries: Vec::new() }
    }

    /// How many comments of our delivery there are.
    pub(crate) fn effects(&self) -> usize {
        self.entries.iter().filter(|entry| entry.stored.is_some()).count()
    }

    /// The longest after its attempt's end that a request may still be stored.
    pub(crate) fn settles_within(&self) -> Duration {
        self.rules.lookup.and_then(|ability| ability.settles_within).unwrap_or(UNSTATED)
    }

    /// Stores what this entry stands for, at most once.
    pub(crate) fn store(&mut self, entry: usize, now: Moment, dice: &mut Dice) {
        let slot = &mut self.entries[entry].stored;
        if slot.is_none() {
            let kind = dice.pick(&[Delivered, Delivered, Held, Misplaced]);
            let (marked, altered) = match self.markers {
                Markers::Keeps => (!dice.chance(10), false),
                Markers::Drops => (false, dice.chance(50)),
                Markers::DropsNow => (false, dice.chance(50)),
            };
            *slot = Some(StoredComment { kind, since: now, hidden: dice.chance(50), marked, altered });
        }
    }

    /// Takes in a request, which carries our key.
    pub(crate) fn receive(&mut self, now: Moment, dice: &mut Dice) -> Fate {
        let window = self.rules.deduplicates_within;
        let joins = |entry: &Received| window.is_some_and(|window| now.since(entry.received) < window);
        let known = self.entries.iter().rposition(joins);
        let entry = known.unwrap_or_else(|| {
            self.entries.push(Received { received: now, stored: None });
            self.entries.len() - 1
        });
        let ends_after = dice.pick_ms(&[10, 1, 40, 200, 700, 2_500]);
        let posted_twice = self.has_proxy && dice.chance(30);
        let (mut said, stores) = if posted_twice {
            (verdict(Duplicate), Stores::BeforeTheEnd)
        } else if known.is_some() && dice.chance(40) {
            (verdict(Duplicate), Stores::Never)
        } else {
            self.echo(Self::say(dice))
        };
        if said.kind == Throttled {
            said.retry_after_ms = dice.pick(&[None, Some(30), Some(400), Some(5_000)]);
        }
        said.renewed = said.kind == Denied && dice.chance(50);
        let stored_after = match stores {
            Stores::Never => None,
            Stores::BeforeTheEnd => Some(dice.up_to(ends_after)),
            Stores::AnyTime => Some(dice.up_to(ends_after + self.settles_within())),
        };
        let foul = match stored_after {
            None if said.rule().effect == Effect::None && dice.chance(1) => {
                return Fate {
                    entry,
                    stored_after: Some(dice.up_to(ends_after)),
                    ends_after,
                    verdict: said,
                    foul: Some("lies of the channel"),
                    posted_twice,
                };
            }
            Some(_) if matches!(stores, Stores::AnyTime) && dice.chance(1) => Some("stored too late"),
            _ => None,
        };
        let stored_after = stored_after.map(|after| {
            if foul.is_some() { after + ends_after + self.settles_within().saturating_mul(3) } else { after }
        });
        Fate { entry, stored_after, ends_after, verdict: said, foul, posted_twice }
    }

    /// A reply that shows the stored comment shows it as it was stored.
    fn echo(&self, (said, stores): (Verdict, Stores)) -> (Verdict, Stores) {
        let shows_it = said.rule().effect == Effect::One && said.comment_id.is_empty();
        if self.markers == Markers::Keeps || !shows_it || self.rules.lookup.is_none() {
            return (said, stores);
        }
        let foreign = Verdict { contradiction: Some(Contradiction::ForeignEcho), ..verdict(Unknown) };
        (foreign, Stores::BeforeTheEnd)
    }

    /// What the channel says of a request, and what it does.
    fn say(dice: &mut Dice) -> (Verdict, Stores) {
        let any = [Stores::Never, Stores::BeforeTheEnd, Stores::AnyTime];
        let kind = dice.pick(&[
            Delivered, Unknown, Delivered, Unknown, Unknown, Denied, Throttled, NotSent, Held, Misplaced,
            Refused, Duplicate, Unknown, Unknown, Delivered, Denied,
        ]);
        match kind {
            Delivered | Held | Misplaced if dice.chance(12) => (
                Verdict { comment_id: FOREIGN.into(), comment_id_is_ours: true, ..verdict(kind) },
                dice.pick(&any),
            ),
            Delivered | Held | Misplaced => (verdict(kind), Stores::BeforeTheEnd),
            Unknown => (verdict(kind), dice.pick(&any)),
            // A predicate that was wrong, as its receipt shows.
            Denied | Throttled | NotSent | Refused | Duplicate if dice.chance(10) => {
                (Verdict { comment_id: "17".into(), ..verdict(kind) }, dice.pick(&any))
            }
            Denied | Throttled | NotSent | Refused | Duplicate => (verdict(kind), Stores::Never),
        }
    }

    /// What a lookup that began then reads at this instant. A cache may show it what was there up to half of
    /// `settles_within` before it began: against that, absence takes two looks.
    pub(crate) fn look_up(&self, began: Moment, now: Moment, dice: &mut Dice) -> LookupResult {
        if dice.chance(15) {
            return if dice.chance(50) {
                LookupResult::Failed("no answer".into())
            } else {
                LookupResult::NotFound { complete: false }
            };
        }
        let sees_all = self.rules.lookup.is_some_and(|ability| ability.sees_every_state);
        let back_by = |age: Duration| Moment::at(began.since_start().saturating_sub(age));
        let (as_of, stale) = if self.is_cached && dice.chance(40) {
            (back_by(dice.up_to(Duration::from_secs(120))), Some("age: 60".to_owned()))
        } else if dice.chance(20) {
            (back_by(dice.up_to(self.settles_within() / 2)), None)
        } else {
            (now, None)
        };
        let is_seen = |stored: &&StoredComment| stored.since <= as_of && (sees_all || !stored.hidden);
        let seen = || self.entries.iter().filter_map(|entry| entry.stored.as_ref()).filter(is_seen);
        if let Some(stored) = seen().find(|stored| stored.marked) {
            return LookupResult::Found(verdict(stored.kind));
        }
        if dice.chance(6) {
            return LookupResult::Found(Verdict { comment_id: FOREIGN.into(), ..verdict(Delivered) });
        }
        let is_readable = self.markers == Markers::DropsNow && !self.echo_recorded;
        let alike = seen().any(|stored| !stored.altered || is_readable).then(|| "7".to_owned());
        Unfound { complete: true, stale, alike }.finding()
    }
}

#[derive(Clone, Copy, Debug)]
enum Stores {
    Never,
    BeforeTheEnd,
    AnyTime,
}
