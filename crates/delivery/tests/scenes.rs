//! SPEC 3 and 4 told as scenes: deadlines, hang-ups, a failing ledger and returns to a delivery, each as moments
//! (in ms), events and the actions that must follow. `?` stands for a random wait, or for the verdict of the
//! event beside it.

mod support;

use commentd_contract::{Outcome, VerdictKind};
use commentd_delivery::Verdict;
use commentd_delivery::step::Event::{CallerGone, ClaimLost, IntentRecorded, Settled, Start, Woken};
use commentd_delivery::step::{Event, Plan, ProviderRules};
use support::{
    BOTH, DEDUPLICATING, LOOKED_UP, PLAIN, QUEUED, Scene, after, at, cancelled, check, ended, found,
    intent_failed, looking, missed, plan, repeated, settling_failed, verdict,
};

fn throttled_ms(hint_ms: u64) -> Event {
    Event::AttemptEnded(Verdict { retry_after_ms: Some(hint_ms), ..verdict(VerdictKind::Throttled) })
}

#[test]
fn the_deadline_closes_every_phase() {
    let two = || plan(&[PLAIN, PLAIN]);
    check([
        Scene::new("recording the intent", two())
            .on(0, Start, "intent 0@0, wake 1000")
            .on(1000, Woken, "answer not_sent 62 unrecorded")
            .on(1400, IntentRecorded, "settle 0 not_sent")
            .on(1401, Settled, "finish")
            .comes_to(Outcome::NotSent)
            .over(),
        Scene::new("the intent fails after the answer", two())
            .on(0, Start, "intent 0@0, wake 1000")
            .on(1000, Woken, "answer not_sent 62 unrecorded")
            .on(1001, intent_failed(), "finish")
            .over(),
        Scene::new("the intent is durable at the deadline, the wake-up comes later", two())
            .on(0, Start, "intent 0@0, wake 1000")
            .on(1000, IntentRecorded, "settle 0 not_sent, wake 1020")
            .on(1001, Settled, "answer not_sent 62, finish")
            .over(),
        Scene::new("sending, the gate is not passed", two())
            .sent()
            .on(1000, Woken, "cancel")
            .on(1000, cancelled(true), "settle 0 not_sent, wake 1020")
            .on(1001, ended(VerdictKind::NotSent), "")
            .on(1002, Settled, "answer not_sent 62, finish")
            .over(),
        Scene::new("sending, the gate is passed", two())
            .sent()
            .on(1000, Woken, "cancel")
            .on(1000, cancelled(false), "answer unknown 56")
            .comes_to(Outcome::Unknown)
            .on(1900, ended(VerdictKind::Delivered), "settle 0 delivered")
            .on(1901, Settled, "finish")
            .comes_to(Outcome::Delivered)
            .over(),
        Scene::new("sending, the verdict overtakes the cancellation", two())
            .sent()
            .on(1000, Woken, "cancel")
            .on(1000, ended(VerdictKind::Denied), "settle 0 denied, wake 1020")
            .on(1000, cancelled(false), "")
            .on(1003, Settled, "answer not_sent 66, finish")
            .over(),
        Scene::new("waiting for a retry that comes too late", plan(&[PLAIN]))
            .sent()
            .on(100, throttled_ms(300), "settle 0 throttled, wake 1020")
            .on(101, Settled, "wake 401")
            .on(990, Woken, "skip 0 not_sent 62, answer not_sent 53 hint 300, finish")
            .over(),
        Scene::new("settling within the grace", two())
            .sent()
            .on(998, ended(VerdictKind::Held), "settle 0 held, wake 1020")
            .on(1019, Settled, "answer held 0, finish"),
        Scene::new("a reply that was there, and read only after the process had been stopped", two())
            .sent()
            .on(11_000, ended(VerdictKind::Held), "settle 0 held, wake 11020")
            .on(11_001, Woken, "wake 11020")
            .on(11_019, Settled, "answer held 0, finish"),
        Scene::new("settling beyond the grace", two())
            .sent()
            .on(998, ended(VerdictKind::Denied), "settle 0 denied, wake 1020")
            .on(1020, Woken, "answer unknown 56")
            .on(1900, Settled, "finish")
            .comes_to(Outcome::NotSent)
            .over(),
        looking("looking").on(1000, Woken, "answer unknown 56").on(1100, missed(101), "wake ?"),
        looking("resting")
            .on(700, missed(101), "wake 800")
            .on(800, missed(800), "")
            .on(940, Woken, "lookup 0@0, wake 1000")
            .on(950, missed(940), "wake 1000")
            .on(1000, Woken, "answer unknown 56, lookup 0@0")
            .on(1010, missed(1000), "wake 1040")
            .on(1040, Woken, "lookup 0@0")
            .on(1041, missed(1040), "resolve 0 not_sent")
            .on(1042, Settled, "finish")
            .comes_to(Outcome::NotSent),
    ]);
}

