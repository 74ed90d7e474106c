//! Whether the channel would take comments from us at all.

use crate::language::Expr;
use crate::reply::{ChannelReply, shortened};
use crate::request::{HttpRequest, RenderError, RequestTemplate};
use crate::scope::Scope;
use crate::written::WrittenProbe;

/// What a probe's reply says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ability {
    /// The channel takes comments from us.
    Able,
    /// It doesn't, for this reason.
    NotAble(String),
    /// The reply says neither; why it doesn't.
    Unclear(String),
    /// No reply of the channel's came; why.
    Unreached(String),
}

impl Ability {
    /// The same with these changes to what people read.
    #[must_use]
    pub fn redacted(self, redact: impl Fn(&str) -> String) -> Self {
        match self {
            Ability::Able => Ability::Able,
            Ability::NotAble(reason) => Ability::NotAble(redact(&reason)),
            Ability::Unclear(reason) => Ability::Unclear(redact(&reason)),
            Ability::Unreached(reason) => Ability::Unreached(redact(&reason)),
        }
    }
}

#[derive(Clone, Debug)]
pub(crate) struct CompiledProbe {
    request: RequestTemplate,
    able: Expr,
    not_able: Option<Expr>,
    reason: Option<Expr>,
}

impl CompiledProbe {
    pub(crate) fn compile(written: &WrittenProbe) -> Result<Self, String> {
        let expr =
            |key: &str, source: &str| Expr::compile(source).map_err(|error| format!("probe.{key}: {error}"));
        Ok(Self {
            request: RequestTemplate::compile(&written.request)
                .map_err(|error| format!("probe.request.{error}"))?,
            able: expr("able", &written.able)?,
            not_able: written.not_able.as_deref().map(|source| expr("not_able", source)).transpose()?,
            reason: written.reason.as_deref().map(|source| expr("reason", source)).transpose()?,
        })
    }

    /// Whether it can say that we aren't able.
    pub(crate) fn can_say_no(&self) -> bool {
        self.not_able.is_some()
    }

    pub(crate) fn render(&self, scope: &Scope) -> Result<HttpRequest, RenderError> {
        self.request.render(&scope.value())
    }

    pub(crate) fn judge(&self, reply: &ChannelReply, scope: &Scope) -> Ability {
        let values = scope.with_reply(reply);
        let unclear = |error: String| Ability::Unclear(format!("the probe's reply can't be judged: {error}"));
        match self.not_able.as_ref().map_or(Ok(false), |not_able| not_able.holds(&values)) {
            Err(error) => return unclear(error),
            Ok(true) => {
                let said =
                    self.reason.as_ref().and_then(|reason| reason.text(&values).ok()).unwrap_or_default();
                let said = shortened(&said);
                let words = if said.is_empty() { String::new() } else { format!(": {said}") };
                return Ability::NotAble(format!(
                    "the channel's probe says no (HTTP {}){words}",
                    reply.status
                ));
            }
            Ok(false) => {}
        }
        match self.able.holds(&values) {
            Ok(true) => Ability::Able,
            // What stands before the channel says that it doesn't reach it.
            Ok(false) if matches!(reply.status, 502..=504) => {
                Ability::Unreached(format!("the probe was answered with HTTP {}", reply.status))
            }
            Ok(false) => {
                Ability::Unclear(format!("the probe's reply says neither yes nor no (HTTP {})", reply.status))
            }
            Err(error) => unclear(error),
        }
    }
}
