//! Inputs from a corpus: cut, joined, repeated, with words that matter thrown in.

/// Words that matter everywhere.
const WORDS: [&str; 24] = [
    "\"",
    "\\",
    "{",
    "}",
    "[",
    "]",
    ":",
    ",",
    "null",
    "true",
    "false",
    "-1",
    "1e400",
    "18446744073709551616",
    "\r\n",
    "\u{0}",
    "\u{202e}",
    "😀",
    "%00",
    "../",
    "{{ content }}",
    "%%",
    "\n%%\n",
    "é",
];

/// The longest input, in bytes.
const LONGEST: usize = 8192;

/// Makes one input.
pub(crate) struct Mutator {
    random: fastrand::Rng,
    words: &'static [&'static str],
}

impl Mutator {
    pub(crate) fn new(seed: u64, words: &'static [&'static str]) -> Self {
        Self { random: fastrand::Rng::with_seed(seed), words }
    }

    pub(crate) fn mutate(&mut self, corpus: &[Vec<u8>]) -> Vec<u8> {
        let mut input = self.random.choice(corpus).cloned().unwrap_or_default();
        for _ in 0..self.random.usize(1..6) {
            self.change(&mut input, corpus);
        }
        input.truncate(LONGEST);
        input
    }

    fn change(&mut self, input: &mut Vec<u8>, corpus: &[Vec<u8>]) {
        let start = self.random.usize(0..=input.len());
        let end = (start + self.random.usize(0..16)).min(input.len());
        let piece: Vec<u8> = match self.random.u8(0..7) {
            0 => Vec::new(),
            1 => vec![self.random.u8(..)],
            2 => self.random.choice(WORDS).unwrap_or_default().into(),
            3 => self.random.choice(self.words).copied().unwrap_or_default().into(),
            4 => input.get(start..end).unwrap_or_default().repeat(self.random.usize(1..20)),
            5 => {
                let other = self.random.choice(corpus).cloned().unwrap_or_default();
                let from = self.random.usize(0..=other.len());
                other.get(from..).unwrap_or_default().to_vec()
            }
            _ => self.random.u64(..).to_string().into_bytes(),
        };
        let kept = if self.random.bool() { start } else { end };
        input.splice(kept.min(end)..end, piece);
    }
}
