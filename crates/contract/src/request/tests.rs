use super::*;

fn single(body: &str) -> Result<CommentRequest, RequestError> {
    CommentRequest::parse(body.as_bytes(), StandIns::default())
}

fn message(body: &str) -> String {
    single(body).unwrap_err().to_string()
}

#[test]
fn the_smallest_request_has_only_content() {
    let request = single(r#"{"content":"hi","unknown":{"ignored":true},"comments":7}"#).unwrap();
    assert_eq!(request.content, "hi");
    assert_eq!(request.intake.provider, "");
    assert_eq!(request.intake.key, None);
}

#[test]
fn messages_name_the_field() {
    for (body, field) in [
        (r#"{"content":7}"#, "content: "),
        (r#"{"content":"a","sns_id":[]}"#, "sns_id: "),
        (r#"{"content":"a","vars":{"x":true}}"#, "vars.x: "),
        (r#"{"content":"a","v":2}"#, "v: "),
        (r#"{"content":"a","deadline_ms":0}"#, "deadline_ms: "),
        (r#"{"content":"a","deadline_ms":600001}"#, "deadline_ms: "),
        (r#"{"content":"a","cmd":"batch_comment"}"#, "cmd: "),
        (r#"{}"#, "content: is missing"),
        (r#"{"content":"a"} x"#, "body: "),
        (r#"{"content":"#, "content"),
        ("", "body: "),
        ("[]", "body: "),
    ] {
        assert!(message(body).starts_with(field), "{body} → {}", message(body));
    }
    let long_key = format!(r#"{{"content":"a","idempotency_key":"{}"}}"#, "k".repeat(256));
    assert!(message(&long_key).starts_with("idempotency_key: "));
    let batch = BatchRequest::parse(br#"{"comments":["a",3]}"#, StandIns::default()).unwrap_err();
    assert!(batch.to_string().starts_with("comments[1]: "), "{batch}");
}

#[test]
fn header_and_field_must_agree() {
    let headers = StandIns { idempotency_keys: vec![("idempotency-key", b"\"k1\"")], traceparent: None };
    let agreed =
        CommentRequest::parse(br#"{"content":"a","idempotency_key":"k1"}"#, headers.clone()).unwrap();
    assert_eq!(agreed.intake.key.unwrap().as_str(), "k1");
    assert!(CommentRequest::parse(br#"{"content":"a","idempotency_key":"k2"}"#, headers).is_err());

    let trace = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let headers = StandIns { idempotency_keys: vec![], traceparent: Some(trace) };
    let request = CommentRequest::parse(br#"{"content":"a"}"#, headers.clone()).unwrap();
    assert_eq!(request.intake.trace_id.as_deref(), Some("0af7651916cd43dd8448eb211c80319c"));
    assert!(CommentRequest::parse(br#"{"content":"a","trace_id":"other"}"#, headers).is_err());
    let headers = StandIns { idempotency_keys: vec![], traceparent: Some(b"nonsense") };
    assert_eq!(CommentRequest::parse(br#"{"content":"a"}"#, headers).unwrap().intake.trace_id, None);
}

#[test]
fn limits_are_exact() {
    let batch = |n: usize| serde_json::json!({"comments": vec!["x"; n]}).to_string();
    assert!(BatchRequest::parse(batch(1000).as_bytes(), StandIns::default()).is_ok());
    let over = BatchRequest::parse(batch(1001).as_bytes(), StandIns::default()).unwrap_err();
    assert!(matches!(over, RequestError::TooLarge(_)));
    let content = |n: usize| serde_json::json!({"content": "x".repeat(n)}).to_string();
    assert!(single(&content(65536)).is_ok());
    assert!(matches!(single(&content(65537)).unwrap_err(), RequestError::TooLarge(_)));
}

#[test]
fn numbers_in_vars_keep_all_their_digits() {
    let request = single(r#"{"content":"a","vars":{"snsId":14287710653886042616,"s":"t"}}"#).unwrap();
    let Var::Number(number) = &request.intake.addressing.vars["snsId"] else { panic!("not a number") };
    assert_eq!(number.as_u64(), Some(14_287_710_653_886_042_616));
}

#[test]
fn a_batch_keeps_empty_comments_and_absent_concurrency_is_one() {
    let batch = BatchRequest::parse(br#"{"comments":["a","","b"]}"#, StandIns::default()).unwrap();
    assert_eq!((batch.comments.len(), batch.concurrency), (3, 1));
    assert!(BatchRequest::parse(br#"{"comments":[]}"#, StandIns::default()).is_err());
}

/// A key under another spelling was taken for an unknown field, and a second call posted a second time.
#[test]
fn a_field_that_reads_like_the_key_is_refused_and_the_right_name_said() {
    for name in ["idempotency-key", "idempotencyKey", "IdempotencyKey", "IDEMPOTENCY_KEY", "Idempotency-Key"]
    {
        let said = message(&format!(r#"{{"content":"a","{name}":"k"}}"#));
        assert!(said.starts_with(name) && said.contains("idempotency_key"), "{name} → {said}");
        let batch = format!(r#"{{"comments":["a"],"{name}":"k"}}"#);
        assert!(BatchRequest::parse(batch.as_bytes(), StandIns::default()).is_err(), "{name}");
    }
    for ignored in ["idempotency_keys", "key", "idempotency.key", ""] {
        assert!(single(&format!(r#"{{"content":"a","{ignored}":"k"}}"#)).is_ok(), "{ignored}");
    }
}

#[test]
fn a_header_that_reads_like_the_key_is_refused_and_its_other_names_stand_in() {
    let among = |headers: &[(&'static str, &'static str)]| {
        let headers = StandIns::among(headers.iter().map(|(name, value)| (*name, value.as_bytes())))?;
        CommentRequest::parse(br#"{"content":"a"}"#, headers)
    };
    let key = |headers| among(headers).unwrap().intake.key.map(String::from);
    assert_eq!(key(&[("x-idempotency-key", "k")]).as_deref(), Some("k"));
    assert_eq!(key(&[("x-idempotency-key", "\"k\""), ("idempotency-key", "k")]).as_deref(), Some("k"));
    assert_eq!(key(&[("accept", "*/*")]), None);
    for bad in [
        &[("x-idempotency-key", "k1"), ("idempotency-key", "k2")][..],
        &[("idempotency-key", "k1"), ("idempotency-key", "k2")],
        &[("idempotencykey", "k")],
        &[("idempotency_key", "k")],
        &[("x-idempotencykey", "k")],
    ] {
        assert!(matches!(among(bad), Err(RequestError::Malformed(_))), "{bad:?}");
    }
}

/// Only names make a request: sixteen values in a row were taken for one.
#[test]
fn an_array_is_no_request() {
    let fields = r#"[1,"comment","t","s","","","","","","","",null,null,"hi",null,null]"#;
    let said = message(fields);
    assert!(said.starts_with("body: ") && said.contains("a JSON object"), "{said}");
    let array = BatchRequest::parse(fields.replace("\"hi\"", "[\"hi\"]").as_bytes(), StandIns::default());
    assert!(array.is_err());
}

#[test]
fn whole_numbers_are_taken_for_their_digits_and_target_for_sns_id() {
    let to = |body: &str| single(body).unwrap().intake.addressing;
    let numbers = to(r#"{"content":"a","sns_id":14287710653886042616,"reply_to":-9223372036854775808}"#);
    assert_eq!(
        (numbers.sns_id.as_str(), numbers.reply_to.as_str()),
        ("14287710653886042616", "-9223372036854775808")
    );
    assert_eq!(to(r#"{"content":"a","target":18446744073709551615}"#).sns_id, "18446744073709551615");
    assert_eq!(to(r#"{"content":"a","target":"7","sns_id":7}"#).sns_id, "7");
    assert_eq!(to(r#"{"content":"a","target":null,"sns_id":"x"}"#).sns_id, "x");
    for (body, field) in [
        (r#"{"content":"a","sns_id":1.5}"#, "sns_id: "),
        (r#"{"content":"a","target":18446744073709551616}"#, "target: "),
        (r#"{"content":"a","reply_to":1e3}"#, "reply_to: "),
        (r#"{"content":"a","reply_to":true}"#, "reply_to: "),
        (r#"{"content":"a","author":7}"#, "author: "),
        (r#"{"content":"a","sns_id":"a","target":"b"}"#, "target: "),
    ] {
        assert!(message(body).starts_with(field), "{body} → {}", message(body));
    }
}

#[test]
fn each_field_has_a_limit_and_is_named() {
    for field in ["sns_id", "target", "author", "content_hash", "reply_to", "wxid"] {
        let body = |n: usize| serde_json::json!({"content": "a", field: "x".repeat(n)}).to_string();
        assert!(single(&body(2048)).is_ok(), "{field}");
        let error = single(&body(2049)).unwrap_err();
        assert!(matches!(&error, RequestError::TooLarge(said) if said.contains(field)), "{field}: {error}");
    }
    let vars =
        |n: usize| serde_json::json!({"content": "a", "vars": {"ab": "x".repeat(n), "n": 123}}).to_string();
    assert!(single(&vars(16 * 1024 - 6)).is_ok());
    let error = single(&vars(16 * 1024 - 5)).unwrap_err();
    assert!(matches!(&error, RequestError::TooLarge(said) if said.starts_with("vars: ")), "{error}");
}
