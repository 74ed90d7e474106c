//! What every way to make connections must be like, seen through the provider that uses it: where the gate stands when
//! a connection fails, and what such an attempt comes to.

#[cfg(test)]
mod proxy;
#[cfg(test)]
mod tcp;

use super::dial::Dial;
use crate::native::{BaseUrl, NativeHttp};
use crate::provider::Provider;
use crate::provider::ProviderJob;
use commentd_channels::built_in;
use commentd_contract::VerdictKind;
use commentd_delivery::{Clock, Comment, DeliveryId, Gate, Moment, Verdict};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// What a channel does with the requests that it gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChannelBehaviour {
    /// Says this to each, and keeps the connection.
    Says(Vec<u8>),
    /// Says this to each in pieces of 16 bytes, this long apart, and keeps the connection.
    SaysSlowly(Vec<u8>, Duration),
    /// Says this, and closes the connection.
    Closes(Vec<u8>),
    /// Says this, and resets the connection.
    Resets(Vec<u8>),
    /// Says nothing, and keeps the connection.
    Nothing,
    /// Says this to each, says it again this much later, and keeps the connection.
    SaysTwice(Vec<u8>, Duration),
    /// Says this to each connection before it is asked for anything, and keeps the connection.
    Greets(Vec<u8>),
}

/// A channel that does as it is told, and a way to connect to it.
pub trait TestChannel {
    /// Connects to it.
    fn dialer(&self) -> Arc<dyn Dial>;
    /// Where it is: `http://host:port`.
    fn url(&self) -> String;
    /// The time.
    fn clock(&self) -> Arc<dyn Clock>;
    /// From now on the channel does this.
    fn does(&self, what: ChannelBehaviour);
    /// From now on nobody listens.
    fn refuses(&self);
    /// Requests that came in whole, so far.
    fn received(&self) -> usize;
    /// Connections that were made, so far.
    fn connections(&self) -> usize;
    /// How much later, in milliseconds, a second reply can be said to come without a doubt.
    fn pauses_ms(&self) -> &'static [u64] {
        &[0, 1, 5, 8]
    }
}

/// The attempts' timeout.
const TIMEOUT: Duration = Duration::from_millis(1500);
const ID: DeliveryId = DeliveryId::from_bytes([7; 16]);

fn native(stage: &dyn TestChannel) -> Result<NativeHttp, String> {
    let manifests = built_in().map_err(|error| error.to_string())?;
    let board = manifests.iter().find(|manifest| manifest.is_called("board")).ok_or("there is no board")?;
    let base = BaseUrl::parse(&stage.url()).map_err(|error| error.to_string())?;
    let channel = board.channel(&BTreeMap::new())?;
    Ok(NativeHttp::new(channel, base, TIMEOUT, stage.clock())?.dialing(stage.dialer()))
}

async fn attempt(native: &NativeHttp, gate: &Gate) -> Verdict {
    let deadline = Moment::at(Duration::from_secs(3600));
    let comment = Arc::new(Comment { content: "hi".into(), ..Comment::default() });
    let job = ProviderJob { id: ID, comment, trace_id: "".into(), attempt: 1, began_ms: None, deadline };
    native.attempt(&job, gate).await
}

fn reply(length: Option<usize>) -> Vec<u8> {
    let body = format!("{{\"id\":\"1\",\"text\":\"hi\",\"marker\":\"{ID}\",\"state\":\"shown\"}}");
    let length = length.unwrap_or(body.len());
    format!("HTTP/1.1 201 Created\r\nContent-Length: {length}\r\n\r\n{body}").into_bytes()
}

