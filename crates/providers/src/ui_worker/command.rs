//! A command line in words.

/// A command line in words, as the platform splits it: elsewhere as a shell does, without any of its substitutions,
/// on Windows as `CommandLineToArgvW` does. `None` if there are none, or a shell's quote isn't closed.
pub fn split(text: &str) -> Option<Vec<String>> {
    let words = if cfg!(windows) { Some(as_windows_does(text)) } else { shlex::split(text) };
    words.filter(|words| words.first().is_some_and(|program| !program.is_empty()))
}

/// Backslashes are what they are, but before a quote: there two of them are one, and an odd one makes the quote a
/// letter. In the program's own name they have no such meaning.
fn as_windows_does(text: &str) -> Vec<String> {
    let text = text.trim_matches([' ', '\t']);
    if text.is_empty() {
        return Vec::new();
    }
    let end_of_program = |text: &str| text.find([' ', '\t']).unwrap_or(text.len());
    let (program, rest) = match text.strip_prefix('"') {
        Some(quoted) => quoted.split_once('"').unwrap_or((quoted, "")),
        None => text.split_at(end_of_program(text)),
    };
    let mut words = vec![program.to_owned()];
    let mut rest = rest.trim_start_matches([' ', '\t']);
    while !rest.is_empty() {
        let (word, after) = next_argument(rest);
        words.push(word);
        rest = after.trim_start_matches([' ', '\t']);
    }
    words
}

/// The next argument, and what follows it.
fn next_argument(text: &str) -> (String, &str) {
    let mut word = String::new();
    let mut backslashes = 0;
    let mut is_quoted = false;
    let mut letters = text.char_indices().peekable();
    while let Some((at, letter)) = letters.next() {
        if letter == '\\' {
            backslashes += 1;
            continue;
        }
        let kept = if letter == '"' { backslashes / 2 } else { backslashes };
        word.extend(std::iter::repeat_n('\\', kept));
        let is_escaped = backslashes % 2 == 1;
        backslashes = 0;
        match letter {
            '"' if is_escaped => word.push('"'),
            '"' => {
                // Two quotes that end what was quoted are one that is meant.
                if is_quoted && letters.next_if(|(_, next)| *next == '"').is_some() {
                    word.push('"');
                }
                is_quoted = !is_quoted;
            }
            ' ' | '\t' if !is_quoted => return (word, text.get(at..).unwrap_or_default()),
            letter => word.push(letter),
        }
    }
    word.extend(std::iter::repeat_n('\\', backslashes));
    (word, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn on_windows_backslashes_of_paths_stay() {
        for (text, words) in [
            (
                r"C:\Python311\python.exe C:\bot\worker.py --newest-post",
                &[r"C:\Python311\python.exe", r"C:\bot\worker.py", "--newest-post"][..],
            ),
            (
                r#""C:\Program Files\Python\python.exe" "C:\my bot\worker.py""#,
                &[r"C:\Program Files\Python\python.exe", r"C:\my bot\worker.py"],
            ),
            (
                r#"python.exe  --pywechat "C:\my bot\\" -x"#,
                &["python.exe", "--pywechat", r"C:\my bot\", "-x"],
            ),
            (r#"p \\server\share "a\\\"b" c\"d"#, &["p", r"\\server\share", r#"a\"b"#, r#"c"d"#]),
            (r#"p "a""b" c"#, &["p", r#"a"b c"#]),
            (r#"p "" 'a b'"#, &["p", "", "'a", "b'"]),
            (r#"p "open"#, &["p", "open"]),
            (" \t", &[]),
        ] {
            assert_eq!(as_windows_does(text), words, "{text}");
        }
    }

    #[cfg(not(windows))]
    #[test]
    fn elsewhere_a_shells_rules_hold() {
        assert_eq!(split("python3 'my bot/worker.py' --newest-post").unwrap().len(), 3);
        assert_eq!(split("python3 'open"), None);
        assert_eq!(split("  "), None);
    }
}
