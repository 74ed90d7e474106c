//! SPEC 4's lookups told as scenes: in the foreground, in the background, when somebody asks again and after a
//! restart. `?` stands for a random wait or for the moment of a look that proves nothing.

mod support;

use commentd_contract::{Outcome, VerdictKind};
use commentd_delivery::lookup::{Finding, LookupAbility};
use commentd_delivery::step::Event::{IntentRecorded, LookNow, Looked, Settled, Start, Woken};
use commentd_delivery::step::{Earlier, Link, Plan};
use support::{
    BOTH, DEDUPLICATING, PLAIN, SEARCHABLE, SEEING, Scene, after, at, check, ended, found, looking, missed,
    plan, repeated, verdict,
};

#[test]
fn a_lookup_in_the_foreground_settles_what_may_follow() {
    let absent = |name| {
        looking(name)
            .on(110, missed(101), "wake ?")
            .on(299, Woken, "look 0@0, wake 1000")
            .on(300, missed(299), "wake 500")
            .on(500, Woken, "look 0@0, wake 1000")
            .on(501, missed(500), "wake 600")
            .on(600, Woken, "look 0@0, wake 1000")
    };
    let contradicted = |name, link| {
        repeated(name, link).on(200, ended(VerdictKind::Duplicate), "settle 1 duplicate, wake 1020")
    };
    check([
        absent("absent: the same provider again, as after not_sent")
            .on(620, missed(600), "resolve 0 not_sent, wake 1020")
            .on(621, Settled, "wake ?")
            .on(680, Woken, "intent 1@0, wake 1000")
            .on(681, IntentRecorded, "send 1@0")
            .on(700, ended(VerdictKind::Denied), "settle 1 denied, wake 1020")
            .on(701, Settled, "intent 2@1, wake 1000"),
        absent("absent only after the deadline: nothing is sent")
            .on(1000, Woken, "answer unknown 56")
            .on(1001, missed(600), "resolve 0 not_sent")
            .on(1002, Settled, "finish")
            .comes_to(Outcome::NotSent),
        absent("found at last")
            .on(620, found(VerdictKind::Misplaced, 600), "resolve 0 misplaced, wake 1020")
            .on(621, Settled, "answer misplaced 57, finish"),
        looking("a find without an effect is none")
            .on(110, found(VerdictKind::Refused, 101), "wake ?")
            .on(220, Woken, "look 0@0, wake 1000")
            .on(221, found(VerdictKind::Unknown, 220), "wake ?")
            .comes_to(Outcome::Unknown),
        repeated("after absence the last verdict rules", BOTH)
            .on(200, ended(VerdictKind::Denied), "settle 1 denied, wake 1020")
            .on(201, Settled, "look 0@0, wake 1000")
            .on(401, missed(400), "wake 500")
            .on(500, Woken, "look 0@0, wake 1000")
            .on(501, missed(500), "resolve 0 not_sent, wake 1020")
            .on(502, Settled, "intent 2@1, wake 1000"),
        repeated("each unresolved attempt is looked for", BOTH)
            .on(200, ended(VerdictKind::Refused), "settle 1 refused, wake 1020")
            .on(201, Settled, "look 0@0, wake 1000")
            .on(401, missed(400), "wake 500")
            .on(500, Woken, "look 0@0, wake 1000")
            .on(501, missed(500), "resolve 0 not_sent, wake 1020")
            .on(502, Settled, "answer refused 52, finish"),
        contradicted("duplicate after an unknown: found", BOTH)
            .on(201, Settled, "look 0@0, wake 1000")
            .on(210, found(VerdictKind::Delivered, 201), "resolve 0 delivered, wake 1020")
            .on(211, Settled, "answer delivered 0, finish"),
        contradicted("duplicate after an unknown: not found, stays unknown", BOTH)
            .on(201, Settled, "look 0@0, wake 1000")
            .on(401, missed(400), "wake ?")
            .on(601, Woken, "look 0@0, wake 1000")
            .on(602, missed(601), "wake ?")
            .on(900, Woken, "look 0@0, wake 1000")
            .on(901, missed(900), "wake ?")
            .on(1000, Woken, "answer unknown 56, look 0@0")
            .comes_to(Outcome::Unknown),
        contradicted("duplicate after an unknown without a lookup", DEDUPLICATING).on(
            201,
            Settled,
            "answer unknown 56, finish",
        ),
    ]);
}

