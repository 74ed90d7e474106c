//! How a channel is asked whether it is there, is what it should be, and takes comments from us.

use super::cassette::{Part, Purpose, like};
use super::wire::MAX_REPLY_BYTES;
use super::{NOBODY, NativeHttp};
use crate::condition::{Condition, Known};
use commentd_channels::Ability;
use std::sync::atomic::Ordering;

impl NativeHttp {
    /// Asks the channel, without any effect there, whether it would take comments from us; `None` if its manifest
    /// has no probe. Ends by itself, within twice the timeout.
    pub async fn ask_ability(&self) -> Option<Ability> {
        let unix_ms = self.wire.clock.unix_ms();
        let request = match self.channel.render_probe(unix_ms)? {
            Ok(request) => request,
            Err(error) => return Some(Ability::Unclear(self.redact(&error.0))),
        };
        let part = Part {
            purpose: Purpose::Probe,
            like: like(&request),
            id: NOBODY,
            words: Vec::new(),
            limit: MAX_REPLY_BYTES,
            token: None,
        };
        Some(match self.ask_once(&self.senders, &request, part).await {
            Ok((reply, _)) => {
                match self.channel.ability(&reply, unix_ms).redacted(|text| self.redact(text)) {
                    Ability::Unclear(reason) => Ability::Unclear(format!(
                        "something else than {} answers at {}, is --channel-url right? {reason}",
                        self.channel.name(),
                        self.wire.shown()
                    )),
                    said => said,
                }
            }
            Err(error) => Ability::Unreached(error),
        })
    }

    /// What a probe shows. A replay has no channel that could be asked.
    pub(super) async fn ask_condition(&self) -> Condition {
        if self.wire.is_replay() {
            return Condition::GOOD;
        }
        let Some(ability) = self.ask_ability().await else {
            return match self.connects().await {
                Known::No(reason) => absent(reason),
                Known::Unasked | Known::Yes => Condition::GOOD,
            };
        };
        let knew = self.probe_knew.load(Ordering::Relaxed);
        match ability {
            Ability::Able => {
                self.probe_knew.store(true, Ordering::Relaxed);
                Condition::GOOD
            }
            Ability::NotAble(reason) => {
                self.probe_knew.store(true, Ordering::Relaxed);
                Condition { capability: Known::No(reason), ..Condition::GOOD }
            }
            // Where the probe knew the channel before, something answers in its place while it is down.
            Ability::Unclear(reason) if knew => absent(reason),
            // A channel without what the probe asks for may take comments all the same: attempts will show.
            Ability::Unclear(reason) => Condition { identity: Known::No(reason), ..Condition::GOOD },
            Ability::Unreached(reason) => absent(reason),
        }
    }

    /// Whether the channel takes a connection, TLS included. Nothing is asked over it.
    async fn connects(&self) -> Known {
        match tokio::time::timeout(self.wire.timeout, self.wire.connect()).await {
            Ok(Ok(_closed_again)) => Known::Yes,
            Ok(Err(failure)) => Known::No(self.redact(&failure.message)),
            Err(_) => Known::No(self.no_connection()),
        }
    }
}

/// It may be able: attempts will show, once it is up.
fn absent(reason: String) -> Condition {
    Condition { health: Known::No(reason.clone()), identity: Known::No(reason), ..Condition::GOOD }
}
