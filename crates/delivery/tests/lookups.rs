//! SPEC 4's lookups told as scenes: in the foreground, in the background, when somebody asks again and after a
//! restart. `?` stands for a random wait or for the moment of a look that proves nothing.

mod support;

use commentd_contract::{Outcome, VerdictKind};
use commentd_delivery::lookup::{LookupAbility, LookupResult};
use commentd_delivery::machine::Machine;
use commentd_delivery::step::Event::{IntentRecorded, LookupDone, Settled, Start, Woken};
use commentd_delivery::step::{Action, Event, Plan, ProviderRules};
use commentd_delivery::verdict::Contradiction;
use support::{
    BOTH, DEDUPLICATING, FakeProviderHealth, LOOKED_UP, PLAIN, SEEING, Scene, after, asks, at, before, check,
    ended, found, known, looking, missed, plan, repeated, verdict,
};

#[test]
fn a_lookup_in_the_foreground_settles_what_may_follow() {
    let absent = |name| {
        looking(name)
            .on(110, missed(101), "wake ?")
            .on(299, Woken, "lookup 0@0, wake 1000")
            .on(300, missed(299), "wake 500")
            .on(500, Woken, "lookup 0@0, wake 1000")
            .on(501, missed(500), "wake 600")
            .on(600, Woken, "lookup 0@0, wake 1000")
    };
    let contradicted = |name, provider| {
        repeated(name, provider).on(200, ended(VerdictKind::Duplicate), "settle 1 unknown, wake 1020")
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
            .on(220, Woken, "lookup 0@0, wake 1000")
            .on(221, found(VerdictKind::Unknown, 220), "wake ?")
            .comes_to(Outcome::Unknown),
        repeated("after absence the last verdict rules", BOTH)
            .on(200, ended(VerdictKind::Denied), "settle 1 denied, wake 1020")
            .on(201, Settled, "lookup 0@0, wake 1000")
            .on(401, missed(400), "wake 500")
            .on(500, Woken, "lookup 0@0, wake 1000")
            .on(501, missed(500), "resolve 0 not_sent, wake 1020")
            .on(502, Settled, "intent 2@1, wake 1000"),
        repeated("each unresolved attempt is looked for", BOTH)
            .on(200, ended(VerdictKind::Refused), "settle 1 refused, wake 1020")
            .on(201, Settled, "lookup 0@0, wake 1000")
            .on(401, missed(400), "wake 500")
            .on(500, Woken, "lookup 0@0, wake 1000")
            .on(501, missed(500), "resolve 0 not_sent, wake 1020")
            .on(502, Settled, "answer refused 52, finish"),
        contradicted("duplicate after an unknown: found", BOTH)
            .on(201, Settled, "lookup 0@0, wake 1000")
            .on(210, found(VerdictKind::Delivered, 201), "resolve 0 delivered, wake 1020")
            .on(211, Settled, "answer delivered 0, finish"),
        contradicted("duplicate after an unknown: not found, stays unknown", BOTH)
            .on(201, Settled, "lookup 0@0, wake 1000")
            .on(401, missed(400), "wake ?")
            .on(601, Woken, "lookup 0@0, wake 1000")
            .on(602, missed(601), "wake ?")
            .on(900, Woken, "lookup 0@0, wake 1000")
            .on(901, missed(900), "wake ?")
            .on(1000, Woken, "answer unknown 56, lookup 0@0")
            .comes_to(Outcome::Unknown),
        contradicted("duplicate after an unknown without a lookup", DEDUPLICATING).on(
            201,
            Settled,
            "answer unknown 56, finish",
        ),
    ]);
}

