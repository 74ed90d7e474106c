//! Signatures as Standard Webhooks (version 1) defines them: HMAC-SHA256 over `id.timestamp.body`.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use hmac::{Hmac, KeyInit, Mac};
use secrecy::{ExposeSecret, SecretSlice};
use sha2::Sha256;

/// What stands before a key, so that people know what it is.
const PREFIX: &str = "whsec_";

/// A signing key.
#[derive(Clone)]
pub struct SigningKey(SecretSlice<u8>);

impl SigningKey {
    /// Reads `whsec_` and base64, or the base64 alone.
    ///
    /// # Errors
    /// Says what a key looks like, and not what this one is.
    pub fn parse(text: &str) -> Result<Self, String> {
        let encoded = text.trim();
        let encoded = encoded.strip_prefix(PREFIX).unwrap_or(encoded).trim_end_matches('=');
        let bytes = STANDARD_NO_PAD
            .decode(encoded)
            .map_err(|_| format!("must be a key of Standard Webhooks: {PREFIX} and base64"))?;
        if bytes.is_empty() {
            return Err("is an empty key".into());
        }
        Ok(Self(bytes.into()))
    }

    fn sign(&self, id: &str, unix_s: u64, body: &[u8]) -> Option<String> {
        // HMAC takes keys of any length, so this is always some.
        let mut mac = Hmac::<Sha256>::new_from_slice(self.0.expose_secret()).ok()?;
        mac.update(format!("{id}.{unix_s}.").as_bytes());
        mac.update(body);
        Some(format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes())))
    }
}

/// The value of `webhook-signature`: one signature for each key, separated by spaces.
pub(crate) fn sign(keys: &[SigningKey], id: &str, unix_s: u64, body: &[u8]) -> String {
    let signatures: Vec<String> = keys.iter().filter_map(|key| key.sign(id, unix_s, body)).collect();
    signatures.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The vector that the specification's reference libraries share.
    #[test]
    fn the_published_vector_signs_as_published() {
        let key = SigningKey::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let body = br#"{"test": 2432232314}"#;
        let signed = sign(std::slice::from_ref(&key), "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, body);
        assert_eq!(signed, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
        let other = SigningKey::parse("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSx").unwrap();
        let both = sign(&[key, other], "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, body);
        assert!(both.starts_with(&format!("{signed} v1,")) && both.matches("v1,").count() == 2, "{both}");
    }

    #[test]
    fn what_is_no_key_is_said_without_repeating_it() {
        for bad in ["whsec_", "whsec_not base64!", "*"] {
            let error = SigningKey::parse(bad).err().unwrap();
            assert!(!error.contains(bad), "{error}");
        }
    }
}
