//! The channels: what they store, what they say, and what they admit to have done wrong. They keep the assumptions of
//! SPEC 3; the rare foul that breaks one is told to the checker as such.

#![allow(clippy::indexing_slicing, reason = "in a model, an index that is wrong should fail loudly")]

use super::network::{End, Wire};
use super::world::{World, unix_ms};
use crate::machine::dice::Dice;
use commentd_checker::channel::{ChannelComment, ChannelFault, ChannelRecord};
use commentd_contract::Outcome;
use commentd_contract::time::whole_ms;
use commentd_delivery::Moment;
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::time::Duration;

/// The channels' hosts: one speaks the board's dialect, one the v1 contract.
pub(super) const HOSTS: [&str; 2] = ["board.test", "generic.test"];
const BOARD: usize = 0;

/// All channels of a world.
pub(super) struct Channels {
    /// The longest that the board stores a request after its connection's end.
    pub(super) settles_within: Duration,
    /// How long the board deduplicates by `Idempotency-Key`; zero if it doesn't.
    pub(super) deduplicates_within: Duration,
    pub(super) wires: Vec<Wire>,
    comments: Vec<Kept>,
    faults: Vec<ChannelFault>,
    /// The text of every comment that has left for a channel, and when.
    left: Vec<(String, Moment)>,
    /// Ids that clients were told as their own.
    pub(super) told_ids: Vec<String>,
    /// Requests that the board takes for one, by key.
    known: Vec<Known>,
    /// Whole requests so far.
    pub(super) received: usize,
    /// When whole requests arrived.
    pub(super) arrivals: Vec<Moment>,
    /// What to do with every request, in a test that says so.
    pub(super) scripted: Option<Scripted>,
    /// Most replies are followed by another, some milliseconds later. Disk and clients are quick then, so that the next
    /// request may be on its way by that time.
    pub(super) says_twice: bool,
    /// What is said on each new connection, in a test that says so.
    pub(super) greeting: Vec<u8>,
    /// Nobody listens.
    pub(super) refuses: bool,
}

/// A reply that is written down: how it is paced, and how the connection ends after it.
#[derive(Clone)]
pub(super) struct Scripted {
    pub(super) words: Vec<u8>,
    pub(super) pause: Duration,
    pub(super) ends: Option<End>,
    /// How much later it comes once more.
    pub(super) again: Option<Duration>,
}

struct Known {
    key: String,
    received: Moment,
    comment: Option<usize>,
}

struct Kept {
    host: usize,
    id: String,
    text: String,
    marker: String,
    state: &'static str,
    at: Moment,
    /// The wire and the moment of its request's arrival: until then it may still get lost on its way.
    came: (usize, Moment),
    lost: bool,
}

/// A request as it came over a wire.
pub(super) struct Request {
    pub(super) is_post: bool,
    pub(super) path: String,
    pub(super) key: String,
    pub(super) body: Vec<u8>,
}

