//! Idle connections: which of them are used again, and when.
//!
//! A channel may send a second reply, some milliseconds after the first, and the next request on that connection would
//! take it for its own. So a connection rests after each reply, and is used again only if nothing came meanwhile. A
//! channel that has once sent what nobody asked for gets each request on a connection of its own from then on. One that
//! has been quiet after [`QUIET_REPLIES`] replies is listened to after each [`LISTENED_EVERY`]th only, because what rests
//! can't be used, and each comment would need a new connection at high rates. Nor is the system asked then, before each
//! request, for bytes of which the runtime hasn't heard yet: in batches that took a tenth of the rate, for the time of one
//! turn of the runtime.
//!
//! What remains: bytes that come later than the rest, or from a channel that had long been quiet, and just while the next
//! reply is awaited. Those are seen when the true reply comes behind them, so that it happens to a channel's comments in
//! flight at that moment, once.

use super::connection::Connection;
use commentd_delivery::rule_switch::{self, RuleSwitch};
use commentd_delivery::{Clock, Moment};
use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::runtime::{self, Handle};

/// Idle connections are dropped after this: shorter than the keep-alive of the servers we know (gunicorn's
/// two seconds is the shortest), so that we rarely write into a connection that its server is closing.
const IDLE: Duration = Duration::from_millis(1500);
/// Most idle connections that are kept for each runtime.
const MOST_IDLE: usize = 512;
/// How long nothing may come on a connection before it is used again.
pub(super) const REST: Duration = Duration::from_millis(10);
/// After so many replies that nothing followed, not each connection rests any more.
const QUIET_REPLIES: u32 = 64;
/// Of the replies of such a channel, one in so many is still listened to.
const LISTENED_EVERY: u32 = 64;
/// How often idle connections are looked at while nobody uses them.
const SWEEP: Duration = Duration::from_millis(250);

/// Idle connections to one channel, by the runtime that hears of their bytes: on another one, each of these would
/// have to be told across threads.
pub(super) struct IdleConnections {
    stacks: Mutex<HashMap<Option<runtime::Id>, RuntimeConnections>>,
    /// Exchanges that are being made.
    busy: AtomicUsize,
    /// How long the last connection took to come, in microseconds.
    dial_us: AtomicU64,
    /// The first connection said nothing by itself.
    is_quiet: AtomicBool,
    /// Replies after which nothing came for as long as a rest takes.
    quiet_replies: AtomicU32,
    /// Something came that nobody had asked for: no connection is used twice.
    is_distrusted: AtomicBool,
    place: String,
    clock: Arc<dyn Clock>,
}

/// Idle connections, each with when it became idle.
#[derive(Default)]
struct RuntimeConnections {
    /// Those that came last, the oldest first.
    resting: VecDeque<(Moment, Connection)>,
    /// Those that were quiet long enough, the youngest last.
    rested: Vec<(Moment, Connection)>,
    /// Replies since the channel was known as quiet.
    replies: u32,
    is_swept: bool,
}

/// What there is for an exchange.
pub(super) enum IdleConnection {
    /// A connection that may be used at once.
    Rested(Connection),
    /// A connection that may be used if it is still quiet after this time.
    Resting(Connection, Duration),
    /// A new one is needed.
    Nothing,
}

/// An exchange that is being made.
pub(super) struct BusyGuard<'a>(&'a AtomicUsize);

impl Drop for BusyGuard<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

/// Whether it is better to wait for a connection that rests for `left` than to make a new one, which takes about
/// `dial`. Whoever is alone waits, so that a channel that serves one connection at a time isn't given two.
fn waits_for_rest(left: Duration, dial: Duration, is_alone: bool) -> bool {
    is_alone || left <= dial
}

impl IdleConnections {
    /// For the channel at `place`, which people are told of.
    pub(super) fn new(place: String, clock: Arc<dyn Clock>) -> Arc<Self> {
        Arc::new(Self {
            stacks: Mutex::default(),
            busy: AtomicUsize::new(0),
            dial_us: AtomicU64::new(0),
            is_quiet: AtomicBool::new(false),
            quiet_replies: AtomicU32::new(0),
            is_distrusted: AtomicBool::new(false),
            place,
            clock,
        })
    }

