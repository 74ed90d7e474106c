//! Events in an order that no honest driver would report. What the machine promises over whole histories, the crate
//! `commentd-simulation` tests.

mod support;

use commentd_contract::VerdictKind;
use commentd_delivery::lookup::LookupResult;
use commentd_delivery::machine::Machine;
use commentd_delivery::step::{Action, Event, Plan};
use proptest::prelude::*;
use support::{BOTH, FakeProviderHealth, LOOKED_UP, PLAIN, after, at, plan, verdict};

fn any_event() -> impl Strategy<Value = Event> {
    let verdicts = || proptest::sample::select(VerdictKind::ALL.to_vec()).prop_map(verdict);
    let looked =
        |finding: LookupResult| (0..4000u64).prop_map(move |began| Event::Looked(finding.clone(), at(began)));
    prop_oneof![
        2 => Just(Event::Start),
        4 => Just(Event::IntentRecorded),
        1 => Just(Event::IntentFailed),
        6 => verdicts().prop_map(Event::Ended),
        2 => any::<bool>().prop_map(Event::Cancelled),
        6 => Just(Event::Settled),
        1 => Just(Event::ClaimLost),
        1 => Just(Event::SettlingFailed),
        4 => Just(Event::Woken),
        1 => Just(Event::CallerGone),
        1 => Just(Event::AnswerNow),
        2 => Just(Event::LookNow),
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
    ) {
        let plan = Plan { has_caller, ..after(plan(&[BOTH, LOOKED_UP, PLAIN]), &earlier) };
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
                    Action::Answer(_) => answers += 1,
                    Action::Finish => finished = true,
                    _ => {}
                }
            }
            prop_assert_eq!(finished, machine.is_over());
        }
        prop_assert!(answers <= u32::from(has_caller));
        let numbers: Vec<usize> = (earlier.len()..).take(intents.len()).collect();
        prop_assert_eq!(intents, numbers);
    }
}