#[test]
fn the_deadline_rules_a_repetition_too() {
    check([
        repeated("the second passes no gate", DEDUPLICATING)
            .on(1000, Woken, "cancel")
            .on(1000, cancelled(true), "settle 1 not_sent, wake 1020")
            .on(1001, Settled, "answer unknown 56, finish")
            .comes_to(Outcome::Unknown),
        repeated("the second is on its way", BOTH)
            .on(1000, Woken, "cancel")
            .on(1000, cancelled(false), "answer unknown 56")
            .on(1200, ended(VerdictKind::Unknown), "settle 1 unknown")
            .on(1201, Settled, "lookup 0@0")
            .on(1210, found(VerdictKind::Held, 1201), "resolve 0 held")
            .on(1211, Settled, "finish")
            .comes_to(Outcome::Held),
        Scene::new("the second's intent is being recorded", plan(&[DEDUPLICATING]))
            .settling(VerdictKind::Unknown)
            .on(101, Settled, "wake ?")
            .on(151, Woken, "intent 1@0, wake 1000")
            .on(1000, Woken, "answer unknown 56")
            .on(1001, IntentRecorded, "settle 1 not_sent")
            .on(1002, Settled, "finish")
            .comes_to(Outcome::Unknown),
    ]);
}

#[test]
fn nothing_starts_without_time_for_it() {
    let none = |min_useful_ms, deadline_ms| {
        let provider = ProviderRules { min_useful: support::ms(min_useful_ms), ..PLAIN };
        Plan { deadline: at(deadline_ms), ..plan(&[provider]) }
    };
    check([
        Scene::new("no time at all", none(50, 0))
            .on(0, Start, "answer not_sent 62 unrecorded, finish")
            .over(),
        Scene::new("no time, and none demanded", none(0, 0)).on(
            0,
            Start,
            "answer not_sent 62 unrecorded, finish",
        ),
        Scene::new("a millisecond short", none(50, 49)).on(
            0,
            Start,
            "skip 0 not_sent 62, answer not_sent 62 unrecorded, finish",
        ),
        Scene::new("just enough", none(50, 50)).on(0, Start, "intent 0@0, wake 50"),
        Scene::new("past the deadline", none(50, 100)).on(
            200,
            Start,
            "answer not_sent 62 unrecorded, finish",
        ),
        Scene::new("no time for the next provider", plan(&[PLAIN, PLAIN]))
            .sent()
            .on(951, ended(VerdictKind::Denied), "settle 0 denied, wake 1020")
            .on(951, Settled, "skip 1 not_sent 62, answer not_sent 66, finish"),
        Scene::new("too little for one, enough for the one after it", {
            let slow = ProviderRules { min_useful: support::ms(2000), ..PLAIN };
            plan(&[slow, PLAIN])
        })
        .on(0, Start, "skip 0 not_sent 62, intent 0@1, wake 1000"),
        Scene::new("a hint that leaves too little goes to the next", plan(&[PLAIN, PLAIN]))
            .sent()
            .on(100, throttled_ms(860), "settle 0 throttled, wake 1020")
            .on(100, Settled, "intent 1@1, wake 1000"),
    ]);
}

