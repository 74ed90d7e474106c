//! A fault on purpose, behind conditions one within another that no input meets by chance. If it isn't found, the
//! fuzzer doesn't see which code its inputs reach.

use crate::parts;
use commentd_contract::{CommentRequest, StandIns};

pub(super) fn feed(input: &[u8]) -> Result<(), String> {
    let body = parts(input).get(2..).unwrap_or_default().join("\n%%\n");
    if let Ok(request) = CommentRequest::parse(body.as_bytes(), StandIns::default())
        && request.content.starts_with("Qz")
        && request.intake.deadline_ms == Some(7_919)
    {
        return Err("the planted fault was found".into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #[test]
    fn it_takes_all_conditions() {
        let body = |text: &str, deadline: &str| {
            format!("\n%%\n\n%%\n{{\"sns_id\":\"s\",\"content\":\"{text}\",\"deadline_ms\":{deadline}}}")
        };
        assert!(super::feed(body("Qz", "7919").as_bytes()).is_err());
        for (text, deadline) in [("Qy", "7919"), ("Qz", "7918"), ("Qz", "x")] {
            assert_eq!(super::feed(body(text, deadline).as_bytes()), Ok(()));
        }
    }
}
