//! Histories of one process in front of one healthy channel that is mostly kept to a pace, and that in some of them is
//! down for a while. Own waiting is nobody's failure, the pace holds, and a breaker that has opened lets somebody try soon after,
//! however often known keys come again.

use super::channel::{HOSTS, Scripted};
use super::network::Network;
use super::world::{Shared, World, lock};
use super::{SeededIds, TIMEOUT};
use crate::Story;
use crate::machine::dice::Dice;
use commentd_channels::{Manifest, Pace};
use commentd_contract::SystemClock;
use commentd_contract::provider::BreakerState;
use commentd_contract::{Addressing, Code, Outcome};
use commentd_delivery::id::Ids;
use commentd_delivery::record::KeyRef;
use commentd_delivery::reply::{DeliverError, DeliveryResult};
use commentd_delivery::{Clock, Comment, Moment};
use commentd_ledger::{Ledger, MemoryLedger, Stamp};
use commentd_providers::native::dial::{Dial, Stream};
use commentd_providers::native::{BaseUrl, NativeHttp};
use commentd_providers::{BoxFuture, Provider};
use commentd_sidecar::dispatch::{Bounds, Dispatcher, Order};
use futures_util::future::join_all;
use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A channel that takes whatever it gets.
const MANIFEST: &str = r#"
manifest = 1
name = "paced"
version = 1
summary = "a channel that takes whatever it gets"
target = "a thread"
reply = "a comment's id"
[send]
method = "POST"
path = "/send"
[send.body]
text = "content"
[[verdict]]
is = "delivered"
when = "status == 200"
"#;
const REPLY: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}";
/// Between a turn and the arrival of its request: the connection, and the way there.
const LONGEST_WAY: Duration = Duration::from_millis(300);
/// What is said early is said within this.
const AT_ONCE: Duration = Duration::from_millis(25);
/// After this long without a fault a breaker has let somebody try: its longest cool-off, and the ticks of its probe.
const WELL_AFTER: Duration = Duration::from_secs(32);

/// Plays the history of this seed.
pub fn play(seed: u64, traced: bool) -> Story {
    let world: Shared = Arc::new(Mutex::new(World::new(Dice::seeded(seed), traced)));
    let broken = live(&world, seed).err();
    let mut world = lock(&world);
    Story { broken, trace: std::mem::take(&mut world.trace), counts: std::mem::take(&mut world.counts) }
}

/// Connections that take their time, as over a network.
struct Slow {
    network: Network,
    takes: Duration,
}

impl Dial for Slow {
    fn dial<'a>(&'a self, host: &'a str, port: u16) -> BoxFuture<'a, io::Result<Box<dyn Stream>>> {
        Box::pin(async move {
            tokio::time::sleep(self.takes).await;
            self.network.dial(host, port).await
        })
    }
}

/// Who posts, and when.
#[derive(Clone, Copy)]
enum Post {
    /// A comment under a key of its own.
    New(usize),
    /// A comment that was delivered, once more.
    Again,
    /// Another comment under the key of that one.
    Reused,
}

struct Process {
    world: Shared,
    dispatcher: Dispatcher,
    clock: SystemClock,
    /// Whether the channel is up all the time.
    is_healthy: bool,
}