    /// Says that an exchange is being made, until what it returns is dropped.
    pub(super) fn busy(&self) -> BusyGuard<'_> {
        self.busy.fetch_add(1, Relaxed);
        BusyGuard(&self.busy)
    }

    /// A new connection took this long.
    pub(super) fn dialled(&self, took: Duration) {
        self.dial_us.store(u64::try_from(took.as_micros()).unwrap_or(u64::MAX), Relaxed);
    }

    /// Whether new connections have to show first that they say nothing by themselves.
    pub(super) fn is_to_be_heard(&self) -> bool {
        rule_switch::is_on(RuleSwitch::RepliesAreAskedFor)
            && (self.is_distrusted.load(Relaxed) || !self.is_quiet.load(Relaxed))
    }

    /// A new connection has said nothing by itself.
    pub(super) fn was_quiet(&self) {
        self.is_quiet.store(true, Relaxed);
    }

    /// The channel has sent what nobody asked for.
    pub(super) fn distrust(&self) {
        if rule_switch::is_off(RuleSwitch::RepliesAreAskedFor) || self.is_distrusted.swap(true, Relaxed) {
            return;
        }
        tracing::warn!(
            channel = %self.place,
            "the channel sends replies that nobody asked for; each request gets a connection of its own from now on"
        );
        let stacks = std::mem::take(&mut *self.stacks.lock().unwrap_or_else(PoisonError::into_inner));
        // Closing them needs no lock.
        drop(stacks);
    }

    /// Keeps a connection whose last reply was read whole.
    pub(super) fn put(self: &Arc<Self>, mut connection: Connection) {
        if !connection.is_alive() {
            self.note(&connection);
            return;
        }
        if self.is_distrusted.load(Relaxed) {
            return;
        }
        let now = self.clock.now();
        let here = Handle::try_current().ok();
        let mut stacks = self.stacks.lock().unwrap_or_else(PoisonError::into_inner);
        let stack = stacks.entry(here.as_ref().map(Handle::id)).or_default();
        if stack.resting.len() + stack.rested.len() < MOST_IDLE {
            if !self.is_known_as_quiet() || stack.is_listened_to() {
                stack.resting.push_back((now, connection));
            } else {
                stack.rested.push((now, connection));
            }
        }
        if let Some(here) = here.filter(|_| !stack.is_swept) {
            stack.is_swept = true;
            here.spawn(sweep(Arc::clone(self), here.id()));
        }
    }

    /// Whether nothing followed so many replies that what the runtime has heard of is enough.
    fn is_known_as_quiet(&self) -> bool {
        self.quiet_replies.load(Relaxed) >= QUIET_REPLIES
    }

    /// Nothing came after a reply for as long as a rest takes.
    pub(super) fn was_quiet_after_reply(&self) {
        if !self.is_known_as_quiet() {
            self.quiet_replies.fetch_add(1, Relaxed);
        }
    }

    /// Takes a connection that still looks alive, if there is one.
    pub(super) fn take(&self) -> IdleConnection {
        loop {
            match self.pop() {
                IdleConnection::Rested(mut connection) => {
                    if connection.is_usable(!self.is_known_as_quiet()) {
                        self.was_quiet_after_reply();
                        return IdleConnection::Rested(connection);
                    }
                    self.note(&connection);
                }
                other => return other,
            }
        }
    }

    /// Remembers what a connection that isn't used any more has shown.
    pub(super) fn note(&self, connection: &Connection) {
        if connection.was_unasked() {
            self.distrust();
        }
    }

    fn pop(&self) -> IdleConnection {
        let now = self.clock.now();
        let here = Handle::try_current().ok().map(|handle| handle.id());
        let mut stacks = self.stacks.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(stack) = stacks.get_mut(&here) else { return IdleConnection::Nothing };
        stack.rest(now);
        if let Some((since, connection)) = stack.rested.pop() {
            if now.since(since) < IDLE {
                return IdleConnection::Rested(connection);
            }
            stack.rested.clear();
        }
        let Some((since, _)) = stack.resting.front() else { return IdleConnection::Nothing };
        let left = REST.saturating_sub(now.since(*since));
        let dial = Duration::from_micros(self.dial_us.load(Relaxed));
        if !waits_for_rest(left, dial, self.busy.load(Relaxed) <= 1) {
            return IdleConnection::Nothing;
        }
        stack
            .resting
            .pop_front()
            .map_or(IdleConnection::Nothing, |(_, connection)| IdleConnection::Resting(connection, left))
    }
}

impl RuntimeConnections {
    /// Whether the connection whose reply was just read rests, though the channel is known as quiet.
    fn is_listened_to(&mut self) -> bool {
        self.replies = self.replies.wrapping_add(1);
        self.replies.is_multiple_of(LISTENED_EVERY)
    }

    /// Moves those that have rested.
    fn rest(&mut self, now: Moment) {
        let rest = if rule_switch::is_on(RuleSwitch::RepliesAreAskedFor) { REST } else { Duration::ZERO };
        while self.resting.front().is_some_and(|(since, _)| now.since(*since) >= rest) {
            self.rested.extend(self.resting.pop_front());
        }
    }

    /// Takes out those that are too old, have ended, or were not quiet.
    fn sort_out(&mut self, now: Moment) -> Vec<Connection> {
        let mut out = Vec::new();
        let mut check = |connection: &mut (Moment, Connection)| {
            now.since(connection.0) >= IDLE || !connection.1.is_alive()
        };
        out.extend(self.rested.extract_if(.., &mut check).map(|(_, connection)| connection));
        let resting = std::mem::take(&mut self.resting);
        for mut connection in resting {
            if check(&mut connection) {
                out.push(connection.1);
            } else {
                self.resting.push_back(connection);
            }
        }
        out
    }
}

/// Closes what the channel has closed and what is too old, as long as there are idle connections. Without it, they
/// would stay half-closed until the next comment.
async fn sweep(idle: Arc<IdleConnections>, here: runtime::Id) {
    loop {
        tokio::time::sleep(SWEEP).await;
        let now = idle.clock.now();
        let mut stacks = idle.stacks.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(stack) = stacks.get_mut(&Some(here)) else { return };
        let out = stack.sort_out(now);
        let is_empty = stack.rested.is_empty() && stack.resting.is_empty();
        if is_empty {
            stack.is_swept = false;
        }
        drop(stacks);
        for connection in out {
            idle.note(&connection);
        }
        if is_empty {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rest_is_waited_for_where_that_is_quicker_or_nobody_else_is_there() {
        let ms = Duration::from_millis;
        for (left, dial, is_alone, waits) in [
            (ms(9), ms(100), false, true),
            (ms(9), ms(1), false, false),
            (ms(9), ms(1), true, true),
            (ms(1), ms(1), false, true),
        ] {
            assert_eq!(waits_for_rest(left, dial, is_alone), waits, "{left:?} {dial:?} {is_alone}");
        }
    }
}
