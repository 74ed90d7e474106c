//! One life of the sidecar: started, used by many clients at once, ended without a word.

use crate::client::{self, ClientLog, KeyedRequest};
use crate::error::ChaosError;
use crate::options::ChaosOptions;
use crate::requests::{UncertainKeys, new_requests};
use crate::sidecar::{SidecarProcess, StartResult};
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
pub struct RunContext {
    /// What the run is to do.
    pub options: ChaosOptions,
    /// The program to kill.
    pub program: PathBuf,
    /// Where the channel is.
    pub url: String,
    /// The clients' log.
    pub log: ClientLog,
    /// The keys that are not certain yet.
    pub pending: Mutex<UncertainKeys>,
    /// The time, for the patience of settling.
    pub clock: SystemClock,
}

/// How a life is to end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PlannedEnd {
    /// At this passage of this failpoint.
    AtFailpoint(Failpoint, u64),
    /// After so many calls of clients, and then so many microseconds.
    After(u64, u64),
    /// When everything is certain, or nothing becomes certain any more.
    Settled,
}

impl PlannedEnd {
    /// The end of this life of a run. Failpoints come in turn.
    pub fn of(life: u64, keys: u64, random: &mut fastrand::Rng) -> Self {
        if life % SETTLES_EVERY == SETTLES_EVERY - 1 {
            return PlannedEnd::Settled;
        }
        let turn = usize::try_from(life / 2).unwrap_or(0) % Failpoint::ALL.len();
        match Failpoint::ALL.get(turn) {
            Some(failpoint) if life % 2 == 1 => PlannedEnd::AtFailpoint(*failpoint, random.u64(1..=keys)),
            _ => PlannedEnd::After(random.u64(..=keys), random.u64(..3000)),
        }
    }
}

/// The random stream of one life of a run.
pub fn random_of(seed: u64, life: u64) -> fastrand::Rng {
    fastrand::Rng::with_seed(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ life)
}

