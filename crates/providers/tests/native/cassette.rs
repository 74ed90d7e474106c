use crate::support::{HandClock, attempt, job, provider};
use commentd_contract::VerdictKind;
use commentd_providers::Provider;
use commentd_providers::native::CassetteMode;

#[tokio::test]
async fn a_replay_asks_nobody_and_says_what_its_cassette_lacks() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("empty.har");
    drop(CassetteMode::record(&path).unwrap());
    assert!(CassetteMode::record(&path).is_err(), "a cassette is never written over");
    let clock = HandClock::default();
    // Nothing listens there, and nothing is asked.
    let provider = provider("", "http://127.0.0.1:1", ["", ""], &clock)
        .with_cassette(CassetteMode::replay(&path).unwrap());
    assert!(provider.probe().await.is_good());
    let verdict = attempt(&provider, &job(1, 1, &clock)).await;
    assert_eq!(verdict.kind, VerdictKind::Denied);
    for part in ["empty.har", "no send", "POST /send", "hello"] {
        assert!(verdict.message.contains(part), "{part}: {}", verdict.message);
    }
}

#[tokio::test]
async fn what_is_no_cassette_is_said_and_one_that_was_cut_off_is_used_as_far_as_it_is_whole() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("x.har");
    assert!(CassetteMode::replay(&path).err().unwrap().contains("can't be read"));
    std::fs::write(&path, "not a cassette").unwrap();
    assert!(CassetteMode::replay(&path).err().unwrap().contains("no cassette"));

    let whole = directory.path().join("whole.har");
    let clock = HandClock::default();
    let server = crate::stand_in::StandIn::start(|_| (200, "{}".into())).await;
    let recording =
        provider("", &server.url, ["", ""], &clock).with_cassette(CassetteMode::record(&whole).unwrap());
    assert_eq!(attempt(&recording, &job(1, 1, &clock)).await.kind, VerdictKind::Delivered);
    assert_eq!(attempt(&recording, &job(2, 1, &clock)).await.kind, VerdictKind::Delivered);
    let text = std::fs::read_to_string(&whole).unwrap();
    let cut_at = text.rfind("startedDateTime").unwrap() + 40;
    std::fs::write(&path, &text[..cut_at]).unwrap();
    let replaying = provider("", "http://127.0.0.1:1", ["", ""], &clock)
        .with_cassette(CassetteMode::replay(&path).unwrap());
    assert_eq!(attempt(&replaying, &job(1, 1, &clock)).await.kind, VerdictKind::Delivered);
    assert_eq!(
        attempt(&replaying, &job(2, 1, &clock)).await.kind,
        VerdictKind::Denied,
        "the one that was cut off"
    );
}