/// A proxy may have sent the request twice and handed back the second answer.
#[test]
fn a_duplicate_is_looked_for_before_it_counts_as_none_of_ours() {
    let duplicate = |name| {
        Scene::new(name, plan(&[LOOKED_UP, PLAIN])).settling(VerdictKind::Duplicate).on(
            101,
            Settled,
            "lookup 0@0, wake 1000",
        )
    };
    check([
        duplicate("found: it was ours")
            .on(110, found(VerdictKind::Delivered, 101), "resolve 0 delivered, wake 1020")
            .on(111, Settled, "answer delivered 0, finish"),
        duplicate("not found: another's, though nothing has settled yet")
            .on(110, missed(101), "resolve 0 duplicate, wake 1020")
            .on(111, Settled, "answer refused 52, finish")
            .comes_to(Outcome::Refused),
        duplicate("nothing to know it by: the channel's word is all there is")
            .on(110, LookupDone(LookupResult::CannotBeKnown, at(101)), "resolve 0 duplicate, wake 1020")
            .on(111, Settled, "answer refused 52, finish"),
        duplicate("the same text without a marker is for a person to judge")
            .on(110, LookupDone(LookupResult::Alike("7".into()), at(101)), "wake ?")
            .on(1000, Woken, "answer unknown 56, lookup 0@0")
            .comes_to(Outcome::Unknown),
        duplicate("the channel can't be asked")
            .on(110, LookupDone(LookupResult::Failed("HTTP 500".into()), at(101)), "wake ?")
            .on(1000, Woken, "answer unknown 56, lookup 0@0")
            .on(1001, missed(1000), "resolve 0 duplicate")
            .on(1002, Settled, "finish")
            .comes_to(Outcome::Refused),
        Scene::new("no lookup", plan(&[PLAIN, PLAIN]))
            .settling(VerdictKind::Duplicate)
            .on(101, Settled, "answer refused 52, finish")
            .comes_to(Outcome::Refused),
    ]);
}

/// An attempt that was taken for absent, and wasn't: the next one is told that it is a duplicate.
#[test]
fn a_duplicate_after_an_attempt_that_was_sent_stays_unknown() {
    let resolved = |provider: ProviderRules| Plan {
        known: known(vec![before(Some(0), verdict(VerdictKind::NotSent), None, true)]),
        ..plan(&[provider, PLAIN])
    };
    let again = |name, provider| {
        Scene::new(name, resolved(provider))
            .on(0, Start, "intent 1@0, wake 1000")
            .on(1, IntentRecorded, "send 1@0")
            .on(2, ended(VerdictKind::Duplicate), "settle 1 unknown, wake 1020")
    };
    check([
        again("without a lookup", PLAIN)
            .on(3, Settled, "answer unknown 56, finish")
            .comes_to(Outcome::Unknown),
        again("where the key deduplicates, it isn't sent once more", DEDUPLICATING)
            .on(3, Settled, "answer unknown 56, finish")
            .comes_to(Outcome::Unknown),
        again("found", LOOKED_UP)
            .on(3, Settled, "lookup 1@0, wake 1000")
            .on(10, found(VerdictKind::Held, 3), "resolve 1 held, wake 1020")
            .on(11, Settled, "answer held 0, finish"),
        again("never found, which proves nothing", LOOKED_UP)
            .on(3, Settled, "lookup 1@0, wake 1000")
            .on(300, missed(300), "wake ?")
            .on(600, Woken, "lookup 1@0, wake 1000")
            .on(601, missed(600), "wake ?")
            .on(1000, Woken, "answer unknown 56, lookup 1@0")
            .on(1001, missed(1000), "wake ?")
            .comes_to(Outcome::Unknown),
    ]);
}

#[test]
fn absence_is_believed_only_where_a_marker_of_ours_was_seen() {
    let unseen = |name| looking(name).unmarked(&[0]).on(310, missed(301), "wake ?");
    check([
        unseen("never seen: the site may drop them")
            .on(600, Woken, "lookup 0@0, wake 1000")
            .on(601, missed(600), "wake ?")
            .on(1000, Woken, "answer unknown 56, lookup 0@0")
            .on(1001, missed(1000), "wake ?")
            .comes_to(Outcome::Unknown),
        unseen("seen later: the proof begins then")
            .unmarked(&[])
            .on(600, Woken, "lookup 0@0, wake 1000")
            .on(601, missed(600), "wake 700")
            .on(700, Woken, "lookup 0@0, wake 1000")
            .on(701, missed(700), "resolve 0 not_sent, wake 1020"),
        unseen("found all the same").on(600, Woken, "lookup 0@0, wake 1000").on(
            601,
            found(VerdictKind::Delivered, 600),
            "resolve 0 delivered, wake 1020",
        ),
    ]);
    let slot = ProviderRules { lookup: Some(LookupAbility { needs_marker: false, ..SEEING }), ..PLAIN };
    check([Scene::new("a place that holds only one needs no marker", plan(&[slot]))
        .unmarked(&[0])
        .settling(VerdictKind::Unknown)
        .on(101, Settled, "lookup 0@0, wake 1000")
        .on(301, missed(300), "wake 400")
        .on(400, Woken, "lookup 0@0, wake 1000")
        .on(401, missed(400), "resolve 0 not_sent, wake 1020")]);
}

