//! The older gateways' shape: `POST /api/sendtxtmsg`. It says only whether it worked, and echoes nothing.

use super::post::bad_json;
use crate::refusal::PostRefusal;
use crate::response::BoardResponse;
use crate::store::{AddResult, NewComment};
use http::StatusCode;
use serde::{Deserialize, Serialize};

#[derive(Deserialize)]
struct WxbotMessage {
    wxid: String,
    content: String,
}

#[derive(Serialize)]
struct WxbotStatus {
    code: u16,
    msg: &'static str,
}

/// The gateways' failure text, spelt as they spell it.
const FAILED: WxbotStatus = WxbotStatus { code: 200, msg: "faild" };

pub(super) fn parse(body: &[u8]) -> Result<NewComment, PostRefusal> {
    let mut reader = serde_json::Deserializer::from_slice(body);
    let request: WxbotMessage =
        serde_path_to_error::deserialize(&mut reader).map_err(|error| bad_json(&error))?;
    if request.wxid.is_empty() || request.content.is_empty() {
        return Err(PostRefusal::bad("empty_text", "wxid and content must not be empty"));
    }
    Ok(NewComment { target: request.wxid, text: request.content, ..NewComment::default() })
}

pub(super) fn respond(added: &[AddResult]) -> BoardResponse {
    match added.first() {
        Some(AddResult::Stored(_) | AddResult::Repeated(_)) => {
            BoardResponse::json(StatusCode::OK, &WxbotStatus { code: 200, msg: "success" })
        }
        _ => BoardResponse::json(StatusCode::OK, &FAILED),
    }
}

/// A bad comment is a 200 that says no; only trouble of the gateway itself shows in the status.
pub(super) fn refuse(refusal: &PostRefusal) -> BoardResponse {
    match refusal.status {
        StatusCode::BAD_REQUEST | StatusCode::PAYLOAD_TOO_LARGE => {
            BoardResponse::json(StatusCode::OK, &FAILED)
        }
        status => BoardResponse::json(status, &WxbotStatus { code: status.as_u16(), msg: refusal.error }),
    }
}
