//! The clients: they ask for comments under keys, some of which they share, hang up, come again, and write down what
//! they saw.

use super::world::{Shared, World, lock};
use crate::machine::dice::Dice;
use commentd_checker::{CallEvent, ItemReply};
use commentd_contract::SystemClock;
use commentd_contract::{Addressing, Code, Outcome};
use commentd_delivery::record::KeyRef;
use commentd_delivery::reply::{DeliverError, DeliveryReply, DeliveryResult};
use commentd_delivery::{Clock, Comment, Moment};
use commentd_sidecar::dispatch::{Dispatcher, Order};
use futures_util::future::join_all;
use std::sync::Arc;
use std::time::Duration;

/// How much later than its deadline an answer may come: the grace for a settling, and a timer's rounding.
const LATE: Duration = Duration::from_millis(22);

/// What the clients are up to.
pub(super) struct Script {
    pub(super) clients: usize,
    calls: usize,
    /// As `--unknown-as success` has it.
    unknown_is_success: bool,
    /// The texts of each key's comments.
    keys: Vec<Vec<String>>,
}

impl Script {
    pub(super) fn random(dice: &mut Dice) -> Self {
        let clients = 1 + dice.below(3);
        let calls = 1 + dice.below(4);
        let unknown_is_success = dice.chance(50);
        let keys = (0..=dice.below(4)).map(|key| {
            let items = dice.pick(&[1, 1, 2, 3]);
            (0..items).map(|item| format!("text {key}.{item}")).collect()
        });
        Self { clients, calls, unknown_is_success, keys: keys.collect() }
    }
}

/// A client of one life of the sidecar.
pub(super) struct Client {
    pub(super) world: Shared,
    pub(super) dispatcher: Dispatcher,
    pub(super) clock: SystemClock,
    pub(super) script: Arc<Script>,
}

/// Asks now and then.
pub(super) async fn act(client: Client, number: usize) {
    for _ in 0..client.script.calls {
        let (pause, key, deadline, patience) = {
            let mut world = lock(&client.world);
            let is_hasty = world.channels.says_twice;
            let dice = &mut world.dice;
            let pause = dice.pick_ms(&[0, 1, 50, 500, 3_000]);
            let pause = if is_hasty { pause.min(Duration::from_millis(1)) } else { pause };
            let key = dice.below(client.script.keys.len());
            let deadline = dice.pick_ms(&[1_000, 1_000, 300, 3_000, 60, 5]);
            // Often no longer than the disk takes.
            let most = dice.pick(&[deadline, Duration::from_millis(40)]);
            let patience = dice.chance(25).then(|| dice.up_to(most));
            (pause, key, deadline, patience)
        };
        tokio::time::sleep(pause).await;
        client.ask(number, key, deadline, patience).await;
    }
}

/// When nothing fails any more: asks for everything, waits until all is looked up, and asks again.
pub(super) async fn ask_in_the_end(client: Client) {
    for wait in [Duration::ZERO, Duration::from_secs(600), Duration::from_secs(1)] {
        tokio::time::sleep(wait).await;
        for key in 0..client.script.keys.len() {
            client.ask(99, key, Duration::from_secs(5), None).await;
        }
    }
}