/// A site that drops the marker shows the comment without it.
#[test]
fn a_reply_that_shows_another_comment_keeps_silence_from_proving_absence() {
    let mut echo = verdict(VerdictKind::Unknown);
    echo.contradiction = Some(Contradiction::ForeignEcho);
    let silent = |scene: Scene| {
        scene
            .on(310, missed(301), "wake ?")
            .on(600, Woken, "lookup 0@0, wake 1000")
            .on(601, missed(600), "wake ?")
            .comes_to(Outcome::Unknown)
    };
    check([silent(
        Scene::new("its own reply", plan(&[LOOKED_UP]))
            .sent()
            .on(100, Event::AttemptEnded(echo.clone()), "settle 0 unknown, wake 1020")
            .on(101, Settled, "lookup 0@0, wake 1000"),
    )]);
    let later = Plan {
        known: known(
            [verdict(VerdictKind::Unknown), echo]
                .map(|verdict| before(Some(0), verdict, None, true))
                .to_vec(),
        ),
        ..plan(&[LOOKED_UP])
    };
    check([Scene::new("that of a later attempt", later)
        .on(0, Start, "lookup 0@0, wake 1000")
        .on(300, missed(300), "wake ?")
        .on(600, Woken, "lookup 0@0, wake 1000")
        .on(601, missed(600), "wake ?")
        .comes_to(Outcome::Unknown)]);
}

/// Nobody is left to wonder why nothing comes of it.
#[test]
fn the_answer_says_why_looking_has_not_made_it_certain() {
    let told = |finding: LookupResult, unmarked: &[usize]| {
        let mut shared = FakeProviderHealth { unmarked: unmarked.to_vec(), ..FakeProviderHealth::of(0) };
        let mut machine = Machine::new(after(plan(&[LOOKED_UP]), &[VerdictKind::Unknown]));
        let _ = machine.step(Start, at(0), &mut shared);
        let _ = machine.step(LookupDone(finding, at(0)), at(900), &mut shared);
        let actions = machine.step(Woken, at(1000), &mut shared);
        let answer = actions.into_iter().find_map(|action| match action {
            Action::Reply(Ok(reply)) => Some(reply.message.clone()),
            _ => None,
        });
        answer.expect("an answer")
    };
    for (finding, unmarked, says) in [
        (LookupResult::Failed("the reply is longer than 9 bytes".into()), &[][..], "longer than 9 bytes"),
        (LookupResult::Alike("c7".into()), &[], "(c7)"),
        (LookupResult::NotFound { complete: true }, &[0], "no marker of ours was ever seen"),
    ] {
        let told = told(finding, unmarked);
        assert!(told.starts_with("the channel says unknown; ") && told.contains(says), "{told}");
    }
    assert_eq!(told(LookupResult::NotFound { complete: true }, &[]), "the channel says unknown");
}

