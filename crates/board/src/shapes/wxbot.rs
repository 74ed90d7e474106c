//! The older gateways' shape: `POST /api/sendtxtmsg`. It says only whether it worked, and echoes nothing.

use super::bad_json;
use crate::answer::{Answer, Refusal};
use crate::store::{Added, NewComment};
use http::StatusCode;
use serde::{Deserialize, Serialize};

#[derive(Deserialize)]
struct Request {
    wxid: String,
    content: String,
}

#[derive(Serialize)]
struct Status {
    code: u16,
    msg: &'static str,
}

/// The gateways' failure text, spelt as they spell it.
const FAILED: Status = Status { code: 200, msg: "faild" };

pub(super) fn parse(body: &[u8]) -> Result<NewComment, Refusal> {
    let mut reader = serde_json::Deserializer::from_slice(body);
    let request: Request = serde_path_to_error::deserialize(&mut reader).map_err(|error| bad_json(&error))?;
    if request.wxid.is_empty() || request.content.is_empty() {
        return Err(Refusal::bad("empty_text", "wxid and content must not be empty"));
    }
    Ok(NewComment { target: request.wxid, text: request.content, ..NewComment::default() })
}

pub(super) fn answer(added: &[Added]) -> Answer {
    match added.first() {
        Some(Added::Stored(_) | Added::Repeated(_)) => {
            Answer::json(StatusCode::OK, &Status { code: 200, msg: "success" })
        }
        _ => Answer::json(StatusCode::OK, &FAILED),
    }
}

/// A bad comment is a 200 that says no; only trouble of the gateway itself shows in the status.
pub(super) fn refuse(refusal: &Refusal) -> Answer {
    match refusal.status {
        StatusCode::BAD_REQUEST | StatusCode::PAYLOAD_TOO_LARGE => Answer::json(StatusCode::OK, &FAILED),
        status => Answer::json(status, &Status { code: status.as_u16(), msg: refusal.error }),
    }
}
