//! One life of the sidecar: started, used by many clients at once, ended without a word.

use crate::Failure;
use crate::client::{self, Ask, ClientLog};
use crate::options::Options;
use crate::sidecar::{Sidecar, Started};
use crate::work::{Pending, new_asks};
use commentd_contract::SystemClock;
use commentd_delivery::Clock;
use commentd_providers::failpoint::Failpoint;
use std::collections::VecDeque;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Every so many lives there is one that lasts until what is uncertain is settled.
const SETTLES_EVERY: u64 = 25;
/// Every so many lives begin with a start on what is left of a log that was lost or damaged meanwhile.
const LOSES_EVERY: u64 = 5;
/// The first frame of a log, and the header before it.
const LOG_BEGINS: usize = 32 + 24 + 4096;
/// Between two rounds over what isn't certain yet; there is no event to wait for.
const BETWEEN_ROUNDS: Duration = Duration::from_millis(100);
/// The deadlines that clients ask for, in milliseconds: half of them shorter than the sidecar's patience with the
/// channel, so that they pass while an attempt is under way.
const SHORT_MS: RangeInclusive<u64> = 60..=400;
const LONG_MS: RangeInclusive<u64> = 400..=1500;

/// What the lives of a run share.
#[derive(Debug)]
pub struct World {
    /// What the run is to do.
    pub options: Options,
    /// The program to kill.
    pub program: PathBuf,
    /// Where the channel is.
    pub url: String,
    /// The clients' log.
    pub log: ClientLog,
    /// The keys that are not certain yet.
    pub pending: Mutex<Pending>,
    /// The time, for the patience of settling.
    pub clock: SystemClock,
}

/// How a life is to end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// At this passage of this fence.
    AtFence(Failpoint, u64),
    /// After so many calls of clients, and then so many microseconds.
    After(u64, u64),
    /// When everything is certain, or nothing becomes certain any more.
    Settled,
}

impl End {
    /// The end of this life of a run. Fences come in turn.
    pub fn of(life: u64, keys: u64, random: &mut fastrand::Rng) -> Self {
        if life % SETTLES_EVERY == SETTLES_EVERY - 1 {
            return End::Settled;
        }
        let turn = usize::try_from(life / 2).unwrap_or(0) % Failpoint::ALL.len();
        match Failpoint::ALL.get(turn) {
            Some(fence) if life % 2 == 1 => End::AtFence(*fence, random.u64(1..=keys)),
            _ => End::After(random.u64(..=keys), random.u64(..3000)),
        }
    }
}

/// The random stream of one life of a run.
pub fn random_of(seed: u64, life: u64) -> fastrand::Rng {
    fastrand::Rng::with_seed(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ life)
}