#[test]
fn an_unknown_delivery_is_looked_up_again_and_never_sent() {
    let unknown = |provider: ProviderRules| after(plan(&[provider, PLAIN]), &[VerdictKind::Unknown]);
    let unplaced =
        Plan { known: known(vec![before(None, verdict(VerdictKind::Unknown), None, true)]), ..plan(&[BOTH]) };
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
            .on(0, Start, "lookup 0@0, wake 1000")
            .on(30, found(VerdictKind::Delivered, 0), "resolve 0 delivered, wake 1020")
            .on(31, Settled, "answer delivered 0, finish"),
        Scene::new("missed: it goes on looking while there is time", unknown(LOOKED_UP))
            .on(0, Start, "lookup 0@0, wake 1000")
            .on(30, missed(0), "wake ?")
            .on(210, Woken, "lookup 0@0, wake 1000")
            .on(220, missed(210), "wake 310")
            .on(310, Woken, "lookup 0@0, wake 1000")
            .on(311, missed(310), "resolve 0 not_sent, wake 1020")
            .on(312, Settled, "wake ?")
            .on(400, Woken, "intent 1@0, wake 1000"),
        Scene::new("the channel can't be asked", unknown(LOOKED_UP))
            .on(0, Start, "lookup 0@0, wake 1000")
            .on(900, LookupDone(LookupResult::Failed("HTTP 500".into()), at(0)), "wake 1000")
            .on(1000, Woken, "answer unknown 56, lookup 0@0"),
        Scene::new("nothing to know it by: asking once is enough", unknown(LOOKED_UP))
            .on(0, Start, "lookup 0@0, wake 1000")
            .on(1, LookupDone(LookupResult::CannotBeKnown, at(0)), "answer unknown 56, finish")
            .over(),
        Scene::new(
            "nothing to know the first by, but the second",
            after(plan(&[LOOKED_UP]), &[VerdictKind::Unknown; 2]),
        )
        .on(0, Start, "lookup 0@0, wake 1000")
        .on(1, LookupDone(LookupResult::CannotBeKnown, at(0)), "lookup 1@0, wake 1000")
        .on(2, found(VerdictKind::Held, 1), "resolve 1 held, wake 1020")
        .on(3, Settled, "answer held 0, finish"),
        Scene::new("the look outlasts the deadline", unknown(LOOKED_UP))
            .on(0, Start, "lookup 0@0, wake 1000")
            .on(1000, Woken, "answer unknown 56")
            .on(1500, missed(0), "wake ?"),
        Scene::new("silence counts from the start of the process", unknown(LOOKED_UP))
            .on(10_000, Start, "lookup 0@0, wake 1000")
            .on(10_001, missed(10_000), "wake 1000")
            .on(10_001, Woken, "answer unknown 56, lookup 0@0")
            .on(10_199, missed(10_199), "wake 10200"),
        Scene::new("two unresolved attempts", after(plan(&[LOOKED_UP]), &[VerdictKind::Unknown; 2]))
            .on(0, Start, "lookup 0@0, wake 1000")
            .on(30, missed(0), "wake ?")
            .on(200, Woken, "lookup 0@0, wake 1000")
            .on(201, missed(200), "wake 300")
            .on(300, Woken, "lookup 0@0, wake 1000")
            .on(301, missed(300), "resolve 0 not_sent, wake 1020")
            .on(302, Settled, "lookup 1@0, wake 1000")
            .on(303, found(VerdictKind::Held, 302), "resolve 1 held, wake 1020")
            .on(304, Settled, "answer held 0, finish")
            .comes_to(Outcome::Held),
        Scene::new(
            "a lookup that misses states proves nothing",
            unknown(ProviderRules { lookup: Some(blind), ..PLAIN }),
        )
        .on(0, Start, "lookup 0@0, wake 1000")
        .on(30, missed(0), "wake ?")
        .on(1000, Woken, "answer unknown 56, lookup 0@0")
        .on(1030, missed(1000), "wake ?")
        .on(5000, Woken, "lookup 0@0")
        .on(5001, missed(5000), "wake ?")
        .on(9000, Woken, "lookup 0@0")
        .on(9001, missed(9000), "wake ?")
        .comes_to(Outcome::Unknown),
    ]);
}