/// Runs every case, each on a stage of its own.
///
/// # Errors
/// Names the case that failed, and how.
pub async fn run<S: TestChannel>(mut fresh: impl AsyncFnMut() -> S) -> Result<(), String> {
    use VerdictKind::{Delivered, NotSent, Unknown};
    let long =
        [b"HTTP/1.1 201 Created\r\nContent-Length: 1048577\r\n\r\n".to_vec(), vec![b' '; 1 << 20]].concat();
    let cut = reply(None).split_last().map(|(_, rest)| rest.to_vec()).unwrap_or_default();
    let cases = [
        ("a whole reply", ChannelBehaviour::Says(reply(None)), Delivered),
        ("a slow reply", ChannelBehaviour::SaysSlowly(reply(None), Duration::from_millis(10)), Delivered),
        (
            "a reply that takes too long",
            ChannelBehaviour::SaysSlowly(reply(None), Duration::from_millis(400)),
            Unknown,
        ),
        ("a reply before the end", ChannelBehaviour::Closes(reply(None)), Delivered),
        ("a reply that is cut by an end", ChannelBehaviour::Closes(cut.clone()), Unknown),
        ("a reply that is cut by a reset", ChannelBehaviour::Resets(cut), Unknown),
        ("a reply that promises more", ChannelBehaviour::Closes(reply(Some(10_000))), Unknown),
        ("a reply over the limit", ChannelBehaviour::Says(long), Unknown),
        ("an end without a reply", ChannelBehaviour::Closes(Vec::new()), Unknown),
        ("a reset without a reply", ChannelBehaviour::Resets(Vec::new()), Unknown),
        ("no reply", ChannelBehaviour::Nothing, Unknown),
    ];
    for (name, does, expected) in cases {
        let stage = fresh().await;
        stage.does(does);
        let gate = Gate::new();
        let verdict = attempt(&native(&stage)?, &gate).await;
        expect(name, &stage, &gate, &verdict, (expected, true, 1))?;
    }
    let stage = fresh().await;
    stage.does(ChannelBehaviour::Greets(reply(None)));
    let gate = Gate::new();
    let verdict = attempt(&native(&stage)?, &gate).await;
    expect("a reply to nothing", &stage, &gate, &verdict, (NotSent, false, 0))?;

    let stage = fresh().await;
    stage.refuses();
    let gate = Gate::new();
    let verdict = attempt(&native(&stage)?, &gate).await;
    expect("nobody listens", &stage, &gate, &verdict, (NotSent, false, 0))?;

    let stage = fresh().await;
    stage.does(ChannelBehaviour::Says(reply(None)));
    let gate = Gate::new();
    let _ = gate.cancel();
    let verdict = attempt(&native(&stage)?, &gate).await;
    expect("the gate is closed", &stage, &gate, &verdict, (NotSent, false, 0))?;
    pooled(&mut fresh).await?;
    said_twice(&mut fresh).await
}

/// The second reply to one request isn't the reply to the next one.
async fn said_twice<S: TestChannel>(fresh: &mut impl AsyncFnMut() -> S) -> Result<(), String> {
    for pause_ms in fresh().await.pauses_ms() {
        let stage = fresh().await;
        stage.does(ChannelBehaviour::SaysTwice(reply(None), Duration::from_millis(*pause_ms)));
        let native = native(&stage)?;
        for number in 1..=3 {
            let gate = Gate::new();
            let verdict = attempt(&native, &gate).await;
            let expected = (VerdictKind::Delivered, true, number);
            expect("a reply that comes twice", &stage, &gate, &verdict, expected)?;
            if stage.connections() != number {
                return Err(format!(
                    "a reply that comes {pause_ms} ms later once more: its connection was used again"
                ));
            }
        }
    }
    Ok(())
}

/// A connection whose reply was read whole is used again; one that has ended isn't.
async fn pooled<S: TestChannel>(fresh: &mut impl AsyncFnMut() -> S) -> Result<(), String> {
    for (name, does, connections) in [
        ("a kept connection", ChannelBehaviour::Says(reply(None)), 1),
        ("an ended connection", ChannelBehaviour::Closes(reply(None)), 2),
    ] {
        let stage = fresh().await;
        stage.does(does);
        let native = native(&stage)?;
        for number in 1..=2 {
            let gate = Gate::new();
            let verdict = attempt(&native, &gate).await;
            expect(name, &stage, &gate, &verdict, (VerdictKind::Delivered, true, number))?;
            // Long enough for an end to arrive, far too short for an idle connection to be dropped.
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        if stage.connections() != connections {
            return Err(format!("{name}: {} connections instead of {connections}", stage.connections()));
        }
    }
    Ok(())
}

fn expect(
    name: &str,
    stage: &dyn TestChannel,
    gate: &Gate,
    verdict: &Verdict,
    (kind, passed, received): (VerdictKind, bool, usize),
) -> Result<(), String> {
    let is = (verdict.kind, gate.is_passed(), stage.received());
    if is == (kind, passed, received) {
        return Ok(());
    }
    Err(format!("{name}: (verdict, gate passed, requests received) is {is:?}: {}", verdict.message))
}