#[test]
fn a_caller_that_is_gone_ends_every_phase() {
    let two = || plan(&[PLAIN, PLAIN]);
    check([
        Scene::new("new", two()).on(0, CallerGone, "finish").on(1, Start, "").over(),
        Scene::new("recording the intent", two())
            .on(0, Start, "intent 0@0, wake 1000")
            .on(1, CallerGone, "")
            .on(2, IntentRecorded, "settle 0 not_sent")
            .on(3, Settled, "finish")
            .comes_to(Outcome::NotSent)
            .over(),
        Scene::new("sending, the gate is not passed", two())
            .sent()
            .on(50, CallerGone, "cancel")
            .on(50, cancelled(true), "settle 0 not_sent")
            .on(51, Settled, "finish"),
        Scene::new("sending, the gate is passed", two())
            .sent()
            .on(50, CallerGone, "cancel")
            .on(50, cancelled(false), "")
            .on(1000, Woken, "")
            .on(1200, ended(VerdictKind::Throttled), "settle 0 throttled")
            .on(1201, Settled, "finish")
            .comes_to(Outcome::NotSent),
        Scene::new("settling", two())
            .settling(VerdictKind::Denied)
            .on(101, CallerGone, "")
            .on(102, Settled, "finish")
            .over(),
        Scene::new("waiting", plan(&[PLAIN]))
            .settling(VerdictKind::NotSent)
            .on(101, Settled, "wake ?")
            .on(102, CallerGone, "finish")
            .on(150, Woken, "")
            .over(),
        Scene::new("waiting to repeat an unknown", plan(&[BOTH]))
            .settling(VerdictKind::Unknown)
            .on(101, Settled, "wake ?")
            .on(102, CallerGone, "lookup 0@0")
            .on(110, found(VerdictKind::Delivered, 102), "resolve 0 delivered")
            .on(111, Settled, "finish")
            .comes_to(Outcome::Delivered),
        looking("looking")
            .on(110, CallerGone, "")
            .on(120, missed(101), "wake ?")
            .on(400, Woken, "lookup 0@0")
            .on(401, missed(400), "wake 500")
            .on(500, Woken, "lookup 0@0")
            .on(501, missed(500), "resolve 0 not_sent")
            .on(502, Settled, "finish")
            .comes_to(Outcome::NotSent),
        looking("resting")
            .on(120, missed(101), "wake ?")
            .on(130, CallerGone, "")
            .on(220, Woken, "lookup 0@0")
            .on(230, found(VerdictKind::Delivered, 220), "resolve 0 delivered")
            .on(231, Settled, "finish"),
    ]);
}

#[test]
fn what_cannot_be_recorded_is_not_sent() {
    check([
        Scene::new("the first intent", plan(&[PLAIN, PLAIN]))
            .on(0, Start, "intent 0@0, wake 1000")
            .on(1, intent_failed(), "answer not recorded, finish")
            .comes_to(Outcome::NotSent)
            .over(),
        Scene::new("a later intent after effect none", plan(&[PLAIN, PLAIN]))
            .settling(VerdictKind::Denied)
            .on(101, Settled, "intent 1@1, wake 1000")
            .on(102, intent_failed(), "answer not_sent 61 hint 1000, finish")
            .comes_to(Outcome::NotSent),
        // Code 61 would say that the delivery has had no effect.
        Scene::new("a later intent after an unknown", plan(&[DEDUPLICATING]))
            .settling(VerdictKind::Unknown)
            .on(101, Settled, "wake ?")
            .on(151, Woken, "intent 1@0, wake 1000")
            .on(152, intent_failed(), "answer unknown 56, finish")
            .comes_to(Outcome::Unknown),
        Scene::new("a later intent after an unknown that can be looked up", plan(&[BOTH]))
            .settling(VerdictKind::Unknown)
            .on(101, Settled, "wake ?")
            .on(151, Woken, "intent 1@0, wake 1000")
            .on(152, intent_failed(), "lookup 0@0, wake 1000")
            .on(160, found(VerdictKind::Delivered, 152), "resolve 0 delivered, wake 1020")
            .on(161, Settled, "answer delivered 0, finish"),
        Scene::new("a resumed delivery's intent", after(plan(&[PLAIN]), &[VerdictKind::Denied]))
            .on(0, Start, "intent 1@0, wake 1000")
            .on(1, intent_failed(), "answer not_sent 61 hint 1000, finish"),
    ]);
}