#[test]
fn whoever_asks_hastens_the_looks_and_proves_nothing_sooner() {
    let unknown = |provider: ProviderRules| after(plan(&[provider, PLAIN]), &[VerdictKind::Unknown]);
    let blind = LookupAbility { sees_every_state: false, ..SEEING };
    check([
        Scene::new("somebody asks: look now", unknown(LOOKED_UP))
            .on(0, asks(), "")
            .on(0, Start, "lookup 0@0, wake 1000")
            .on(10, asks(), "")
            .on(30, missed(0), "wake ?")
            .on(40, asks(), "lookup 0@0, wake 1000")
            .on(41, asks(), "")
            .on(50, found(VerdictKind::Delivered, 40), "resolve 0 delivered, wake 1020")
            .on(51, asks(), "")
            .on(52, Settled, "answer delivered 0, finish")
            .on(53, asks(), ""),
        Scene::new("asking often proves nothing sooner", unknown(LOOKED_UP))
            .on(0, Start, "lookup 0@0, wake 1000")
            .on(1, missed(0), "wake ?")
            .on(200, asks(), "lookup 0@0, wake 1000")
            .on(201, missed(200), "wake 300")
            .on(202, asks(), "lookup 0@0, wake 1000")
            .on(299, missed(202), "wake 300")
            .comes_to(Outcome::Unknown),
        Scene::new(
            "who asks finds the waits short again",
            unknown(ProviderRules { lookup: Some(blind), ..PLAIN }),
        )
        .on(0, Start, "lookup 0@0, wake 1000")
        .on(1, missed(0), "wake 101")
        .on(101, Woken, "lookup 0@0, wake 1000")
        .on(102, missed(101), "wake 302")
        .on(302, asks(), "lookup 0@0, wake 1000")
        .on(303, missed(302), "wake 403"),
    ]);
}

/// The channel takes what it gets again for what it has had, also from a later call.
#[test]
fn an_unknown_is_repeated_for_a_caller_that_comes_again_within_the_channels_window() {
    let again = |window_ms, started: Option<u64>| {
        let provider = ProviderRules { deduplicates_within: Some(support::ms(window_ms)), ..LOOKED_UP };
        let verdict = verdict(VerdictKind::Unknown);
        let known = known(vec![before(Some(0), verdict, started.map(at), true)]);
        Plan { known, deadline: at(11_000), ..plan(&[provider, PLAIN]) }
    };
    check([
        Scene::new("it is open until after the deadline", again(11_001, Some(0)))
            .on(10_000, Start, "intent 1@0, wake 11000")
            .on(10_001, IntentRecorded, "send 1@0")
            .on(10_050, ended(VerdictKind::Delivered), "settle 1 delivered, wake 11020")
            .on(10_051, Settled, "answer delivered 0, finish"),
        Scene::new("what comes of it is unknown, too: looked up", again(11_001, Some(0)))
            .on(10_000, Start, "intent 1@0, wake 11000")
            .on(10_001, IntentRecorded, "send 1@0")
            .on(10_990, ended(VerdictKind::Unknown), "settle 1 unknown, wake 11020")
            .on(10_991, Settled, "lookup 0@0, wake 11000"),
        Scene::new("it closes before the deadline", again(11_000, Some(0))).on(
            10_000,
            Start,
            "lookup 0@0, wake 11000",
        ),
        Scene::new("nobody knows when it began", again(86_400_000, None)).on(
            10_000,
            Start,
            "lookup 0@0, wake 11000",
        ),
        Scene::new("its breaker is open", again(11_001, Some(0))).shut(&[0]).on(
            10_000,
            Start,
            "skip 0 denied 66, lookup 0@0, wake 11000",
        ),
        Scene::new("there is nobody to send it for", Plan { has_caller: false, ..again(11_001, Some(0)) })
            .on(10_000, Start, "lookup 0@0"),
    ]);
}

#[test]
fn a_recovery_has_nobody_to_answer_and_sends_nothing() {
    let alone = |plan: Plan| Plan { has_caller: false, deadline: at(1000), ..plan };
    check([
        Scene::new("unknown, found", alone(after(plan(&[BOTH]), &[VerdictKind::Unknown])))
            .on(0, Start, "lookup 0@0")
            .on(30, found(VerdictKind::Delivered, 0), "resolve 0 delivered")
            .on(31, Settled, "finish"),
        Scene::new("unknown, absent", alone(after(plan(&[BOTH]), &[VerdictKind::Unknown])))
            .on(0, Start, "lookup 0@0")
            .on(30, missed(0), "wake ?")
            .on(200, Woken, "lookup 0@0")
            .on(201, missed(200), "wake 300")
            .on(300, Woken, "lookup 0@0")
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
