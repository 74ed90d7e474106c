//! Which address is dialled when, after RFC 8305: one that doesn't answer holds up the next one only for a moment.
//!
//! The same address is dialled again, too. A listener whose queue is full drops the first packet of a connection, and
//! the system would repeat it only after a second. Nothing was sent by then, so that another dial can't do harm.

use super::stream::{Sockets, Stream, is_own_shortage};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::time::Duration;
use tokio::sync::watch;

/// How long a dial to an address that isn't known yet has before the next one is begun beside it.
const STEP: Duration = Duration::from_millis(250);
/// The same where dials are known to take far less, or where the address is this machine's.
const SHORT_STEP: Duration = Duration::from_millis(25);
/// A dial that takes this many times as long as the last one did is as good as lost.
const PATIENCE: u32 = 8;
/// Most dials for one connection.
const MOST_DIALS: u32 = 16;
/// After so many dials to addresses that have all been dialled, they come less and less often.
const EVEN_DIALS: u32 = 8;

/// The last connection that came, to whomever.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LastDial {
    pub(super) address: SocketAddr,
    pub(super) took: Duration,
}

/// The dials for one connection.
pub(super) struct DialPlan {
    /// The next one first. An address that has refused isn't in it any more.
    addresses: VecDeque<SocketAddr>,
    step: Duration,
    dials: u32,
    /// After so many every address had its turn.
    first_round: u32,
    random: fastrand::Rng,
}

impl DialPlan {
    /// Addresses in the resolver's order, but with the families in turns, and the one that answered last in front.
    /// `seed` keeps connections that are wanted at the same time from being dialled again at the same time.
    pub(super) fn new(resolved: Vec<SocketAddr>, last: Option<LastDial>, seed: u64) -> Self {
        let addresses = in_turns(resolved);
        let is_near = addresses.iter().all(|address| address.ip().is_loopback());
        let step = if is_near { SHORT_STEP } else { STEP };
        let first_round = u32::try_from(addresses.len()).unwrap_or(u32::MAX);
        let random = fastrand::Rng::with_seed(seed);
        let mut plan = Self { addresses, step, dials: 0, first_round, random };
        if let Some(last) = last {
            plan.learn(last);
        }
        plan
    }

    /// A connection came. Where that was elsewhere, it is the next to be dialled.
    pub(super) fn learn(&mut self, last: LastDial) {
        self.step = self.step.min(last.took.saturating_mul(PATIENCE).clamp(SHORT_STEP, STEP));
        if let Some(place) = self.addresses.iter().position(|address| *address == last.address)
            && let Some(address) = self.addresses.remove(place)
        {
            self.addresses.push_front(address);
        }
    }

    /// The address that is to be dialled now, if there is one.
    pub(super) fn next(&mut self) -> Option<SocketAddr> {
        if self.dials >= MOST_DIALS {
            return None;
        }
        let address = self.addresses.pop_front()?;
        self.addresses.push_back(address);
        self.dials += 1;
        Some(address)
    }

    /// How long after that one the next is to be dialled, if nothing has come until then: the step, or up to half more.
    pub(super) fn wait(&mut self) -> Duration {
        let wait = self.step + self.step.mul_f64(self.random.f64() / 2.0);
        if self.dials >= self.first_round.saturating_add(EVEN_DIALS) {
            self.step = self.step.saturating_mul(2);
        }
        wait
    }

    /// There is no connection to be had at this address.
    pub(super) fn refused(&mut self, address: SocketAddr) {
        self.addresses.retain(|other| *other != address);
    }

    /// Whether an address is left that wasn't dialled yet.
    fn has_fresh(&self) -> bool {
        self.dials < self.first_round && !self.addresses.is_empty()
    }
}

fn in_turns(resolved: Vec<SocketAddr>) -> VecDeque<SocketAddr> {
    let is_first_v6 = resolved.first().is_some_and(SocketAddr::is_ipv6);
    let (mut ones, mut others): (VecDeque<_>, VecDeque<_>) =
        resolved.into_iter().partition(|address| address.is_ipv6() == is_first_v6);
    let mut addresses = VecDeque::with_capacity(ones.len() + others.len());
    while !ones.is_empty() || !others.is_empty() {
        addresses.extend(ones.pop_front());
        addresses.extend(others.pop_front());
    }
    addresses
}

/// Dials by the plan; the first connection that comes wins, and the others are given up.
pub(super) async fn race(
    sockets: &dyn Sockets,
    mut plan: DialPlan,
    mut last: watch::Receiver<Option<LastDial>>,
) -> io::Result<(SocketAddr, Box<dyn Stream>)> {
    let mut dials = FuturesUnordered::new();
    let mut dialled = Vec::new();
    let mut error = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    loop {
        let next = plan.next();
        if let Some(address) = next {
            dialled.push(address);
            dials.push(async move { (address, sockets.connect(address).await) });
        }
        let mut pause = pin!(tokio::time::sleep(plan.wait()));
        loop {
            if dials.is_empty() && next.is_none() {
                return Err(error);
            }
            tokio::select! {
                biased;
                Some((address, done)) = dials.next() => match done {
                    Ok(stream) => return Ok((address, stream)),
                    // Where this process has no more sockets to give, no other address helps.
                    Err(own) if is_own_shortage(&own) => return Err(own),
                    Err(failed) => {
                        error = failed;
                        plan.refused(address);
                        if plan.has_fresh() || dials.is_empty() {
                            break;
                        }
                    }
                },
                Ok(()) = last.changed(), if next.is_some() => {
                    let Some(last) = *last.borrow_and_update() else { continue };
                    let before = plan.step;
                    plan.learn(last);
                    if !dialled.contains(&last.address) {
                        break;
                    }
                    if plan.step < before {
                        pause.set(tokio::time::sleep(plan.wait()));
                    }
                }
                () = &mut pause, if next.is_some() => break,
            }
        }
    }
}

#[cfg(test)]
mod tests;