#[test]
fn an_unknown_delivery_is_looked_up_again_and_never_sent() {
    let unknown = |link: Link| after(plan(&[link, PLAIN]), &[VerdictKind::Unknown]);
    let unplaced = Plan {
        earlier: vec![Earlier { link: None, verdict: verdict(VerdictKind::Unknown) }],
        ..plan(&[BOTH])
    };
    let blind = LookupAbility { sees_every_state: false, ..SEEING };
    check([
        Scene::new("without a lookup it is replayed", unknown(DEDUPLICATING))
            .on(5000, Start, "answer unknown 56, finish")
            .over(),
        Scene::new("where it was sent isn't configured any more", unplaced).on(
            0,
            Start,
            "answer unknown 56, finish",
        ),
        Scene::new("found", unknown(BOTH))
            .on(0, Start, "look 0@0, wake 1000")
            .on(30, found(VerdictKind::Delivered, 0), "resolve 0 delivered, wake 1020")
            .on(31, Settled, "answer delivered 0, finish"),
        Scene::new("missed: the answer comes after one look", unknown(SEARCHABLE))
            .on(0, Start, "look 0@0, wake 1000")
            .on(30, missed(0), "answer unknown 56, wake ?")
            .on(210, Woken, "look 0@0")
            .on(220, missed(210), "wake 310")
            .on(310, Woken, "look 0@0")
            .on(311, missed(310), "resolve 0 not_sent")
            .on(312, Settled, "finish")
            .comes_to(Outcome::NotSent),
        Scene::new("the channel can't be asked", unknown(SEARCHABLE)).on(0, Start, "look 0@0, wake 1000").on(
            900,
            Looked(Finding::Failed, at(0)),
            "answer unknown 56, wake 1000",
        ),
        Scene::new("nothing to know it by: asking once is enough", unknown(SEARCHABLE))
            .on(0, Start, "look 0@0, wake 1000")
            .on(1, Looked(Finding::CannotBeKnown, at(0)), "answer unknown 56, finish")
            .over(),
        Scene::new(
            "nothing to know the first by, but the second",
            after(plan(&[SEARCHABLE]), &[VerdictKind::Unknown; 2]),
        )
        .on(0, Start, "look 0@0, wake 1000")
        .on(1, Looked(Finding::CannotBeKnown, at(0)), "look 1@0, wake 1000")
        .on(2, found(VerdictKind::Held, 1), "resolve 1 held, wake 1020")
        .on(3, Settled, "answer held 0, finish"),
        Scene::new("the look outlasts the deadline", unknown(SEARCHABLE))
            .on(0, Start, "look 0@0, wake 1000")
            .on(1000, Woken, "answer unknown 56")
            .on(1500, missed(0), "wake ?"),
        Scene::new("silence counts from the start of the process", unknown(SEARCHABLE))
            .on(10_000, Start, "look 0@0, wake 1000")
            .on(10_001, missed(10_000), "answer unknown 56, wake ?")
            .on(10_101, Woken, "look 0@0")
            .on(10_199, missed(10_199), "wake 10200"),
        Scene::new("two unresolved attempts", after(plan(&[SEARCHABLE]), &[VerdictKind::Unknown; 2]))
            .on(0, Start, "look 0@0, wake 1000")
            .on(30, missed(0), "answer unknown 56, wake ?")
            .on(200, Woken, "look 0@0")
            .on(201, missed(200), "wake 300")
            .on(300, Woken, "look 0@0")
            .on(301, missed(300), "resolve 0 not_sent")
            .on(302, Settled, "look 1@0")
            .on(303, found(VerdictKind::Held, 302), "resolve 1 held")
            .on(304, Settled, "finish")
            .comes_to(Outcome::Held),
        Scene::new(
            "a lookup that misses states proves nothing",
            unknown(Link { lookup: Some(blind), ..PLAIN }),
        )
        .on(0, Start, "look 0@0, wake 1000")
        .on(30, missed(0), "answer unknown 56, wake ?")
        .on(5000, Woken, "look 0@0")
        .on(5001, missed(5000), "wake ?")
        .on(9000, Woken, "look 0@0")
        .on(9001, missed(9000), "wake ?")
        .comes_to(Outcome::Unknown),
        Scene::new("somebody asks: look now", unknown(SEARCHABLE))
            .on(0, LookNow, "")
            .on(0, Start, "look 0@0, wake 1000")
            .on(10, LookNow, "")
            .on(30, missed(0), "answer unknown 56, wake ?")
            .on(40, LookNow, "look 0@0")
            .on(41, LookNow, "")
            .on(50, found(VerdictKind::Delivered, 40), "resolve 0 delivered")
            .on(51, LookNow, "")
            .on(52, Settled, "finish")
            .on(53, LookNow, ""),
        Scene::new("asking often proves nothing sooner", unknown(SEARCHABLE))
            .on(0, Start, "look 0@0, wake 1000")
            .on(1, missed(0), "answer unknown 56, wake ?")
            .on(200, LookNow, "look 0@0")
            .on(201, missed(200), "wake 300")
            .on(202, LookNow, "look 0@0")
            .on(299, missed(202), "wake 300")
            .comes_to(Outcome::Unknown),
    ]);
}

#[test]
fn a_recovery_has_nobody_to_answer_and_sends_nothing() {
    let alone = |plan: Plan| Plan { has_caller: false, deadline: at(1000), ..plan };
    check([
        Scene::new("unknown, found", alone(after(plan(&[BOTH]), &[VerdictKind::Unknown])))
            .on(0, Start, "look 0@0")
            .on(30, found(VerdictKind::Delivered, 0), "resolve 0 delivered")
            .on(31, Settled, "finish"),
        Scene::new("unknown, absent", alone(after(plan(&[BOTH]), &[VerdictKind::Unknown])))
            .on(0, Start, "look 0@0")
            .on(30, missed(0), "wake ?")
            .on(200, Woken, "look 0@0")
            .on(201, missed(200), "wake 300")
            .on(300, Woken, "look 0@0")
            .on(301, missed(300), "resolve 0 not_sent")
            .on(302, Settled, "finish"),
        Scene::new("unknown, no lookup", alone(after(plan(&[PLAIN]), &[VerdictKind::Unknown])))
            .on(0, Start, "finish"),
        Scene::new(
            "not_sent waits for the caller's next request",
            alone(after(plan(&[PLAIN]), &[VerdictKind::NotSent])),
        )
        .on(0, Start, "finish")
        .over(),
        Scene::new("nothing at all", alone(plan(&[PLAIN]))).on(0, Start, "finish").over(),
    ]);
}
