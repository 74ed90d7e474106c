//! Text that comes from elsewhere, made safe for a terminal and for the eyes of who reads it: comments, replies and
//! names must not move the cursor, colour what follows, or show words in another order than they are in.

/// Stands where a character was that must not be printed.
const REPLACEMENT: char = '\u{fffd}';

/// Whether printing it could steer a terminal (control characters), order what is shown otherwise than it is
/// (directional formatting), begin a line (separators), or hide in the text.
fn is_unsafe(character: char) -> bool {
    character.is_control()
        || matches!(character,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}')
}

/// The text on one line: line breaks are replaced, too. For a field among others.
pub fn one_line(text: &str) -> String {
    text.chars().map(|c| if is_unsafe(c) { REPLACEMENT } else { c }).collect()
}

/// The text with its line breaks and tabs. For what consists of lines of our own.
pub fn lines(text: &str) -> String {
    text.chars().map(|c| if is_unsafe(c) && c != '\n' && c != '\t' { REPLACEMENT } else { c }).collect()
}

/// JSON that says the same and is safe to print: what must not be printed can only stand in its strings, and is
/// escaped there. Line breaks between its parts stay.
pub fn json(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for character in text.chars() {
        if is_unsafe(character) && character != '\n' {
            let mut units = [0; 2];
            for unit in character.encode_utf16(&mut units) {
                safe.push_str(&format!("\\u{unit:04x}"));
            }
        } else {
            safe.push(character);
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Escape sequences in 7 and 8 bits, another order, an invisible one, a line of one's own.
    const HOSTILE: &str = "a\u{1b}[2J\u{9b}31m\u{202e}b\u{2066}\u{200b}\u{2028}c\u{7f}\r\nd\u{e0041}";

    #[test]
    fn nothing_that_steers_or_misleads_is_left() {
        assert_eq!(one_line("a\u{1b}[2Jb\r\n\u{202e}txt"), "a\u{fffd}[2Jb\u{fffd}\u{fffd}\u{fffd}txt");
        assert!(!one_line(HOSTILE).chars().any(is_unsafe));
        assert_eq!(lines(HOSTILE).lines().count(), 2);
        assert!(!lines(HOSTILE).chars().any(|c| is_unsafe(c) && c != '\n'));
    }

    #[test]
    fn words_of_any_language_stay() {
        for text in ["你好，世界", "שלום", "می‌خواهم", "👩‍👩‍👧", "e\u{301}", "Ж – „x“"]
        {
            assert_eq!(one_line(text), text);
        }
    }

    #[test]
    fn json_says_the_same() {
        let value = serde_json::json!({"a": HOSTILE, "b": ["\\", "\"", 7]});
        for text in [value.to_string(), serde_json::to_string_pretty(&value).unwrap()] {
            let safe = json(&text);
            assert!(!safe.chars().any(|c| is_unsafe(c) && c != '\n'), "{safe}");
            assert_eq!(serde_json::from_str::<serde_json::Value>(&safe).unwrap(), value);
        }
    }
}