fn live(world: &Shared, seed: u64) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .map_err(|error| error.to_string())?;
    runtime.block_on(async {
        let (pace, takes, is_healthy) = {
            let mut world = lock(world);
            let _ = world.is_born(None);
            // The only fault is the one below.
            world.calm = true;
            world.channels.scripted =
                Some(Scripted { words: REPLY.to_vec(), pause: Duration::ZERO, again: None, ends: None });
            let dice = &mut world.dice;
            let pace = dice.pick(&["", "10 per 1s", "1 per 1s", "5 per 2s by target", "3 per 500ms"]);
            let (takes, is_healthy) = (dice.pick_ms(&[0, 60, 120]), dice.chance(50));
            world.count(if is_healthy { "healthy all the time" } else { "down for a while" });
            world.note(|| format!("a channel with {pace}, {takes:?} to connect, healthy: {is_healthy}"));
            (pace, takes, is_healthy)
        };
        let clock = SystemClock::start_at(0);
        let process = Process {
            world: Shared::clone(world),
            dispatcher: dispatcher(world, seed, clock, pace, takes)?,
            clock,
            is_healthy,
        };
        process.dispatcher.watch(true);
        let lived = process.live().await;
        process.dispatcher.drain().await;
        lived?;
        keeps(pace, &lock(world).channels.arrivals)
    })
}

fn dispatcher(
    world: &Shared,
    seed: u64,
    clock: SystemClock,
    pace: &str,
    takes: Duration,
) -> Result<Dispatcher, String> {
    let limits = if pace.is_empty() { String::new() } else { format!("[limits]\npace = [{pace:?}]") };
    let paced = format!("{MANIFEST}\n{limits}");
    let channel = Manifest::parse(&paced, "paced.toml").map_err(|error| error.to_string())?;
    let channel = channel.channel(&BTreeMap::new())?;
    let base = BaseUrl::parse(&format!("http://{}", HOSTS[0])).map_err(|error| error.to_string())?;
    let network = Network { world: Shared::clone(world) };
    let native = NativeHttp::new(channel, base, TIMEOUT, Arc::new(clock))?;
    let native = Arc::new(native.dialing(Arc::new(Slow { network, takes })));
    let ledger: Arc<dyn Ledger> = Arc::new(MemoryLedger::new(Stamp::Rehearsal));
    let ids: Arc<dyn Ids> = Arc::new(SeededIds(Mutex::new(fastrand::Rng::with_seed(seed))));
    let bounds = Bounds { in_flight: 1024, lookups_per_second: 20 };
    Ok(Dispatcher::new(vec![native as Arc<dyn Provider>], ledger, clock, ids, bounds))
}

/// Whether no window ever had more requests than the pace, as far as that shows at the channel.
fn keeps(pace: &str, arrivals: &[Moment]) -> Result<(), String> {
    if pace.is_empty() {
        return Ok(());
    }
    let Pace { requests, window, .. } = Pace::parse(pace)?;
    let requests = usize::try_from(requests).unwrap_or(usize::MAX);
    let mut arrivals = arrivals.to_vec();
    arrivals.sort_unstable();
    let too_many = arrivals.windows(requests + 1).find(|many| {
        let (Some(first), Some(last)) = (many.first(), many.last()) else { return false };
        last.since(*first) + LONGEST_WAY < window
    });
    too_many.map_or(Ok(()), |many| Err(format!("the pace is {pace}, and requests arrived at {many:?}")))
}

impl Process {
    async fn live(&self) -> Result<(), String> {
        // What comes again later.
        let first = self.post(Post::New(0), Duration::from_secs(5)).await?;
        if first != Outcome::Delivered {
            return Err(format!("a healthy channel's first comment is {first}"));
        }
        tokio::time::sleep(Duration::from_secs(2)).await;
        let outage = async {
            if self.is_healthy {
                return;
            }
            let (wait, lasts) = {
                let dice = &mut lock(&self.world).dice;
                (dice.pick_ms(&[0, 500, 2_000]), dice.pick_ms(&[3_000, 500, 10_000]))
            };
            tokio::time::sleep(wait).await;
            lock(&self.world).channels.refuses = true;
            tokio::time::sleep(lasts).await;
            lock(&self.world).channels.refuses = false;
        };
        let posts = join_all(self.crowd().into_iter().map(|(wait, post, deadline)| async move {
            tokio::time::sleep(wait).await;
            self.post(post, deadline).await.map(drop)
        }));
        let (posted, ()) = tokio::join!(posts, outage);
        posted.into_iter().collect::<Result<Vec<()>, String>>()?;
        self.comes_back().await
    }

