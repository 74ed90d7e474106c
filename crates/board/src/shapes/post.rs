//! A post that was understood, whatever its shape.

use crate::refusal::PostRefusal;
use crate::store::NewComment;
use commentd_contract::Intake;

/// How a path speaks.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum WireShape {
    Native,
    Generic,
    GenericBatch,
    Wxbot,
}

/// A well-formed post of any shape.
#[derive(Debug)]
pub(crate) struct ParsedPost {
    pub(crate) shape: WireShape,
    pub(crate) comments: Vec<NewComment>,
    /// The idempotency key, where keys are to be heeded.
    pub(crate) key: Option<String>,
    /// What the v1 shape gives back.
    pub(super) intake: Option<Intake>,
}

impl ParsedPost {
    /// Of a shape that has neither a key nor anything to give back in its body.
    pub(super) fn plain(shape: WireShape, comment: NewComment) -> Self {
        Self { shape, comments: vec![comment], key: None, intake: None }
    }

    pub(crate) fn task_id(&self) -> &str {
        self.intake.as_ref().map_or("", |intake| &intake.task_id)
    }
}

/// How every shape refuses JSON that it can't read.
pub(super) fn bad_json(error: &serde_path_to_error::Error<serde_json::Error>) -> PostRefusal {
    let path = error.path().to_string();
    let place = if path == "." { "body".to_owned() } else { path };
    PostRefusal::bad("bad_request", format!("{place}: {}", error.inner()))
}