/// Lives one life and gives how it ended: the fence's name, `random moment`, `settled`, `all asked` where the fence
/// or the moment never came, or `didn't start` where the ledger failed at the start already.
///
/// # Errors
/// When the sidecar can't be started or crashes, or the log can't be written.
pub async fn live(world: &Arc<World>, life: u64, end: End) -> Result<&'static str, Failure> {
    let mut random = random_of(world.options.seed, life);
    let ledger_fault = ledger_fault(&world.options, life, &end, &mut random);
    let fence = match &end {
        End::AtFence(fence, passage) => Some(format!("{}:{passage}", fence.as_str())),
        End::After(..) | End::Settled => None,
    };
    let new = if life < world.options.cycles { world.options.keys } else { 0 };
    let asks = {
        let mut pending = lock(&world.pending);
        let new = new_asks(life, new, &mut random);
        let asks = pending.mixed(new.clone(), &mut random);
        new.into_iter().for_each(|ask| pending.add(ask));
        asks
    };
    if life % LOSES_EVERY == LOSES_EVERY - 1 {
        lose_log(world, &mut random).await?;
    }
    let started =
        Sidecar::start(&world.options, &world.program, &world.url, fence.as_deref(), ledger_fault.as_deref());
    let mut sidecar = match started.await? {
        Started::Running(sidecar) => sidecar,
        Started::Ended(_) if ledger_fault.is_some() => return Ok("didn't start"),
        // A fence may stand on the way of the start, too.
        Started::Ended(status) if fence.is_some() && was_killed(status) => return Ok("at start"),
        Started::Ended(status) => return Err(crashed(status)),
    };
    let round = Round::new(world, &sidecar.address, random.u64(..));
    let (mut clients, mut calls) = round.start(asks);
    let came = match &end {
        End::AtFence(..) => tokio::select! {
            status = sidecar.ended() => Some(status?),
            result = all_of(&mut clients) => result.map(|()| None)?,
        },
        End::After(after, then_us) => {
            tokio::select! {
                biased;
                status = sidecar.ended() => Some(status?),
                // What it gives holds a lock that the clients need, so it is dropped at once.
                () = async { drop(calls.wait_for(|calls| calls >= after).await) } => {
                    tokio::time::sleep(Duration::from_micros(*then_us)).await;
                    None
                }
                result = all_of(&mut clients) => result.map(|()| None)?,
            }
        }
        End::Settled => {
            tokio::select! {
                status = sidecar.ended() => Some(status?),
                result = async {
                    all_of(&mut clients).await?;
                    settle(world, &round).await
                } => result.map(|()| None)?,
            }
        }
    };
    let all_asked = clients.is_empty();
    let status = match came {
        Some(status) => Some(status),
        None => sidecar.kill().await?,
    };
    round.over.send_replace(true);
    all_of(&mut clients).await?;
    match (&end, status) {
        (End::AtFence(fence, _), Some(status)) if was_killed(status) => Ok(fence.as_str()),
        (_, Some(status)) => Err(crashed(status)),
        (End::Settled, None) => Ok("settled"),
        (End::After(..), None) if !all_asked => Ok("random moment"),
        _ => Ok("all asked"),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Deletes the log that the killed sidecar left, or flips a bit of it, starts a sidecar, which must refuse that, and
/// puts the log back.
///
/// # Errors
/// When the sidecar starts, as if nothing were lost.
async fn lose_log(world: &World, random: &mut fastrand::Rng) -> Result<(), Failure> {
    let path = world.options.state.join("ledger.db-wal");
    let Ok(log) = std::fs::read(&path) else { return Ok(()) };
    let place = random.usize(..LOG_BEGINS);
    let how = match log.get(place) {
        // It was emptied just before the end, so nothing is lost with it.
        None => return Ok(()),
        Some(_) if random.bool() => {
            std::fs::remove_file(&path)?;
            "deleted".to_owned()
        }
        Some(_) => {
            let mut damaged = log.clone();
            if let Some(byte) = damaged.get_mut(place) {
                *byte ^= 1 << random.u8(..8);
            }
            std::fs::write(&path, damaged)?;
            format!("damaged at byte {place}")
        }
    };
    let started = Sidecar::start(&world.options, &world.program, &world.url, None, None).await?;
    if let Started::Running(sidecar) = started {
        sidecar.kill().await?;
        return Err(Failure(format!("a sidecar starts though the ledger's log was {how}")));
    }
    std::fs::write(&path, log)?;
    Ok(())
}

/// What `COMMENTD_LEDGER_FAULT` is in this life.
fn ledger_fault(options: &Options, life: u64, end: &End, random: &mut fastrand::Rng) -> Option<String> {
    use crate::options::LedgerFault::{Both, Full, ReadOnly};
    let fault = options.ledger_fault.filter(|_| life % 4 < 2 && *end != End::Settled)?;
    // A comment takes about half a page, and many share a commit: so that it comes early, with most still to do.
    let full = format!("full:{}", random.u64(..=options.keys / 8));
    let read_only = format!("read-only:{}", random.u64(1..=options.keys / 8 + 1));
    Some(match fault {
        Full => full,
        ReadOnly => read_only,
        Both if life % 8 < 4 => full,
        Both => read_only,
    })
}

fn was_killed(status: ExitStatus) -> bool {
    #[cfg(unix)]
    return std::os::unix::process::ExitStatusExt::signal(&status) == Some(9);
    #[cfg(not(unix))]
    return !status.success();
}

fn crashed(status: ExitStatus) -> Failure {
    Failure(format!("the sidecar ended by itself ({status}); see serve.log in the state directory"))
}

/// Asks again and again until all is certain, or nothing has become so for as long as the options say.
async fn settle(world: &Arc<World>, round: &Round) -> Result<(), Failure> {
    let patience = Duration::from_secs(world.options.settle_patience_s);
    let (mut left, mut since) = (usize::MAX, world.clock.now());
    loop {
        let asks = lock(&world.pending).all();
        if asks.len() < left {
            (left, since) = (asks.len(), world.clock.now());
        }
        if left == 0 || world.clock.now() - since >= patience {
            return Ok(());
        }
        let (mut clients, _) = round.start(asks);
        all_of(&mut clients).await?;
        tokio::time::sleep(BETWEEN_ROUNDS).await;
    }
}

async fn all_of(clients: &mut JoinSet<Result<(), Failure>>) -> Result<(), Failure> {
    while let Some(ended) = clients.join_next().await {
        ended??;
    }
    Ok(())
}

/// The clients of one life.
struct Round {
    world: Arc<World>,
    address: String,
    seed: u64,
    /// Set when the sidecar is dead: then nobody begins another call.
    over: watch::Sender<bool>,
}

impl Round {
    fn new(world: &Arc<World>, address: &str, seed: u64) -> Self {
        Self { world: Arc::clone(world), address: address.to_owned(), seed, over: watch::Sender::new(false) }
    }

    /// Starts clients that share these asks; also gives how many calls have ended.
    fn start(&self, asks: VecDeque<Ask>) -> (JoinSet<Result<(), Failure>>, watch::Receiver<u64>) {
        let asks = Arc::new(Mutex::new(asks));
        let calls = Arc::new(watch::Sender::new(0));
        let mut clients = JoinSet::new();
        for number in 0..self.world.options.clients.max(1) {
            let (world, address, asks) = (Arc::clone(&self.world), self.address.clone(), Arc::clone(&asks));
            let (calls, over) = (Arc::clone(&calls), self.over.subscribe());
            let mut random = fastrand::Rng::with_seed(self.seed.wrapping_add(number as u64));
            clients.spawn(async move {
                while !*over.borrow() {
                    let Some(ask) = lock(&asks).pop_front() else { break };
                    let deadlines = if random.bool() { SHORT_MS } else { LONG_MS };
                    let deadline_ms = random.u64(deadlines);
                    let known = client::ask(&world.log, &address, &ask, deadline_ms).await?;
                    lock(&world.pending).ended(&ask.key, known);
                    calls.send_modify(|calls| *calls += 1);
                }
                Ok(())
            });
        }
        (clients, calls.subscribe())
    }
}
