use super::super::stream::{Dial, Sockets, Stream};
use super::super::tcp::Tcp;
use super::*;
use crate::provider::BoxFuture;
use commentd_contract::SystemClock;
use commentd_contract::time::Clock;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

#[test]
fn families_take_turns_and_the_address_that_answered_last_comes_first() {
    let [a, b, c, d] = ["[::2]:80", "[::3]:80", "192.0.2.1:80", "192.0.2.2:80"].map(address);
    let order = |plan: &mut DialPlan| [(); 5].map(|()| plan.next().unwrap());
    assert_eq!(order(&mut DialPlan::new(vec![a, b, c, d], None, 0)), [a, c, b, d, a]);
    assert_eq!(
        order(&mut DialPlan::new(vec![c, d, a, b], Some(LastDial { address: b, took: ms(1) }), 0)),
        [b, c, a, d, b]
    );
}

#[test]
fn the_next_dial_comes_sooner_where_dials_are_known_to_be_quick() {
    let (far, near) = (address("192.0.2.1:80"), address("127.0.0.1:80"));
    let took = |count| Some(LastDial { address: far, took: ms(count) });
    // Each wait is the step or up to half more, and grows in the end.
    let steps = |plan: &mut DialPlan, step: u64| {
        let waits: Vec<Duration> = (0..12).filter_map(|_| plan.next().map(|_| plan.wait())).collect();
        let (even, rest) = waits.split_at(8);
        assert!(even.iter().all(|wait| (ms(step)..=ms(step * 3 / 2)).contains(wait)), "{even:?}");
        assert!(rest.last().is_some_and(|wait| *wait > ms(2 * step)), "{rest:?}");
    };
    steps(&mut DialPlan::new(vec![far], None, 1), 250);
    steps(&mut DialPlan::new(vec![far], took(10), 2), 80);
    steps(&mut DialPlan::new(vec![far], took(900), 3), 250);
    steps(&mut DialPlan::new(vec![near], None, 4), 25);
}

#[test]
fn dials_end_and_an_address_that_refuses_is_dialled_once() {
    let [a, b] = ["192.0.2.1:80", "192.0.2.2:80"].map(address);
    let mut plan = DialPlan::new(vec![a, b], None, 0);
    assert_eq!(plan.next(), Some(a));
    plan.refused(a);
    assert_eq!([plan.next(), plan.next()], [Some(b), Some(b)]);
    let mut plan = DialPlan::new(vec![a], None, 0);
    assert_eq!(std::iter::from_fn(|| plan.next()).count(), MOST_DIALS as usize);
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Host {
    /// Nothing comes back.
    BlackHole,
    Refuses,
    /// Takes at most so many connections that it hasn't served yet; each takes it a while.
    Backlog(usize),
}

/// A resolver and a network that do as a test says.
struct Fake {
    resolved: Vec<SocketAddr>,
    hosts: BTreeMap<SocketAddr, Host>,
    /// How many wait to be served.
    queue: Arc<Mutex<usize>>,
    /// The most that were dialled at the same time, and how many are now.
    at_once: Mutex<(usize, usize)>,
    takes: Duration,
}

impl Fake {
    fn new(hosts: &[(&str, Host)]) -> Self {
        let hosts: Vec<(SocketAddr, Host)> =
            hosts.iter().map(|(text, host)| (address(text), *host)).collect();
        Self {
            resolved: hosts.iter().map(|(address, _)| *address).collect(),
            hosts: hosts.into_iter().collect(),
            queue: Arc::default(),
            at_once: Mutex::default(),
            takes: ms(1),
        }
    }
}

impl Sockets for Fake {
    fn resolve<'a>(&'a self, _: &'a str, _: u16) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>> {
        Box::pin(async { Ok(self.resolved.clone()) })
    }

    fn connect(&self, address: SocketAddr) -> BoxFuture<'_, io::Result<Box<dyn Stream>>> {
        Box::pin(async move {
            {
                let mut at_once = self.at_once.lock().unwrap();
                at_once.1 += 1;
                at_once.0 = at_once.0.max(at_once.1);
            }
            tokio::time::sleep(self.takes).await;
            self.at_once.lock().unwrap().1 -= 1;
            match self.hosts[&address] {
                Host::Refuses => return Err(io::ErrorKind::ConnectionRefused.into()),
                Host::BlackHole => return std::future::pending().await,
                Host::Backlog(most) => {
                    let is_full = {
                        let mut waiting = self.queue.lock().unwrap();
                        let is_full = *waiting >= most;
                        *waiting += usize::from(!is_full);
                        is_full
                    };
                    if is_full {
                        // The packet is dropped; the system's next one comes after a second.
                        tokio::time::sleep(ms(1000)).await;
                    }
                }
            }
            let queue = Arc::clone(&self.queue);
            tokio::spawn(async move {
                tokio::time::sleep(ms(4)).await;
                let mut waiting = queue.lock().unwrap();
                *waiting = waiting.saturating_sub(1);
            });
            Ok(Box::new(tokio::io::duplex(1).0) as Box<dyn Stream>)
        })
    }
}

/// Ten connections at once; how long it took, and the most dials at the same time.
async fn ten(fake: Fake) -> (Duration, usize) {
    let clock = SystemClock::start_at(0);
    let fake = Arc::new(fake);
    let tcp = Arc::new(Tcp::with(Arc::clone(&fake) as Arc<dyn Sockets>, Arc::new(clock)));
    let dials: Vec<_> = (0..10)
        .map(|_| {
            let tcp = Arc::clone(&tcp);
            tokio::spawn(async move { tcp.dial("host", 80).await.map(drop) })
        })
        .collect();
    for dial in dials {
        dial.await.unwrap().unwrap();
    }
    let most = fake.at_once.lock().unwrap().0;
    (clock.now().since_start(), most)
}

#[tokio::test(start_paused = true)]
async fn a_full_backlog_costs_no_second() {
    for backlog in [1, 3, 5] {
        for near in ["127.0.0.1:80", "192.0.2.1:80"] {
            let (took, most) = ten(Fake::new(&[(near, Host::Backlog(backlog))])).await;
            assert!(took < ms(400), "{near} with {backlog}: {took:?}");
            assert!(most <= 5, "{most} dials at once");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_address_that_is_a_black_hole_or_refuses_holds_nobody_up() {
    let good = Host::Backlog(100);
    for hosts in [
        &[("[2001:db8::1]:80", Host::BlackHole), ("192.0.2.1:80", good)][..],
        &[("192.0.2.1:80", Host::BlackHole), ("192.0.2.2:80", good), ("192.0.2.3:80", good)],
        &[("192.0.2.1:80", Host::Refuses), ("192.0.2.2:80", Host::Refuses), ("192.0.2.3:80", good)],
        &[("[2001:db8::1]:80", Host::Refuses), ("192.0.2.1:80", Host::Backlog(2))],
    ] {
        let (took, _) = ten(Fake::new(hosts)).await;
        assert!(took < ms(400), "{hosts:?}: {took:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn nobody_there_is_said_at_once() {
    let clock = SystemClock::start_at(0);
    let fake = Fake::new(&[("192.0.2.1:80", Host::Refuses), ("192.0.2.2:80", Host::Refuses)]);
    let error = Tcp::with(Arc::new(fake), Arc::new(clock)).dial("host", 80).await.map(drop).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    assert!(clock.now().since_start() < ms(50));
}
