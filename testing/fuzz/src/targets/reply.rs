//! Whatever a channel answers: judging it comes to an end, and what can't be read has no effect-free verdict by itself.
//! Parts: which channel, status, headers (a line each), body.

use super::channel;
use crate::parts;
use commentd_channels::{Channel, ChannelReply, ReplyHeaders, Scope};
use commentd_delivery::verdict::Effect;
use commentd_delivery::{Comment, DeliveryId, Verdict};

pub(super) fn feed(input: &[u8]) -> Result<(), String> {
    let parts = parts(input);
    let Some(channel) = channel(parts.first()) else { return Ok(()) };
    let status = parts.get(1).and_then(|text| text.trim().parse().ok()).unwrap_or(200);
    let headers: ReplyHeaders = parts
        .get(2)
        .into_iter()
        .flat_map(|text| text.lines())
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let body = parts.get(3..).unwrap_or_default().join("\n%%\n").into();
    let reply = ChannelReply { status, headers, body };
    let id = DeliveryId::from_bytes([7; 16]);
    let comment = Comment { content: "hi".into(), ..Comment::default() };
    let scope = channel.scope(comment, id, 1_800_000_000_000);
    judged(channel, &reply, &scope, id).map_err(|what| format!("channel {}: {what}", channel.name()))?;
    if let Some(mut pager) = channel.lookup_pager(&scope, "12") {
        let _ = pager.request();
        let _ = pager.read_page(&reply);
    }
    Ok(())
}

fn judged(channel: &Channel, reply: &ChannelReply, scope: &Scope, id: DeliveryId) -> Result<(), String> {
    let verdict = channel.judge(reply, scope);
    let effect = |verdict: &Verdict| verdict.rule().effect;
    let believed = verdict.clone().distrusting_receipts();
    if !verdict.comment_id.is_empty() && effect(&believed) == Effect::None {
        return Err(format!("a reply that names comment {} has effect none", verdict.comment_id));
    }
    let is_json = serde_json::from_slice::<serde_json::Value>(&reply.body).is_ok();
    // Isso says what it finds in a comment in a page of HTML, whose last paragraph is its reason.
    let text = String::from_utf8_lossy(&reply.body);
    let is_issos = channel.name() == "isso" && text.trim().ends_with("</p>");
    let is_marked = reply.body.starts_with("\u{feff}".as_bytes());
    // UTF-8 that is broken within a text leaves the rest readable.
    let is_broken_text = std::str::from_utf8(&reply.body).is_err();
    if !is_json && !is_issos && !is_marked && !is_broken_text && effect(&verdict) == Effect::None {
        return Err(format!("an unreadable body reads as {}", verdict.kind));
    }
    if !is_json && effect(&verdict) == Effect::One && !channel.marker(id).is_empty() {
        return Err(format!("an unreadable body reads as {}", verdict.kind));
    }
    if (300..400).contains(&reply.status) && effect(&verdict) == Effect::None {
        return Err(format!("a redirect reads as {}", verdict.kind));
    }
    // Not every channel that carries a marker repeats it in its reply; the board does.
    let marker = if channel.name() == "board" { channel.marker(id) } else { String::new() };
    let echoes = String::from_utf8_lossy(&reply.body).contains(&marker);
    // A JSON escape may hide it from a plain search; that is as rare as it is harmless to leave out.
    let may_hide = reply.body.contains(&b'\\');
    if effect(&verdict) == Effect::One && !marker.is_empty() && !echoes && !may_hide {
        return Err(format!("{} without our marker in the reply", verdict.kind));
    }
    Ok(())
}