/// What a client gets for a comment that is stored where the channel's own reply doesn't reach it: a filter's page and a
/// proxy's code, the no to somebody else's request, a reply that two programs have written into.
const NOT_THE_CHANNEL: [(u16, &str); 4] = [
    (403, "<html><head><title>403 Forbidden</title></head><body><h1>Forbidden</h1></body></html>"),
    (503, r#"{"ok":false,"error_code":61,"error":"throttled"}"#),
    (
        200,
        r#"{"v":1,"ok":false,"error_code":52,"error_message":"","task_id":"somebody-elses-task","data":{}}"#,
    ),
    (200, r#"{"v":1,"ok":true,"ok":false,"error_code":0,"error_code":52,"task_id":"","data":{}}"#),
];

/// What becomes of a comment that arrives whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Stored,
    Throttled,
    Refused,
    Failed { stores: bool, late: bool },
    Garbage { stores: bool },
    WrongEcho,
    NotTheChannel,
    NamesAnother,
    Cut { stores: bool, late: bool, after_head: bool },
    Silent { stores: bool, late: bool },
    SlowBody,
    Lie,
    TooLate,
}

impl Channels {
    pub(super) fn random(dice: &mut Dice) -> Self {
        Self {
            settles_within: dice.pick_ms(&[1_000, 2_000, 500]),
            deduplicates_within: dice.pick_ms(&[0, 0, 2_000, 60_000]),
            wires: Vec::new(),
            comments: Vec::new(),
            faults: Vec::new(),
            left: Vec::new(),
            told_ids: Vec::new(),
            known: Vec::new(),
            received: 0,
            arrivals: Vec::new(),
            scripted: None,
            says_twice: dice.chance(30),
            greeting: Vec::new(),
            refuses: false,
        }
    }

    /// What the channels have in the end, and what they did wrong.
    pub(super) fn record(&self) -> ChannelRecord {
        let stored = self.comments.iter().filter(|comment| !comment.lost).map(|comment| ChannelComment {
            id: comment.id.clone(),
            text: comment.text.clone(),
            stored_at_ms: unix_ms(comment.at),
            stands: Some(if comment.state == "held" { Outcome::Held } else { Outcome::Delivered }),
        });
        let left = self.left.iter().map(|(text, at)| (text.clone(), unix_ms(*at)));
        ChannelRecord::new(stored, self.faults.iter().cloned(), whole_ms(self.settles_within))
            .with_departures(left)
    }

    fn store(&mut self, comment: Kept) -> usize {
        self.comments.push(comment);
        self.comments.len() - 1
    }
}

/// A request has arrived whole, or will have at that moment.
pub(super) fn receive(world: &mut World, wire: usize, arrives: Moment, request: &Request) {
    let Some(host) = world.channels.wires.get(wire).map(|wire| wire.host) else { return };
    world.channels.received += 1;
    world.channels.arrivals.push(arrives);
    if let Some(scripted) = world.channels.scripted.clone() {
        return recite(world, wire, arrives, &scripted);
    }
    if request.is_post {
        comment(world, wire, host, arrives, request);
    } else {
        lookup(world, wire, arrives, request);
    }
}

fn recite(world: &mut World, wire: usize, at: Moment, scripted: &Scripted) {
    let mut last = at;
    if let Some(wire) = world.channels.wires.get_mut(wire) {
        for piece in scripted.words.chunks(if scripted.pause.is_zero() { 4096 } else { 16 }) {
            wire.outbox.push_back((last, piece.to_vec()));
            last = last + scripted.pause;
        }
        if let Some(again) = scripted.again {
            wire.outbox.push_back((last + again, scripted.words.clone()));
        }
    }
    if let Some(how) = scripted.ends {
        end(world, wire, last, how);
    }
}

fn comment(world: &mut World, wire: usize, host: usize, arrives: Moment, request: &Request) {
    let body: Value = serde_json::from_slice(&request.body).unwrap_or(Value::Null);
    let text = body[if host == BOARD { "text" } else { "content" }].as_str().unwrap_or_default().to_owned();
    let marker = body["marker"].as_str().unwrap_or_default().to_owned();
    let now = world.now();
    world.channels.left.push((text.clone(), now));
    let window = if host == BOARD { world.channels.deduplicates_within } else { Duration::ZERO };
    let known = world
        .channels
        .known
        .iter()
        .rposition(|known| known.key == request.key && arrives.since(known.received) < window);
    let known = known.unwrap_or_else(|| {
        let known = Known { key: request.key.clone(), received: arrives, comment: None };
        world.channels.known.push(known);
        world.channels.known.len() - 1
    });
    let takes = world.dice.pick_ms(&[5, 1, 40, 5, 300]);
    let replies = arrives + takes;
    let before = world.channels.known.get(known).and_then(|known| known.comment);
    if let Some(kept) = before.and_then(|comment| world.channels.comments.get(comment)) {
        // It has it already, or is about to: by the key, the same comment.
        let reply = if kept.at <= replies { said(host, kept, &kept.marker) } else { (500, json!({})) };
        world.count("deduplicated");
        return say(world, wire, replies, reply, "");
    }
    let fate = fate(world);
    world.note(|| format!("        {} gets {text:?}: {fate:?}", HOSTS[host]));
    let late = |world: &mut World| {
        let most = world.channels.settles_within;
        arrives + world.dice.up_to(most)
    };
    let at = match fate {
        Fate::Throttled | Fate::Refused => None,
        Fate::Failed { stores, late: is_late }
        | Fate::Cut { stores, late: is_late, .. }
        | Fate::Silent { stores, late: is_late } => {
            stores.then(|| if is_late { late(world) } else { arrives })
        }
        Fate::Garbage { stores } => stores.then_some(arrives),
        Fate::NamesAnother => None,
        Fate::TooLate => {
            let after = world.channels.settles_within * 3 + Duration::from_secs(5);
            fault(world, "stays_away", Some(after), &text);
            Some(arrives + after)
        }
        Fate::Stored | Fate::WrongEcho | Fate::NotTheChannel | Fate::SlowBody | Fate::Lie => Some(arrives),
    };
    let state = if host == BOARD && world.dice.chance(20) { "held" } else { "shown" };
    let id = format!("{}{}", if host == BOARD { 'b' } else { 'g' }, world.channels.comments.len() + 1);
    let kept = Kept {
        host,
        id,
        text: text.clone(),
        marker,
        state,
        at: at.unwrap_or(replies),
        came: (wire, arrives),
        lost: at.is_none(),
    };
    let reply = said(host, &kept, &kept.marker);
    if fate != Fate::Stored {
        fault(world, if fate == Fate::Lie { "refuse_after" } else { "fault" }, None, &text);
    }
    let wrong = said(host, &kept, "00000000000000000000000000000000");
    let number = world.channels.store(kept);
    if at.is_some()
        && let Some(known) = world.channels.known.get_mut(known)
    {
        known.comment = Some(number);
    }
    answer(world, wire, host, replies, fate, reply, wrong);
}

fn answer(
    world: &mut World,
    wire: usize,
    host: usize,
    replies: Moment,
    fate: Fate,
    reply: (u16, Value),
    wrong: (u16, Value),
) {
    match fate {
        Fate::Stored => say(world, wire, replies, reply, ""),
        Fate::Throttled if host == BOARD => {
            let hint = world.dice.pick(&["", "Retry-After: 1\r\n", "Retry-After: 0\r\n"]);
            say(world, wire, replies, (429, json!({"error": "throttled", "message": "slow down"})), hint);
        }
        Fate::Throttled => say(world, wire, replies, (503, v1(false, 61, json!({}))), ""),
        Fate::Refused | Fate::Lie if host == BOARD => {
            say(
                world,
                wire,
                replies,
                (400, json!({"error": "empty_text", "message": "text: must not be empty"})),
                "",
            );
        }
        Fate::Refused | Fate::Lie => say(world, wire, replies, (200, v1(false, 52, json!({}))), ""),
        Fate::Failed { .. } | Fate::TooLate => {
            say(world, wire, replies, (500, json!({"error": "internal"})), "")
        }
        Fate::Garbage { .. } => say(world, wire, replies, (201, json!(["what"])), ""),
        Fate::WrongEcho => {
            say(world, wire, replies, if host == BOARD { wrong } else { (302, json!({})) }, "")
        }
        Fate::NotTheChannel => {
            let (status, body) = world.dice.pick(&NOT_THE_CHANNEL);
            say_text(world, wire, replies, status, body, "");
        }
        Fate::NamesAnother => {
            let ids = world.channels.told_ids.len();
            let index = world.dice.below(ids);
            let mut reply = reply;
            if let (Some(id), BOARD) = (world.channels.told_ids.get(index).cloned(), host) {
                reply.1["id"] = json!(id);
            } else {
                reply = (500, json!({}));
            }
            say(world, wire, replies, reply, "");
        }
        Fate::Cut { after_head, .. } => {
            if after_head {
                say(world, wire, replies, reply, "");
                cut_reply(world, wire, replies);
            } else {
                end(world, wire, replies, End::Reset);
            }
        }
        Fate::Silent { .. } => {}
        Fate::SlowBody => {
            say(world, wire, replies, reply, "");
            slow_down(world, wire);
        }
    }
}

fn fate(world: &mut World) -> Fate {
    let (one, two) = (world.dice.chance(50), world.dice.chance(50));
    let fate = world.dice.pick(&[
        Fate::Stored,
        Fate::Stored,
        Fate::Stored,
        Fate::Stored,
        Fate::Stored,
        Fate::Stored,
        Fate::Failed { stores: one, late: two },
        Fate::Garbage { stores: one },
        Fate::Cut { stores: one, late: two, after_head: false },
        Fate::Cut { stores: true, late: false, after_head: true },
        Fate::Silent { stores: one, late: two },
        Fate::Throttled,
        Fate::Refused,
        Fate::WrongEcho,
        Fate::NotTheChannel,
        Fate::NamesAnother,
        Fate::SlowBody,
        if one && two { Fate::Lie } else { Fate::Stored },
        if one && two { Fate::TooLate } else { Fate::Stored },
    ]);
    if world.calm { Fate::Stored } else { fate }
}

fn fault(world: &mut World, name: &'static str, late: Option<Duration>, text: &str) {
    world.count(name);
    let fault =
        ChannelFault { fault: name.into(), late_ms: late.map(whole_ms), texts: vec![text.to_owned()] };
    world.channels.faults.push(fault);
}

/// What the channel says of a comment that it has.
fn said(host: usize, kept: &Kept, marker: &str) -> (u16, Value) {
    if host == BOARD {
        return (201, json!({"id": kept.id, "text": kept.text, "marker": marker, "state": kept.state}));
    }
    (200, v1(true, 0, json!({"outcome": "delivered", "comment_id": kept.id})))
}

fn v1(ok: bool, code: i64, data: Value) -> Value {
    json!({"v": 1, "ok": ok, "error_code": code, "error_message": "", "latency_ms": 1, "task_id": "", "data": data})
}

fn lookup(world: &mut World, wire: usize, arrives: Moment, request: &Request) {
    let marker =
        request.path.split(['?', '&']).find_map(|part| part.strip_prefix("marker=")).unwrap_or_default();
    let shown: Vec<Value> = world
        .channels
        .comments
        .iter()
        .filter(|kept| kept.host == BOARD && kept.marker == marker && !kept.lost && kept.at <= arrives)
        .map(|kept| json!({"id": kept.id, "text": kept.text, "marker": kept.marker, "state": kept.state}))
        .collect();
    world.count("lookups");
    let reply = if world.trouble(8) {
        (500, json!({"error": "internal"}))
    } else if world.trouble(8) {
        (200, json!({"total": 1, "complete": false, "comments": []}))
    } else {
        (200, json!({"total": shown.len(), "complete": true, "comments": shown}))
    };
    let replies = arrives + world.dice.pick_ms(&[1, 5, 40, 1, 1_500]);
    say(world, wire, replies, reply, "");
    if world.trouble(5) {
        cut_reply(world, wire, replies);
    }
}

/// What a channel that speaks before it is asked says: that it has refused the comment.
pub(super) fn greeting(host: usize) -> Vec<u8> {
    let (status, body) = match host {
        BOARD => (400, json!({"error": "empty_text"})),
        _ => (200, v1(false, 52, json!({}))),
    };
    let body = body.to_string();
    format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

/// Says this on the wire, in one piece or several; afterwards the server may close the connection.
fn say(world: &mut World, wire: usize, at: Moment, (status, body): (u16, Value), headers: &str) {
    say_text(world, wire, at, status, &body.to_string(), headers);
}

fn say_text(world: &mut World, wire: usize, at: Moment, status: u16, body: &str, headers: &str) {
    let mut text = format!("HTTP/1.1 {status} X\r\nContent-Type: application/json\r\n{headers}");
    let _ = write!(text, "Content-Length: {}\r\n\r\n{body}", body.len());
    let pause = world.dice.pick_ms(&[0, 0, 3]);
    let middle = world.dice.below(text.len());
    let closes = world.dice.chance(30).then(|| at + world.dice.pick_ms(&[3, 10, 400]));
    let latency = world.channels.wires.get(wire).map_or(Duration::ZERO, |wire| wire.latency);
    let says_twice = world.channels.says_twice && world.trouble(80);
    let again = says_twice.then(|| (world.dice.pick_ms(&[8, 1, 3, 8]), world.dice.chance(50)));
    if again.is_some() {
        world.count("replies that came twice");
    }
    let Some(wire) = world.channels.wires.get_mut(wire) else { return };
    let (first, second) = text.as_bytes().split_at(middle);
    wire.outbox.push_back((at + latency, first.to_vec()));
    wire.outbox.push_back((at + latency + pause, second.to_vec()));
    if let Some((again, is_same)) = again {
        let words = if is_same { text.clone().into_bytes() } else { greeting(wire.host) };
        wire.outbox.push_back((at + latency + pause + again, words));
    }
    if let Some(closes) = closes.map(|closes| closes + pause) {
        // From then on the server is deaf; the client hears of it a little later.
        wire.deaf_from = Some(closes);
        wire.ends = Some((closes + latency, End::Closed));
    }
}

/// Leaves only some bytes of what was said.
fn cut_reply(world: &mut World, wire: usize, at: Moment) {
    let cut = world.dice.below(300);
    let how = world.dice.pick(&[End::Reset, End::Closed]);
    let Some(held) = world.channels.wires.get_mut(wire) else { return };
    let mut left = cut;
    for (_, bytes) in &mut held.outbox {
        bytes.truncate(left);
        left -= bytes.len();
    }
    held.outbox.retain(|(_, bytes)| !bytes.is_empty());
    let after = held.outbox.back().map_or(at, |(moment, _)| *moment);
    end(world, wire, after, how);
}

fn end(world: &mut World, wire: usize, at: Moment, how: End) {
    if let Some(wire) = world.channels.wires.get_mut(wire) {
        let at = at + wire.latency;
        wire.ends = Some((at, how));
        wire.deaf_from = Some(at);
    }
}

/// Lets what was said come byte by byte.
fn slow_down(world: &mut World, wire: usize) {
    let pause = world.dice.pick_ms(&[1, 5, 20]);
    let Some(wire) = world.channels.wires.get_mut(wire) else { return };
    let mut slow = Vec::new();
    for (at, bytes) in wire.outbox.drain(..) {
        for byte in bytes {
            let last = slow.last().map_or(at, |(moment, _): &(Moment, Vec<u8>)| *moment);
            slow.push((at.max(last + pause), vec![byte]));
        }
    }
    if let (Some((last, _)), Some((ends, _))) = (slow.last(), wire.ends.as_mut()) {
        *ends = (*ends).max(*last);
    }
    wire.outbox = slow.into();
}

/// The client has closed its end. What hadn't arrived by then may have died with it.
pub(super) fn hung_up(world: &mut World, wire: usize) {
    let now = world.now();
    let on_their_way: Vec<usize> = (0..world.channels.comments.len())
        .filter(|index| {
            world
                .channels
                .comments
                .get(*index)
                .is_some_and(|kept| kept.came.0 == wire && kept.came.1 > now && !kept.lost)
        })
        .collect();
    for index in on_their_way {
        if world.dice.chance(50) {
            world.count("requests lost on their way");
            if let Some(kept) = world.channels.comments.get_mut(index) {
                kept.lost = true;
            }
            for known in &mut world.channels.known {
                known.comment = known.comment.filter(|comment| *comment != index);
            }
        }
    }
}