impl Client {
    async fn ask(&self, number: usize, key: usize, deadline: Duration, patience: Option<Duration>) {
        let Some(texts) = self.script.keys.get(key) else { return };
        let call = {
            let mut world = lock(&self.world);
            if world.is_dead() {
                return;
            }
            world.calls += 1;
            let (call, at_ms) = (world.calls, world.unix_ms());
            world.note(|| format!("client {number} asks for key {key} within {deadline:?}: call {call}"));
            let entry = CallEvent::Asked { call, at_ms, key: format!("key {key}"), texts: texts.clone() };
            world.entries.push(entry);
            world.open_calls.insert(call);
            call
        };
        let asked = self.clock.now();
        let orders =
            texts.iter().enumerate().map(|(item, text)| self.order(key, item, text, asked + deadline));
        let deliveries = join_all(orders);
        let answers = match patience {
            None => Ok(deliveries.await),
            Some(patience) => tokio::time::timeout(patience, deliveries).await,
        };
        let took = self.clock.now() - asked;
        let mut world = lock(&self.world);
        if !world.open_calls.remove(&call) || world.is_dead() {
            return;
        }
        let at_ms = world.unix_ms();
        let Ok(answers) = answers else {
            world.count("hang-ups");
            world.note(|| format!("client {number} hangs up on call {call}"));
            world.entries.push(CallEvent::Unanswered { call, at_ms, reason: "hung up".into() });
            return;
        };
        if took > deadline + LATE {
            let late = format!("call {call} was answered after {took:?}, with a deadline of {deadline:?}");
            world.broken.get_or_insert(late);
        }
        let is_single = texts.len() == 1;
        let items: Vec<ItemReply> = answers
            .iter()
            .filter_map(|answer| item_of(answer, is_single, self.script.unknown_is_success))
            .collect();
        for item in items.iter().filter(|item| !item.comment_id.is_empty()) {
            if !world.channels.told_ids.contains(&item.comment_id) {
                world.channels.told_ids.push(item.comment_id.clone());
            }
        }
        let words: Vec<String> =
            items.iter().map(|item| format!("{} {}", item.outcome, item.comment_id)).collect();
        world.note(|| format!("call {call} is answered: {}", words.join(", ")));
        world.entries.push(CallEvent::Answered {
            call,
            at_ms,
            status: if items.is_empty() { 503 } else { 200 },
            items,
        });
    }

    pub(super) async fn order(
        &self,
        key: usize,
        item: usize,
        text: &str,
        deadline: Moment,
    ) -> DeliveryResult {
        let held = self.dispatcher.hold(text.len());
        let Some(permit) = held.and_then(|held| self.dispatcher.admit(1, held)) else {
            return Err(DeliverError::NotRecorded("too many".into()));
        };
        let addressing = Addressing { sns_id: "target".into(), ..Addressing::default() };
        let order = Order {
            key: KeyRef {
                caller: String::new(),
                key: format!("key {key}").into(),
                item: u32::try_from(item).unwrap_or(u32::MAX),
            },
            key_is_made: false,
            comment: Comment { content: text.to_owned(), addressing: addressing.into() },
            batch_len: self.script.keys.get(key).map_or(1, Vec::len),
            trace_id: "trace".into(),
            deadline,
            permit,
        };
        self.dispatcher.deliver(order).await
    }
}

/// What a reply says of an item; `None` where a single request's status says that nothing is known of it.
fn item_of(result: &DeliveryResult, is_single: bool, unknown_is_success: bool) -> Option<ItemReply> {
    let error = match result {
        Ok(reply) => return Some(item_of_reply(reply, reply.is_success(unknown_is_success))),
        Err(error) => error,
    };
    let (outcome, code, message) = match error {
        DeliverError::KeyInFlight => (Outcome::Unknown, Code::KeyInFlight, "in flight"),
        DeliverError::LedgerSilent => (Outcome::Unknown, Code::KeyInFlight, "the ledger is silent"),
        DeliverError::NotReadable(_) => (Outcome::Unknown, Code::Overloaded, ""),
        DeliverError::NotRecorded(_) => (Outcome::NotSent, Code::Overloaded, ""),
        DeliverError::KeyReused(_) => (Outcome::Refused, Code::KeyReused, ""),
        DeliverError::Failed => (Outcome::Unknown, Code::Internal, ""),
    };
    let item = ItemReply {
        outcome,
        comment_id: String::new(),
        replayed: false,
        success: error.is_success(unknown_is_success),
        error_code: i64::from(code.number()),
        error_message: message.to_owned(),
    };
    (!is_single || matches!(error, DeliverError::Failed)).then_some(item)
}

fn item_of_reply(reply: &DeliveryReply, success: bool) -> ItemReply {
    let stored = reply.outcome.is_final() && reply.outcome != Outcome::Refused;
    let comment_id = reply.speaking().filter(|_| stored).map(|(_, verdict)| verdict.comment_id.clone());
    ItemReply {
        outcome: reply.outcome,
        comment_id: comment_id.unwrap_or_default(),
        replayed: reply.replayed,
        success,
        error_code: i64::from(reply.code.number()),
        error_message: reply.message.clone(),
    }
}

/// The process is gone: whoever waits for it hears so.
pub(super) fn connections_break(world: &mut World) {
    let at_ms = world.unix_ms();
    for call in std::mem::take(&mut world.open_calls) {
        world.entries.push(CallEvent::Unanswered { call, at_ms, reason: "the connection broke".into() });
    }
}
