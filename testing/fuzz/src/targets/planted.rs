//! A fault on purpose, behind two conditions one within the other that no input meets by chance. If it isn't found, the
//! fuzzer doesn't see which code its inputs reach.

use crate::parts;

/// The first eight bytes, as two numbers: what numbers are compared with libFuzzer sees, and tries.
const WANTED: [u32; 2] = [0x517a_3776, 0x7e6b_3958];

pub(super) fn feed(input: &[u8]) -> Result<(), String> {
    let parts = parts(input);
    let text = parts.first().map(String::as_bytes).unwrap_or_default();
    let is = |index: usize| {
        let bytes = text.get(4 * index..4 * index + 4).and_then(|bytes| bytes.try_into().ok());
        bytes.map(u32::from_be_bytes) == WANTED.get(index).copied()
    };
    if is(0) && is(1) { Err("the planted fault was found".into()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    #[test]
    fn it_takes_both_conditions() {
        assert!(super::feed(b"Qz7v~k9X and more").is_err());
        for input in ["Qz7v~k9Y", "Qz7w~k9X", "Qz7v", "Qz7v\n%%\n~k9X", ""] {
            assert_eq!(super::feed(input.as_bytes()), Ok(()));
        }
    }
}
