//! Deliveries to test with, told apart by a number.

use crate::{AttemptEnd, Opening, Settling};
use commentd_contract::{Addressing, ProviderName, Var, VerdictKind};
use commentd_delivery::record::{AttemptRecord, Destination, KeyRef};
use commentd_delivery::{Comment, DeliveryId, Verdict};
use std::sync::Arc;

/// The id of delivery `n`.
pub fn id(n: u64) -> DeliveryId {
    let mut bytes = [0xd0; 16];
    bytes[8..].copy_from_slice(&n.to_be_bytes());
    DeliveryId::from_bytes(bytes)
}

/// The intent of an attempt to a channel.
pub fn attempt(number: u32) -> AttemptRecord {
    AttemptRecord {
        number,
        destination: Arc::new(Destination {
            provider: ProviderName::NativeHttp,
            channel: "wordpress".into(),
            base_url: "https://blog.example".into(),
            account: "Ann".into(),
            manifest_version: 3,
        }),
        marker: "urn:marker".into(),
        started_ms: 1_700_000_000_000 + u64::from(number),
        verdict: None,
        resolution: None,
    }
}

/// The opening of delivery `n`, with a key of its own.
pub fn opening(n: u64) -> Opening {
    let mut addressing = Addressing { sns_id: "/p/1".into(), ..Addressing::default() };
    addressing.vars.insert("thread".into(), Var::Number(14_287_710_653_886_042_616_u64.into()));
    addressing.vars.insert("lang".into(), Var::Text("de".into()));
    let comment = Comment { content: format!("comment {n}"), addressing: addressing.into() };
    Opening {
        id: id(n),
        key: KeyRef { caller: "bot".into(), key: format!("key-{n}").into(), item: 0 },
        fingerprint: comment.fingerprint(1),
        comment: Arc::new(comment),
        trace_id: format!("trace-{n}").into(),
        intent: attempt(1),
    }
}

/// A verdict of this kind, at a provider for 12 ms.
pub fn verdict(kind: VerdictKind) -> Verdict {
    Verdict::new(kind, format!("said {kind}")).after_ms(12)
}

/// Attempt `number` of delivery `n` ends with this verdict, one second after the samples' intents.
pub fn settling(n: u64, number: u32, verdict: Verdict) -> Settling {
    Settling { id: id(n), attempt: number, end: AttemptEnd::Verdict(verdict), at_ms: 1_700_000_001_000 }
}
