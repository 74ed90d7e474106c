//! What every handler works with.

use super::access::Access;
use super::presence::Presence;
use crate::config::Caller;
use crate::dispatch::Dispatcher;
use commentd_contract::ProviderName;
use commentd_contract::time::whole_ms;
use commentd_delivery::{Clock, Moment};
use commentd_ledger::LedgerDescription;
use serde::Serialize;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

/// What the API needs to know beside the dispatcher.
#[derive(Clone, Debug)]
pub struct ApiSettings {
    /// Who may call; empty for anybody.
    pub callers: Vec<Caller>,
    /// Host names, beside IP addresses and `localhost`, under which requests may come.
    pub allowed_hosts: Vec<String>,
    /// The deadline of requests that name none.
    pub default_deadline: Duration,
    /// Most comments of a batch at a time.
    pub max_batch_concurrency: usize,
    /// Whether `unknown` and `misplaced` report success.
    pub unknown_is_success: bool,
    /// Whether a request without a key is refused.
    pub require_key: bool,
    /// Whether comments are rendered instead of sent.
    pub dry_run: bool,
    /// Lines of the log that were lost by now.
    pub lost_lines: Arc<AtomicU64>,
    /// What `/health` says.
    pub health: HealthFacts,
}

/// What `/health` says that doesn't change while the sidecar runs.
#[derive(Clone, Debug, Serialize)]
pub struct HealthFacts {
    /// The primary provider, under its old name.
    pub mode: ProviderName,
    /// The primary provider.
    pub provider: ProviderName,
    /// The chain, in order.
    pub chain: Vec<ProviderName>,
    /// The channel; empty without one.
    pub upstream_kind: String,
    /// The channel's base URL, without userinfo and query; empty without one.
    pub upstream_base_url: String,
    /// How comments go out: `live`, `dry-run`, `record`, `replay`.
    pub exchange: String,
    /// The ledger.
    pub ledger: LedgerDescription,
    /// How long a settled delivery is kept, in milliseconds: until then its key is safe to send again.
    pub retention_ms: u64,
    /// This program's version.
    pub version: &'static str,
}

/// Shared by all requests; one allocation, so that a request counts one reference.
pub(super) type App = Arc<AppState>;

pub(super) struct AppState {
    pub(super) dispatcher: Dispatcher,
    pub(super) settings: ApiSettings,
    pub(super) access: Access,
}

impl AppState {
    /// Whole milliseconds since then.
    pub(super) fn ms_since(&self, at: Moment) -> u64 {
        whole_ms(self.dispatcher.clock().now() - at)
    }
}

/// Who sent a request, and by what connection; among the extensions of each that was let in.
#[derive(Clone)]
pub(super) struct Sender {
    /// The caller's name; empty for an anonymous one, and on the open paths for one whose credentials we don't know.
    pub(super) caller: Arc<str>,
    pub(super) presence: Arc<Presence>,
}