#[test]
fn what_was_not_recorded_is_unknown() {
    check(VerdictKind::ALL.map(|kind| {
        Scene::new("a verdict", plan(&[BOTH, PLAIN]))
            .settling(kind)
            .on(101, settling_failed(), "answer unknown 56, finish")
            .comes_to(Outcome::Unknown)
            .over()
    }));
    check([
        looking("a resolution")
            .on(110, found(VerdictKind::Delivered, 101), "resolve 0 delivered, wake 1020")
            .on(111, settling_failed(), "answer unknown 56, finish")
            .comes_to(Outcome::Unknown)
            .over(),
        Scene::new("a late verdict", plan(&[PLAIN, PLAIN]))
            .sent()
            .on(1000, Woken, "cancel")
            .on(1000, cancelled(false), "answer unknown 56")
            .on(1100, ended(VerdictKind::Denied), "settle 0 denied")
            .on(1101, settling_failed(), "finish")
            .comes_to(Outcome::Unknown),
    ]);
}

#[test]
fn a_comment_of_another_delivery_is_not_ours() {
    check([
        Scene::new("the reply names it", plan(&[PLAIN, PLAIN]))
            .settling(VerdictKind::Delivered)
            .on(101, ClaimLost, "settle 0 unknown, wake 1020")
            .on(102, Settled, "answer unknown 55, finish")
            .comes_to(Outcome::Unknown),
        Scene::new("the reply names it, and a lookup knows better", plan(&[LOOKED_UP, PLAIN]))
            .settling(VerdictKind::Misplaced)
            .on(101, ClaimLost, "settle 0 unknown, wake 1020")
            .on(102, Settled, "lookup 0@0, wake 1000")
            .on(110, found(VerdictKind::Delivered, 102), "resolve 0 delivered, wake 1020")
            .on(111, Settled, "answer delivered 0, finish"),
        Scene::new("the reply names it, and then nothing can be recorded", plan(&[PLAIN]))
            .settling(VerdictKind::Delivered)
            .on(101, ClaimLost, "settle 0 unknown, wake 1020")
            .on(102, settling_failed(), "answer unknown 56, finish")
            .comes_to(Outcome::Unknown),
        Scene::new("the reply names it after the grace", plan(&[PLAIN]))
            .sent()
            .on(990, ended(VerdictKind::Delivered), "settle 0 delivered, wake 1020")
            .on(1020, Woken, "answer unknown 56")
            .on(1021, ClaimLost, "settle 0 unknown")
            .on(1022, Settled, "finish")
            .comes_to(Outcome::Unknown),
        looking("the lookup finds it")
            .on(110, found(VerdictKind::Delivered, 101), "resolve 0 delivered, wake 1020")
            .on(111, ClaimLost, "wake ?")
            .comes_to(Outcome::Unknown)
            .on(220, Woken, "lookup 0@0, wake 1000")
            .on(230, found(VerdictKind::Held, 220), "resolve 0 held, wake 1020")
            .on(231, Settled, "answer held 0, finish"),
    ]);
}