    /// Comments that come in bursts, known ones among them.
    fn crowd(&self) -> Vec<(Duration, Post, Duration)> {
        let dice = &mut lock(&self.world).dice;
        let count = 10 + dice.below(40);
        let mut wait = Duration::ZERO;
        let posts = (1..=count).map(|number| {
            wait += dice.pick_ms(&[0, 0, 1, 5, 60, 700]);
            let known = dice.pick(&[Post::Again, Post::Reused]);
            let post = if dice.chance(20) { known } else { Post::New(number) };
            (wait, post, dice.pick_ms(&[1_000, 1_000, 300, 3_000]))
        });
        posts.collect()
    }

    /// While a known key comes again all the time, a new comment is delivered soon after the last fault.
    async fn comes_back(&self) -> Result<(), String> {
        let began = self.clock.now();
        let mut number = 1_000;
        loop {
            let deadline = Duration::from_secs(3);
            let (known, reused, new) = tokio::join!(
                self.post(Post::Again, deadline),
                self.post(Post::Reused, deadline),
                self.post(Post::New(number), deadline),
            );
            known?;
            reused?;
            number += 1;
            let after = self.clock.now() - began;
            match new? {
                Outcome::Delivered => return Ok(()),
                outcome if after > WELL_AFTER => {
                    let view = self.dispatcher.providers();
                    return Err(format!(
                        "{after:?} after the last fault a new comment is {outcome}: {view:?}"
                    ));
                }
                _ => tokio::time::sleep(Duration::from_millis(700)).await,
            }
        }
    }

    async fn post(&self, post: Post, deadline: Duration) -> Result<Outcome, String> {
        let (key, text) = match post {
            Post::New(number) => (number, format!("text {number}")),
            Post::Again => (0, "text 0".into()),
            Post::Reused => (0, "another text".into()),
        };
        let held = self.dispatcher.hold(text.len()).ok_or("too many bytes")?;
        let permit = self.dispatcher.admit(1, held).ok_or("too many")?;
        let asked = self.clock.now();
        let order = Order {
            key: KeyRef { caller: String::new(), key: format!("key {key}").into(), item: 0 },
            key_is_made: false,
            comment: Comment {
                content: text,
                addressing: Addressing { sns_id: "target".into(), ..Addressing::default() }.into(),
            },
            batch_len: 1,
            trace_id: "trace".into(),
            deadline: asked + deadline,
            permit,
        };
        let delivered = self.dispatcher.deliver(order).await;
        let took = self.clock.now() - asked;
        let outcome = self.judge(&delivered, took)?;
        let mut world = lock(&self.world);
        world.note(|| format!("key {key} is {outcome} after {took:?}"));
        world.count(match outcome {
            Outcome::Delivered => "delivered",
            Outcome::NotSent => "not sent",
            _ => "anything else",
        });
        Ok(outcome)
    }

    fn judge(&self, delivered: &DeliveryResult, took: Duration) -> Result<Outcome, String> {
        let reply = match delivered {
            Ok(reply) => reply,
            Err(DeliverError::KeyReused(_)) => return Ok(Outcome::Refused),
            Err(error) => return Err(format!("nobody was told an outcome: {error:?}")),
        };
        let waits = reply.code == Code::DeadlineExceeded && reply.retry_after_ms.is_some();
        if waits && (took > AT_ONCE || !reply.attempts.is_empty()) {
            return Err(format!("that its turn comes too late was said after {took:?}: {reply:?}"));
        }
        let breaker = self.dispatcher.providers().first().map(|view| view.breaker.state);
        if self.is_healthy && breaker != Some(BreakerState::Closed) {
            return Err(format!("the breaker of a healthy channel is {breaker:?} after {reply:?}"));
        }
        Ok(reply.outcome)
    }
}
