//! What makes two comments the same comment.

use commentd_contract::{Addressing, Var};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::sync::Arc;

/// One text for one target, maybe a reply.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Comment {
    /// The text.
    pub content: String,
    /// Where it goes; the comments of a batch share it.
    #[serde(flatten, with = "commentd_contract::shared")]
    pub addressing: Arc<Addressing>,
}

/// SHA-256 over everything that makes a comment this comment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Fingerprint(pub [u8; 32]);

/// Stands at the head of the hashed bytes. A change of what is hashed, or how, takes another version, so that
/// a ledger written before the change is never misread.
const VERSION: &[u8] = b"commentd-comment-1";

impl Comment {
    /// The fingerprint of this comment as one of `batch_len` (1 for a single request, which therefore equals
    /// a batch of one). Every field is preceded by its length, so that no two comments run into the same bytes;
    /// absent fields count as empty ones.
    pub fn fingerprint(&self, batch_len: usize) -> Fingerprint {
        let mut hash = Sha256::new();
        field(&mut hash, VERSION);
        let to = &self.addressing;
        for text in [&self.content, &to.sns_id, &to.author, &to.content_hash, &to.reply_to, &to.wxid] {
            field(&mut hash, text.as_bytes());
        }
        hash.update((to.vars.len() as u64).to_be_bytes());
        for (name, value) in &to.vars {
            field(&mut hash, name.as_bytes());
            match value {
                Var::Text(text) => {
                    hash.update(b"t");
                    field(&mut hash, text.as_bytes());
                }
                Var::Number(number) => {
                    hash.update(b"n");
                    field(&mut hash, number.to_string().as_bytes());
                }
            }
        }
        hash.update((batch_len as u64).to_be_bytes());
        Fingerprint(hash.finalize().into())
    }
}

fn field(hash: &mut Sha256, bytes: &[u8]) {
    hash.update((bytes.len() as u64).to_be_bytes());
    hash.update(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn comment(content: &str, sns_id: &str) -> Comment {
        Comment {
            content: content.into(),
            addressing: Arc::new(Addressing { sns_id: sns_id.into(), ..Addressing::default() }),
        }
    }

    #[test]
    fn text_can_not_move_between_fields() {
        assert_ne!(comment("ab", "c").fingerprint(1), comment("a", "bc").fingerprint(1));
        assert_eq!(comment("ab", "c").fingerprint(1), comment("ab", "c").fingerprint(1));
        assert_ne!(comment("ab", "c").fingerprint(1), comment("ab", "c").fingerprint(2));
    }

    #[test]
    fn a_number_is_not_its_text() {
        let mut number = comment("a", "b");
        Arc::make_mut(&mut number.addressing).vars.insert("x".into(), Var::Number(7.into()));
        let mut text = comment("a", "b");
        Arc::make_mut(&mut text.addressing).vars.insert("x".into(), Var::Text("7".into()));
        assert_ne!(number.fingerprint(1), text.fingerprint(1));
    }

    #[test]
    fn the_fingerprint_is_the_same_in_every_release() {
        let hex: String = comment("hi", "/p/1").fingerprint(1).0.iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(hex, "44b7f613f60f96fa4f05e244b9c8f2c5a241dc5d65fba028b45453a9cf61f2cf");
    }
}