#[test]
fn a_delivery_that_is_certain_stays_so() {
    use VerdictKind::{Delivered, Denied, Held, Misplaced, NotSent, Refused, Throttled, Unknown};
    let known = |verdicts: &[VerdictKind]| after(plan(&[BOTH, PLAIN]), verdicts);
    check([
        Scene::new("delivered", known(&[Delivered])).on(0, Start, "answer delivered 0, finish").over(),
        Scene::new("held", known(&[Denied, Held])).on(0, Start, "answer held 0, finish").over(),
        Scene::new("misplaced", known(&[Misplaced])).on(0, Start, "answer misplaced 57, finish").over(),
        Scene::new("refused", known(&[Throttled, Refused])).on(0, Start, "answer refused 52, finish").over(),
        Scene::new("effect one settles an unknown", known(&[Unknown, Delivered])).on(
            0,
            Start,
            "answer delivered 0, finish",
        ),
        Scene::new("not_sent is tried afresh, with its own count", known(&[NotSent, NotSent, NotSent]))
            .on(0, Start, "intent 3@0, wake 1000")
            .on(1, IntentRecorded, "send 3@0")
            .on(2, ended(NotSent), "settle 3 not_sent, wake 1020")
            .on(3, Settled, "wake ?")
            .on(60, Woken, "intent 4@0, wake 1000"),
        Scene::new(
            "a duplicate after what never left is another's, if no lookup finds it",
            known(&[NotSent]),
        )
        .on(0, Start, "intent 1@0, wake 1000")
        .on(1, IntentRecorded, "send 1@0")
        .on(2, ended(VerdictKind::Duplicate), "settle 1 unknown, wake 1020")
        .on(3, Settled, "lookup 1@0, wake 1000")
        .on(4, missed(3), "resolve 1 duplicate, wake 1020")
        .on(5, Settled, "answer refused 52, finish"),
    ]);
}

#[test]
fn a_late_verdict_is_recorded_and_starts_nothing() {
    check(VerdictKind::ALL.map(|kind| {
        let scene = Scene::new("late", plan(&[DEDUPLICATING, PLAIN]))
            .sent()
            .on(1000, Woken, "cancel")
            .on(1000, cancelled(false), "answer unknown 56")
            .on(1100, ended(kind), "settle 0 ?")
            .on(1101, Settled, "finish")
            .over();
        match kind {
            VerdictKind::Delivered => scene.comes_to(Outcome::Delivered),
            VerdictKind::Held => scene.comes_to(Outcome::Held),
            VerdictKind::Misplaced => scene.comes_to(Outcome::Misplaced),
            VerdictKind::Refused | VerdictKind::Duplicate => scene.comes_to(Outcome::Refused),
            VerdictKind::Denied | VerdictKind::Throttled | VerdictKind::NotSent => {
                scene.comes_to(Outcome::NotSent)
            }
            VerdictKind::Unknown => scene.comes_to(Outcome::Unknown),
        }
    }));
}

#[test]
fn a_wake_up_that_is_early_or_was_replaced_is_ignored() {
    check([
        Scene::new("recording the intent", plan(&[PLAIN]))
            .on(0, Start, "intent 0@0, wake 1000")
            .on(999, Woken, "wake 1000")
            .on(1000, Woken, "answer not_sent 62 unrecorded"),
        Scene::new("sending", plan(&[PLAIN])).sent().on(999, Woken, "wake 1000").on(1000, Woken, "cancel"),
        Scene::new("settling", plan(&[PLAIN])).settling(VerdictKind::Held).on(1000, Woken, "wake 1020").on(
            1020,
            Woken,
            "answer unknown 56",
        ),
        Scene::new("waiting for a hint to pass", plan(&[PLAIN]))
            .sent()
            .on(100, throttled_ms(300), "settle 0 throttled, wake 1020")
            .on(101, Settled, "wake 401")
            .on(400, Woken, "wake 401")
            .on(401, Woken, "intent 1@0, wake 1000"),
        looking("resting").on(110, missed(101), "wake 210").on(209, Woken, "wake 210"),
        Scene::new("over", plan(&[PLAIN]))
            .settling(VerdictKind::Held)
            .on(101, Settled, "answer held 0, finish")
            .on(102, Woken, ""),
    ]);
}

