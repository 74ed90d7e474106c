//! The error codes of the v1 contract.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// An `error_code` of the v1 contract.
///
/// Codes 0–50 come from the hook's wire; 51–66 are commentd's own. What a code says about the comment's
/// effect when it arrives *from elsewhere* is decided by `delivery`, not here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Code {
    /// 0: nothing went wrong.
    Ok,
    /// 1: a fault of the answering program.
    Internal,
    /// 2: the hook's pipe broke.
    PipeDisconnected,
    /// 3: the hook's pipe did not answer in time.
    PipeTimeout,
    /// 10: the request is malformed or the comment is empty.
    InvalidCommand,
    /// 20: the target does not exist.
    SnsIdNotFound,
    /// 30: the hook's comment call failed, possibly after it had an effect.
    CommentFailed,
    /// 31: the provider cannot comment.
    CommentNotImplemented,
    /// 40: the hook does not know the running client version.
    WechatVersionMismatch,
    /// 50: the hook is not installed.
    HookNotInstalled,
    /// 51: the upstream failed; the outcome says what is known.
    UpstreamUnavailable,
    /// 52: the upstream refused the comment.
    UpstreamRefused,
    /// 53: the upstream asked to slow down.
    UpstreamThrottled,
    /// 54: the upstream did not accept our credentials.
    UpstreamUnauthorized,
    /// 55: the upstream's reply could not be read or matched nothing.
    UpstreamBadReply,
    /// 56: nobody knows whether the comment landed.
    OutcomeUnknown,
    /// 57: stored, but not as asked.
    Misplaced,
    /// 60: the caller's credentials are bad.
    Unauthorized,
    /// 61: too much is in flight, or the ledger cannot record.
    Overloaded,
    /// 62: the deadline passed before anything was sent.
    DeadlineExceeded,
    /// 63: the key was used with another comment.
    KeyReused,
    /// 64: the key is still in flight.
    KeyInFlight,
    /// 65: the UI worker is not available.
    UiWorkerUnavailable,
    /// 66: no provider was able (breaker open, capability missing).
    ProviderUnavailable,
}

/// Every code with its number and name, in the order of the contract's table.
const TABLE: [(Code, u16, &str); 24] = [
    (Code::Ok, 0, "OK"),
    (Code::Internal, 1, "INTERNAL"),
    (Code::PipeDisconnected, 2, "PIPE_DISCONNECTED"),
    (Code::PipeTimeout, 3, "PIPE_TIMEOUT"),
    (Code::InvalidCommand, 10, "INVALID_COMMAND"),
    (Code::SnsIdNotFound, 20, "SNS_ID_NOT_FOUND"),
    (Code::CommentFailed, 30, "COMMENT_FAILED"),
    (Code::CommentNotImplemented, 31, "COMMENT_NOT_IMPLEMENTED"),
    (Code::WechatVersionMismatch, 40, "WECHAT_VERSION_MISMATCH"),
    (Code::HookNotInstalled, 50, "HOOK_NOT_INSTALLED"),
    (Code::UpstreamUnavailable, 51, "UPSTREAM_UNAVAILABLE"),
    (Code::UpstreamRefused, 52, "UPSTREAM_REFUSED"),
    (Code::UpstreamThrottled, 53, "UPSTREAM_THROTTLED"),
    (Code::UpstreamUnauthorized, 54, "UPSTREAM_UNAUTHORIZED"),
    (Code::UpstreamBadReply, 55, "UPSTREAM_BAD_REPLY"),
    (Code::OutcomeUnknown, 56, "OUTCOME_UNKNOWN"),
    (Code::Misplaced, 57, "MISPLACED"),
    (Code::Unauthorized, 60, "UNAUTHORIZED"),
    (Code::Overloaded, 61, "OVERLOADED"),
    (Code::DeadlineExceeded, 62, "DEADLINE_EXCEEDED"),
    (Code::KeyReused, 63, "KEY_REUSED"),
    (Code::KeyInFlight, 64, "KEY_IN_FLIGHT"),
    (Code::UiWorkerUnavailable, 65, "UI_WORKER_UNAVAILABLE"),
    (Code::ProviderUnavailable, 66, "PROVIDER_UNAVAILABLE"),
];

impl Code {
    /// Every code of the contract.
    pub fn all() -> impl Iterator<Item = Code> {
        TABLE.iter().map(|row| row.0)
    }

    /// The number that stands in `error_code`.
    pub fn number(self) -> u16 {
        TABLE.iter().find(|row| row.0 == self).map_or(1, |row| row.1)
    }

    /// The name used in documents and messages.
    pub fn name(self) -> &'static str {
        TABLE.iter().find(|row| row.0 == self).map_or("INTERNAL", |row| row.2)
    }

    /// The code with this number, or `None` for a number that the contract doesn't have.
    pub fn from_number(number: i64) -> Option<Code> {
        TABLE.iter().find(|row| i64::from(row.1) == number).map(|row| row.0)
    }
}

impl Serialize for Code {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u16(self.number())
    }
}

impl<'de> Deserialize<'de> for Code {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = i64::deserialize(deserializer)?;
        Code::from_number(number).ok_or_else(|| {
            serde::de::Error::custom(format!("{number} is not an error code of the v1 contract"))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_names_are_unique_and_round_trip() {
        for code in Code::all() {
            assert_eq!(Code::from_number(i64::from(code.number())), Some(code));
            assert_eq!(Code::all().filter(|other| other.name() == code.name()).count(), 1);
            let json = serde_json::to_string(&code).unwrap();
            assert_eq!(serde_json::from_str::<Code>(&json).unwrap(), code);
        }
        assert_eq!(Code::from_number(11), None);
    }
}
