//! Events in an order that no honest driver would report. What the machine promises over whole histories, the crate
//! `commentd-simulation` tests.

mod support;

use commentd_contract::VerdictKind;
use commentd_delivery::lookup::LookupResult;
use commentd_delivery::machine::Machine;
use commentd_delivery::step::{Action, Event, Plan, SettleFailure};
use proptest::prelude::*;
use support::{
    BOTH, FakeProviderHealth, LOOKED_UP, PLAIN, after, asks, at, before, cancelled, intent_failed, known,
    plan, settling_failed, verdict,
};

/// The key belongs to a delivery that has come to these verdicts.
fn key_known(kinds: Vec<VerdictKind>) -> Event {
    let attempts = kinds.into_iter().map(|kind| before(Some(0), verdict(kind), None, true)).collect();
    known(attempts).map_or(Event::KeyFree, Event::KeyKnown)
}

fn any_event() -> impl Strategy<Value = Event> {
    let verdicts = || proptest::sample::select(VerdictKind::ALL.to_vec()).prop_map(verdict);
    let looked = |finding: LookupResult| {
        (0..4000u64).prop_map(move |began| Event::LookupDone(finding.clone(), at(began)))
    };
    prop_oneof![
        2 => Just(Event::Start),
        4 => Just(Event::IntentRecorded),
        1 => Just(intent_failed()),
        6 => verdicts().prop_map(Event::AttemptEnded),
        2 => any::<bool>().prop_map(cancelled),
        6 => Just(Event::Settled),
        1 => Just(Event::ClaimLost),
        1 => Just(settling_failed()),
        1 => Just(Event::SettleFailed(SettleFailure::Transient, "full".into())),
        1 => Just(Event::SettleFailed(SettleFailure::Conflict, "settled".into())),
        1 => proptest::collection::vec(proptest::sample::select(VerdictKind::ALL.to_vec()), 1..3).prop_map(key_known),
        1 => Just(Event::KeyFree),
        1 => Just(Event::KeyUnreadable),
        1 => any::<bool>().prop_map(Event::LookupPermit),
        1 => Just(Event::HandOver),
        1 => Just(Event::ResolvedByPerson),
        1 => Just(Event::Drain),
        4 => Just(Event::Woken),
        1 => Just(Event::CallerGone),
        1 => Just(Event::AnswerNow),
        2 => Just(asks()),
        1 => verdicts().prop_flat_map(move |verdict| looked(LookupResult::Found(verdict))),
        2 => any::<bool>().prop_flat_map(move |complete| looked(LookupResult::NotFound { complete })),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    /// Even events that no honest driver would report lead to one answer at most, and to nothing after the end.
    #[test]
    fn no_order_of_events_confuses_it(
        events in proptest::collection::vec((any_event(), 0..120u64), 1..60),
        earlier in proptest::collection::vec(proptest::sample::select(VerdictKind::ALL.to_vec()), 0..3),
        has_caller in any::<bool>(),
        key_is_new in any::<bool>(),
    ) {
        let is_numbered = !events.iter().any(|(event, _)| matches!(event, Event::KeyKnown(_)));
        let plan = Plan { has_caller, key_is_new, ..after(plan(&[BOTH, LOOKED_UP, PLAIN]), &earlier) };
        let mut machine = Machine::new(plan);
        let (mut now, mut intents, mut answers, mut finished) = (0, Vec::new(), 0, false);
        for (event, wait) in events {
            now += wait;
            for action in machine.step(event, at(now), &mut FakeProviderHealth::of(1)) {
                prop_assert!(!finished, "{action} after the end");
                match action {
                    Action::RecordIntent { attempt, .. } => intents.push(attempt),
                    Action::Send { attempt, .. } => {
                        prop_assert_eq!(intents.last(), Some(&attempt));
                        prop_assert!(has_caller && answers == 0 && now < 1000);
                    }
                    Action::Reply(_) => answers += 1,
                    Action::Finish(_) => finished = true,
                    _ => {}
                }
            }
            prop_assert_eq!(finished, machine.is_over());
        }
        prop_assert!(answers <= u32::from(has_caller));
        let numbers: Vec<usize> = (earlier.len()..).take(intents.len()).collect();
        prop_assert!(!is_numbered || intents == numbers, "{intents:?}");
    }
}