/// A channel may count its window from any request that carried the key, also one that it throttled.
#[test]
fn the_deduplication_window_counts_from_the_first_request() {
    let provider = |window_ms| ProviderRules { deduplicates_within: Some(support::ms(window_ms)), ..PLAIN };
    let repeat = |name, plan: Plan, then: &'static str| {
        Scene::new(name, plan)
            .sent()
            .on(100, throttled_ms(300), "settle 0 throttled, wake 1020")
            .on(101, Settled, "wake 401")
            .on(401, Woken, "intent 1@0, wake 1000")
            .on(402, IntentRecorded, "send 1@0")
            .on(410, ended(VerdictKind::Unknown), "settle 1 unknown, wake 1020")
            .on(411, Settled, then)
    };
    check([
        repeat("it reaches the deadline", plan(&[provider(1001)]), "wake ?"),
        repeat("it doesn't", plan(&[provider(1000)]), "answer unknown 56, finish"),
        Scene::new(
            "an earlier run has used the key",
            after(plan(&[DEDUPLICATING]), &[VerdictKind::Throttled]),
        )
        .on(0, Start, "intent 1@0, wake 1000")
        .on(1, IntentRecorded, "send 1@0")
        .on(2, ended(VerdictKind::Unknown), "settle 1 unknown, wake 1020")
        .on(3, Settled, "answer unknown 56, finish"),
        Scene::new("another channel never had it", plan(&[PLAIN, provider(1001)]))
            .settling(VerdictKind::Denied)
            .on(101, Settled, "intent 1@1, wake 1000")
            .on(102, IntentRecorded, "send 1@1")
            .on(103, ended(VerdictKind::Unknown), "settle 1 unknown, wake 1020")
            .on(104, Settled, "wake ?"),
    ]);
}

