//! How a channel is asked whether it is there, is what it should be, and takes comments from us.

use super::cassette::{ExchangeContext, Purpose, match_key};
use super::client::MAX_REPLY_BYTES;
use super::native_http::{NOBODY, NativeHttp};
use crate::status::{ProbeState, ProviderStatus};
use commentd_channels::Ability;
use std::sync::atomic::Ordering;

impl NativeHttp {
    /// Asks the channel, without any effect there, whether it would take comments from us; `None` if its manifest
    /// has no probe. Ends by itself, within twice the timeout.
    pub async fn ask_ability(&self) -> Option<Ability> {
        let unix_ms = self.client.clock.unix_ms();
        let request = match self.channel.render_probe(unix_ms)? {
            Ok(request) => request,
            Err(error) => return Some(Ability::Unclear(self.redact(&error.0))),
        };
        let context = ExchangeContext {
            purpose: Purpose::Probe,
            match_key: match_key(&request),
            id: NOBODY,
            placeholders: Vec::new(),
            limit: MAX_REPLY_BYTES,
            token: None,
        };
        Some(match self.ask_once(&self.senders, &request, context).await {
            Ok((reply, _)) => {
                match self.channel.ability(&reply, unix_ms).redacted(|text| self.redact(text)) {
                    Ability::Unclear(reason) => Ability::Unclear(format!(
                        "something else than {} answers at {}, is --channel-url right? {reason}",
                        self.channel.name(),
                        self.client.shown()
                    )),
                    said => said,
                }
            }
            Err(error) => Ability::Unreached(error),
        })
    }

    /// What a probe shows. A replay has no channel that could be asked.
    pub(super) async fn ask_condition(&self) -> ProviderStatus {
        if self.client.is_replay() {
            return ProviderStatus::GOOD;
        }
        let Some(ability) = self.ask_ability().await else {
            return match self.connects().await {
                ProbeState::No(reason) => absent(reason),
                ProbeState::Unasked | ProbeState::Yes => ProviderStatus::GOOD,
            };
        };
        let knew = self.probe_knew.load(Ordering::Relaxed);
        match ability {
            Ability::Able => {
                self.probe_knew.store(true, Ordering::Relaxed);
                ProviderStatus::GOOD
            }
            Ability::NotAble(reason) => {
                self.probe_knew.store(true, Ordering::Relaxed);
                ProviderStatus { capability: ProbeState::No(reason), ..ProviderStatus::GOOD }
            }
            // Where the probe knew the channel before, something answers in its place while it is down.
            Ability::Unclear(reason) if knew => absent(reason),
            // A channel without what the probe asks for may take comments all the same: attempts will show.
            Ability::Unclear(reason) => {
                ProviderStatus { identity: ProbeState::No(reason), ..ProviderStatus::GOOD }
            }
            Ability::Unreached(reason) => absent(reason),
        }
    }

    /// Whether the channel takes a connection, TLS included. Nothing is asked over it.
    async fn connects(&self) -> ProbeState {
        match tokio::time::timeout(self.client.timeout, self.client.connect()).await {
            Ok(Ok(_closed_again)) => ProbeState::Yes,
            Ok(Err(failure)) => ProbeState::No(self.redact(&failure.message)),
            Err(_) => ProbeState::No(self.no_connection()),
        }
    }
}

/// It may be able: attempts will show, once it is up.
fn absent(reason: String) -> ProviderStatus {
    ProviderStatus {
        health: ProbeState::No(reason.clone()),
        identity: ProbeState::No(reason),
        ..ProviderStatus::GOOD
    }
}
