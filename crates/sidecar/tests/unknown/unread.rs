//! What is said of a key that the ledger hasn't read by the deadline. Nothing is told *in flight* that isn't.

use super::support::{
    Channel, Troubled, ask, destination, dispatcher, ends, opening, told, verdict, wait_for,
};
use commentd_contract::{Outcome, ProviderName, VerdictKind};
use commentd_delivery::Clock;
use commentd_delivery::reply::DeliverError;
use commentd_ledger::Ledger;
use std::sync::Arc;
use std::time::Duration;

/// Less than the grace that settlings have.
const SHORTLY: Duration = Duration::from_millis(5);

fn stage() -> (Arc<Channel>, Arc<Troubled>) {
    (Channel::new(ProviderName::NativeHttp, "http://c"), Troubled::new())
}

#[tokio::test(start_paused = true)]
async fn a_fresh_key_past_the_deadline_is_not_sent_and_not_in_flight() {
    let (channel, ledger) = stage();
    let dispatcher = dispatcher(&[&channel], Arc::clone(&ledger) as Arc<dyn Ledger>);
    Troubled::hold(&ledger.readings);
    let answering = async {
        tokio::time::sleep(SHORTLY).await;
        ledger.readings.add_permits(100);
    };
    let (delivered, ()) = tokio::join!(ask(&dispatcher, 1, Duration::ZERO), answering);
    assert_eq!(told(&delivered), (Outcome::NotSent, false));
    assert!(channel.attempts.lock().unwrap().is_empty());
    dispatcher.drain().await;
}

#[tokio::test(start_paused = true)]
async fn a_fresh_key_whose_opening_takes_until_after_the_deadline_is_not_sent_and_not_in_flight() {
    let (channel, ledger) = stage();
    let dispatcher = dispatcher(&[&channel], Arc::clone(&ledger) as Arc<dyn Ledger>);
    Troubled::hold(&ledger.openings);
    let deadline = Duration::from_millis(100);
    let answering = async {
        tokio::time::sleep(deadline + SHORTLY).await;
        ledger.openings.add_permits(100);
    };
    let (delivered, ()) = tokio::join!(ask(&dispatcher, 1, deadline), answering);
    assert_eq!(told(&delivered), (Outcome::NotSent, false));
    assert!(channel.attempts.lock().unwrap().is_empty());
    dispatcher.drain().await;
}

#[tokio::test(start_paused = true)]
async fn a_ledger_that_does_not_answer_is_said_to_be_silent_and_makes_no_answer_late() {
    for deadline in [Duration::ZERO, Duration::from_millis(100)] {
        let (channel, ledger) = stage();
        let dispatcher = dispatcher(&[&channel], Arc::clone(&ledger) as Arc<dyn Ledger>);
        Troubled::hold(&ledger.readings);
        Troubled::hold(&ledger.openings);
        let delivered = ask(&dispatcher, 1, deadline).await;
        assert!(matches!(delivered, Err(DeliverError::LedgerSilent)), "{delivered:?}");
        let took = dispatcher.clock().now().since_start();
        assert!(took <= deadline + Duration::from_millis(22), "{took:?}");
        ledger.openings.add_permits(100);
        wait_for("the delivery to end", || async { dispatcher.in_flight() == 0 }).await;
        assert!(channel.attempts.lock().unwrap().is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn a_known_key_past_the_deadline_is_told_by_its_record() {
    let (channel, ledger) = stage();
    let dispatcher = dispatcher(&[&channel], Arc::clone(&ledger) as Arc<dyn Ledger>);
    ledger.open(opening(1, destination(ProviderName::NativeHttp, "http://c"))).await.unwrap();
    ledger.settle(ends(1, 1, verdict(VerdictKind::Delivered))).await.unwrap();
    Troubled::hold(&ledger.readings);
    let answering = async {
        tokio::time::sleep(SHORTLY).await;
        ledger.readings.add_permits(100);
    };
    let (delivered, ()) = tokio::join!(ask(&dispatcher, 1, Duration::ZERO), answering);
    assert_eq!(told(&delivered), (Outcome::Delivered, true));
    dispatcher.drain().await;
}