/// Lives one life and gives how it ended: the failpoint's name, `random moment`, `settled`, `all asked` where the
/// failpoint or the moment never came, or `didn't start` where the ledger failed at the start already.
///
/// # Errors
/// When the sidecar can't be started or crashes, or the log can't be written.
pub async fn live(context: &Arc<RunContext>, life: u64, end: PlannedEnd) -> Result<&'static str, ChaosError> {
    let mut random = random_of(context.options.seed, life);
    let ledger_fault = ledger_fault(&context.options, life, &end, &mut random);
    let failpoint = match &end {
        PlannedEnd::AtFailpoint(failpoint, passage) => Some(format!("{}:{passage}", failpoint.as_str())),
        PlannedEnd::After(..) | PlannedEnd::Settled => None,
    };
    let new = if life < context.options.cycles { context.options.keys } else { 0 };
    let requests = {
        let mut pending = lock(&context.pending);
        let new = new_requests(life, new, &mut random);
        let requests = pending.mixed(new.clone(), &mut random);
        new.into_iter().for_each(|request| pending.add(request));
        requests
    };
    if life % LOSES_EVERY == LOSES_EVERY - 1 {
        lose_log(context, &mut random).await?;
    }
    let started = SidecarProcess::start(
        &context.options,
        &context.program,
        &context.url,
        failpoint.as_deref(),
        ledger_fault.as_deref(),
    );
    let mut sidecar = match started.await? {
        StartResult::Running(sidecar) => sidecar,
        StartResult::Ended(_) if ledger_fault.is_some() => return Ok("didn't start"),
        // A failpoint may stand on the way of the start, too.
        StartResult::Ended(status) if failpoint.is_some() && was_killed(status) => return Ok("at start"),
        StartResult::Ended(status) => return Err(crashed(status)),
    };
    let pool = ClientPool::new(context, &sidecar.address, random.u64(..));
    let (mut clients, mut calls) = pool.start(requests);
    let came = match &end {
        PlannedEnd::AtFailpoint(..) => tokio::select! {
            status = sidecar.ended() => Some(status?),
            result = all_of(&mut clients) => result.map(|()| None)?,
        },
        PlannedEnd::After(after, then_us) => {
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
        PlannedEnd::Settled => {
            tokio::select! {
                status = sidecar.ended() => Some(status?),
                result = async {
                    all_of(&mut clients).await?;
                    settle(context, &pool).await
                } => result.map(|()| None)?,
            }
        }
    };
    let all_asked = clients.is_empty();
    let status = match came {
        Some(status) => Some(status),
        None => sidecar.kill().await?,
    };
    pool.over.send_replace(true);
    all_of(&mut clients).await?;
    match (&end, status) {
        (PlannedEnd::AtFailpoint(failpoint, _), Some(status)) if was_killed(status) => Ok(failpoint.as_str()),
        (_, Some(status)) => Err(crashed(status)),
        (PlannedEnd::Settled, None) => Ok("settled"),
        (PlannedEnd::After(..), None) if !all_asked => Ok("random moment"),
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
async fn lose_log(context: &RunContext, random: &mut fastrand::Rng) -> Result<(), ChaosError> {
    let path = context.options.state.join("ledger.db-wal");
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
    let started = SidecarProcess::start(&context.options, &context.program, &context.url, None, None).await?;
    if let StartResult::Running(sidecar) = started {
        sidecar.kill().await?;
        return Err(ChaosError(format!("a sidecar starts though the ledger's log was {how}")));
    }
    std::fs::write(&path, log)?;
    Ok(())
}

/// What `COMMENTD_LEDGER_FAULT` is in this life.
fn ledger_fault(
    options: &ChaosOptions,
    life: u64,
    end: &PlannedEnd,
    random: &mut fastrand::Rng,
) -> Option<String> {
    use crate::options::LedgerFault::{Both, Full, ReadOnly};
    let fault = options.ledger_fault.filter(|_| life % 4 < 2 && *end != PlannedEnd::Settled)?;
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

fn crashed(status: ExitStatus) -> ChaosError {
    ChaosError(format!("the sidecar ended by itself ({status}); see serve.log in the state directory"))
}

/// Asks again and again until all is certain, or nothing has become so for as long as the options say.
async fn settle(context: &Arc<RunContext>, pool: &ClientPool) -> Result<(), ChaosError> {
    let patience = Duration::from_secs(context.options.settle_patience_s);
    let (mut left, mut since) = (usize::MAX, context.clock.now());
    loop {
        let requests = lock(&context.pending).all();
        if requests.len() < left {
            (left, since) = (requests.len(), context.clock.now());
        }
        if left == 0 || context.clock.now() - since >= patience {
            return Ok(());
        }
        let (mut clients, _) = pool.start(requests);
        all_of(&mut clients).await?;
        tokio::time::sleep(BETWEEN_ROUNDS).await;
    }
}

async fn all_of(clients: &mut JoinSet<Result<(), ChaosError>>) -> Result<(), ChaosError> {
    while let Some(ended) = clients.join_next().await {
        ended??;
    }
    Ok(())
}

/// The clients of one life.
struct ClientPool {
    context: Arc<RunContext>,
    address: String,
    seed: u64,
    /// Set when the sidecar is dead: then nobody begins another call.
    over: watch::Sender<bool>,
}

impl ClientPool {
    fn new(context: &Arc<RunContext>, address: &str, seed: u64) -> Self {
        Self {
            context: Arc::clone(context),
            address: address.to_owned(),
            seed,
            over: watch::Sender::new(false),
        }
    }

    /// Starts clients that share these requests; also gives how many calls have ended.
    fn start(
        &self,
        requests: VecDeque<KeyedRequest>,
    ) -> (JoinSet<Result<(), ChaosError>>, watch::Receiver<u64>) {
        let requests = Arc::new(Mutex::new(requests));
        let calls = Arc::new(watch::Sender::new(0));
        let mut clients = JoinSet::new();
        for number in 0..self.context.options.clients.max(1) {
            let (context, address, requests) =
                (Arc::clone(&self.context), self.address.clone(), Arc::clone(&requests));
            let (calls, over) = (Arc::clone(&calls), self.over.subscribe());
            let mut random = fastrand::Rng::with_seed(self.seed.wrapping_add(number as u64));
            clients.spawn(async move {
                while !*over.borrow() {
                    let Some(request) = lock(&requests).pop_front() else { break };
                    let deadlines = if random.bool() { SHORT_MS } else { LONG_MS };
                    let deadline_ms = random.u64(deadlines);
                    let known = client::call(&context.log, &address, &request, deadline_ms).await?;
                    lock(&context.pending).ended(&request.key, known);
                    calls.send_modify(|calls| *calls += 1);
                }
                Ok(())
            });
        }
        (clients, calls.subscribe())
    }
}