#[test]
fn what_cannot_be_tried_is_skipped_with_its_reason() {
    let two = || plan(&[PLAIN, PLAIN]);
    check([
        Scene::new("the first breaker is open", two())
            .shut(&[0])
            .on(0, Start, "skip 0 denied 66, intent 0@1, wake 1000")
            .on(1, IntentRecorded, "send 0@1")
            .on(2, ended(VerdictKind::Delivered), "settle 0 delivered, wake 1020")
            .on(3, Settled, "answer delivered 0, finish")
            .heard(&["delivered"]),
        Scene::new("all are: nothing is recorded, and the answer tells when to come again", two())
            .shut(&[0, 1])
            .on(
                0,
                Start,
                "skip 0 denied 66, skip 1 denied 66, answer not_sent 66 hint 1000 unrecorded, finish",
            )
            .over(),
        Scene::new("the attempt speaks for the answer, not the provider that was skipped after it", two())
            .sent()
            .shut(&[1])
            .on(100, ended(VerdictKind::Denied), "settle 0 denied, wake 1020")
            .on(101, Settled, "skip 1 denied 66, answer not_sent 66, finish")
            .heard(&["denied"]),
        Scene::new("it opens while a retry waits", two())
            .settling(VerdictKind::NotSent)
            .on(101, Settled, "wake ?")
            .shut(&[0])
            .on(151, Woken, "skip 0 denied 66, intent 1@1, wake 1000"),
        Scene::new(
            "it opens while the repetition of an unknown waits: no other provider",
            plan(&[DEDUPLICATING, PLAIN]),
        )
        .settling(VerdictKind::Unknown)
        .on(101, Settled, "wake ?")
        .shut(&[0])
        .on(151, Woken, "skip 0 denied 66, answer unknown 56, finish"),
        Scene::new("an intent that fails says nothing", two())
            .on(0, Start, "intent 0@0, wake 1000")
            .on(1, intent_failed(), "answer not recorded, finish")
            .heard(&[]),
        Scene::new("an attempt that was never sent off says nothing", two())
            .on(0, Start, "intent 0@0, wake 1000")
            .on(1000, IntentRecorded, "settle 0 not_sent, wake 1020")
            .heard(&[]),
        Scene::new("what runs on after the deadline is heard when it ends", two())
            .sent()
            .on(1000, Woken, "cancel")
            .on(1000, cancelled(false), "answer unknown 56")
            .on(1200, ended(VerdictKind::Unknown), "settle 0 unknown")
            .heard(&["unknown"]),
        looking("a cut reply whose comment is found at once counts as success")
            .on(110, found(VerdictKind::Delivered, 101), "resolve 0 delivered, wake 1020")
            .heard(&["delivered"]),
        looking("one that isn't found counts as unknown").on(110, missed(101), "wake ?").heard(&["unknown"]),
        looking("one whose caller can't wait for the look counts as unknown, until it is found")
            .on(1000, Woken, "answer unknown 56")
            .heard(&["unknown"])
            .on(1100, found(VerdictKind::Delivered, 101), "resolve 0 delivered")
            .heard(&["unknown", "found"]),
        Scene::new("one that is repeated counts as unknown", plan(&[BOTH, PLAIN]))
            .settling(VerdictKind::Unknown)
            .on(101, Settled, "wake ?")
            .heard(&["unknown"]),
        Scene::new("a turn that would come too late is skipped, and nobody's failure", plan(&[QUEUED]))
            .on(0, Start, "queue 0, wake 950")
            .on(
                1,
                Event::NoSlot { provider: 0, verdict: verdict(VerdictKind::NotSent) },
                "leave, skip 0 not_sent 51, answer not_sent 51 unrecorded, finish",
            )
            .heard(&[]),
    ]);
}

#[test]
fn a_queue_ends_where_too_little_time_is_left() {
    let queued = || plan(&[QUEUED, PLAIN]);
    let lane = |provider| Event::PermitGranted { provider };
    check([
        Scene::new("a lane comes free", queued()).on(0, Start, "queue 0, wake 950").on(
            300,
            lane(0),
            "intent 0@0, wake 1000",
        ),
        Scene::new("none does: on to the next", queued()).on(0, Start, "queue 0, wake 950").on(
            950,
            Woken,
            "leave, skip 0 not_sent 62, intent 0@1, wake 1000",
        ),
        Scene::new("none does, and there is no other", plan(&[QUEUED]))
            .on(0, Start, "queue 0, wake 950")
            .on(950, Woken, "leave, skip 0 not_sent 62, answer not_sent 62 unrecorded, finish")
            .over(),
        Scene::new("the breaker opens while it queues", queued())
            .on(0, Start, "queue 0, wake 950")
            .shut(&[0])
            .on(300, lane(0), "leave, skip 0 denied 66, intent 0@1, wake 1000"),
        Scene::new("the lane comes too late", queued()).on(0, Start, "queue 0, wake 950").on(
            970,
            lane(0),
            "leave, skip 0 not_sent 62, skip 1 not_sent 62, answer not_sent 62 unrecorded, finish",
        ),
        Scene::new("the lane of a queue that it has left", queued())
            .on(0, Start, "queue 0, wake 950")
            .on(950, Woken, "leave, skip 0 not_sent 62, intent 0@1, wake 1000")
            .on(951, lane(0), ""),
        Scene::new("the caller hangs up", queued())
            .on(0, Start, "queue 0, wake 950")
            .on(10, CallerGone, "leave, finish")
            .over(),
    ]);
}
