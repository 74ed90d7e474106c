//! The provider for one HTTP channel: what it holds, and how it is made.

use super::base::BaseUrl;
use super::cassette::CassetteMode;
use super::client::ChannelClient;
use super::credentials::Credentials;
use super::dial::Dial;
use super::proxy::Proxy;
use super::tls::TlsFiles;
use crate::provider::ProviderJob;
use crate::rate_limiter::RateLimiter;
use crate::status::{ProbeState, ProviderStatus, SharedStatus};
use commentd_channels::{Channel, Scope};
use commentd_contract::time::whole_ms;
use commentd_contract::{Code, ProviderName, VerdictKind};
use commentd_delivery::record::Destination;
use commentd_delivery::{Clock, DeliveryId, Moment, Verdict};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

/// The id of what belongs to no delivery.
pub(super) const NOBODY: DeliveryId = DeliveryId::from_bytes([0; 16]);

/// A provider for one channel.
pub struct NativeHttp {
    pub(super) channel: Channel,
    pub(super) client: Arc<ChannelClient>,
    /// Who we are for what carries comments and for probes.
    pub(super) senders: Credentials,
    /// Who we are for lookups.
    pub(super) readers: Credentials,
    pub(super) destination: Arc<Destination>,
    pub(super) rate_limiter: Arc<RateLimiter>,
    pub(super) status: SharedStatus,
    /// Whether a probe has known the channel.
    pub(super) probe_knew: AtomicBool,
    /// Whether a marker of ours came back from the channel: then it keeps them.
    pub(super) marker_seen: AtomicBool,
}

impl NativeHttp {
    /// A provider for this channel at this address. `timeout` covers connect, headers and body of one attempt.
    ///
    /// # Errors
    /// When the address needs TLS and the system has no root certificates.
    pub fn new(
        channel: Channel,
        base: BaseUrl,
        timeout: Duration,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, String> {
        Self::with_tls(channel, base, timeout, clock, &TlsFiles::default())
    }

    /// The same with what TLS needs beside the system's roots. Reads files, blocking.
    ///
    /// # Errors
    /// When the address needs TLS and there are no root certificates, or one of the files can't be used.
    pub fn with_tls(
        channel: Channel,
        base: BaseUrl,
        timeout: Duration,
        clock: Arc<dyn Clock>,
        files: &TlsFiles,
    ) -> Result<Self, String> {
        let destination = Arc::new(Destination {
            provider: ProviderName::NativeHttp,
            channel: channel.name().to_owned(),
            base_url: base.shown(),
            account: channel.account().to_owned(),
            manifest_version: channel.version(),
        });
        // That it isn't able, only a channel with such a probe can say.
        let capability = if channel.tells_ability() { ProbeState::Unasked } else { ProbeState::Yes };
        let status = SharedStatus::new(ProviderStatus {
            health: ProbeState::Unasked,
            capability,
            identity: ProbeState::Unasked,
        });
        let senders = Credentials::new(channel.auth().clone());
        let readers = channel.lookup_auth().map(|auth| Credentials::new(auth.clone()));
        let readers = readers.unwrap_or_else(|| senders.clone());
        let rate_limiter = Arc::new(RateLimiter::new(channel.paces()));
        let client = Arc::new(ChannelClient::new(base, timeout, clock, files)?);
        let (probe_knew, marker_seen) = (AtomicBool::new(false), AtomicBool::new(false));
        Ok(Self {
            channel,
            client,
            senders,
            readers,
            destination,
            rate_limiter,
            status,
            probe_knew,
            marker_seen,
        })
    }

    /// The same provider, with its connections made by `dialer`.
    #[must_use]
    pub fn dialing(self, dialer: Arc<dyn Dial>) -> Self {
        Self { client: Arc::new(self.client.dialing(dialer)), ..self }
    }

    /// The same provider, with its exchanges recorded or replayed. A replay connects to nothing.
    #[must_use]
    pub fn with_cassette(self, tape: CassetteMode) -> Self {
        let (channel, way) = (self.channel.clone(), Arc::clone(&self.client));
        let (senders, readers) = (self.senders.clone(), self.readers.clone());
        let redact =
            move |text: &str| readers.redact(&senders.redact(&way.redact_addresses(&channel.redact(text))));
        Self { client: Arc::new(self.client.with_cassette(tape, Arc::new(redact))), ..self }
    }

    /// Replaces everything secret that we know of by `***`.
    pub(super) fn redact(&self, text: &str) -> String {
        // What a reply says is mostly nothing.
        if text.is_empty() {
            return String::new();
        }
        let text = self.client.redact_addresses(&self.channel.redact(text));
        self.readers.redact(&self.senders.redact(&text))
    }

    pub(super) fn scope(&self, job: &ProviderJob) -> Scope {
        let left_ms = whole_ms(job.deadline.since(self.now()));
        let scope = self.channel.scope(Arc::clone(&job.comment), job.id, self.client.clock.unix_ms());
        scope.with_caller(left_ms, &job.trace_id)
    }

    pub(super) fn now(&self) -> Moment {
        self.client.clock.now()
    }

    pub(super) fn no_connection(&self) -> String {
        format!("no connection to {} within {} ms", self.client.shown(), self.client.timeout.as_millis())
    }

    /// The same provider, with each of its connections, whatever for, made by way of this proxy.
    #[must_use]
    pub fn by_proxy(self, proxy: Proxy) -> Self {
        Self { client: Arc::new(self.client.by_proxy(proxy)), ..self }
    }
}

/// Whether the channel says that our credentials aren't good (any more).
pub(super) fn is_unauthorized(verdict: &Verdict) -> bool {
    verdict.kind == VerdictKind::Denied && verdict.code == Code::UpstreamUnauthorized
}
