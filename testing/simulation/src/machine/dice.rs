//! Choices that can be replayed and shrunk: a history is a function of a tape of numbers, and 0 is always the
//! calmest choice, so that a shorter tape with smaller numbers tells a simpler story.

use std::time::Duration;

/// A source of choices: a tape, and past its end fresh random numbers (which are added to it) or zeros.
#[derive(Debug)]
pub struct Dice {
    tape: Vec<u16>,
    next: usize,
    random: Option<fastrand::Rng>,
}

impl Dice {
    /// Random choices from this seed.
    pub fn seeded(seed: u64) -> Self {
        Self { tape: Vec::with_capacity(256), next: 0, random: Some(fastrand::Rng::with_seed(seed)) }
    }

    /// The choices of this tape, then the calmest.
    pub fn taped(tape: &[u16]) -> Self {
        Self { tape: tape.to_vec(), next: 0, random: None }
    }

    /// What was chosen so far.
    pub fn into_tape(mut self) -> Vec<u16> {
        self.tape.truncate(self.next);
        self.tape
    }

    fn draw(&mut self) -> u16 {
        if self.next == self.tape.len() {
            let Some(random) = &mut self.random else { return 0 };
            self.tape.push(random.u16(..));
        }
        self.next += 1;
        self.tape[self.next - 1]
    }

    /// A number under `bound`.
    pub fn below(&mut self, bound: usize) -> usize {
        usize::from(self.draw()) % bound.max(1)
    }

    /// True in this many of a hundred draws.
    pub fn chance(&mut self, percent: u16) -> bool {
        self.draw() % 100 >= 100 - percent
    }

    /// One of these; the first is the calmest.
    pub fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }

    /// One of these, in milliseconds.
    pub fn pick_ms(&mut self, choices: &[u64]) -> Duration {
        Duration::from_millis(self.pick(choices))
    }

    /// A duration from 1 ms to `most`.
    pub fn up_to(&mut self, most: Duration) -> Duration {
        most.mul_f64(f64::from(self.draw()) / f64::from(u16::MAX)).max(Duration::from_millis(1))
    }
}

/// The simplest tape found, within some hundred tries, for which `fails` still holds.
pub fn shrink(mut tape: Vec<u16>, fails: impl Fn(&[u16]) -> bool) -> Vec<u16> {
    let mut chunk = tape.len().max(1);
    while chunk > 0 {
        let mut start = 0;
        while start < tape.len() {
            let end = (start + chunk).min(tape.len());
            let without = [&tape[..start], &tape[end..]].concat();
            let mut calm = tape.clone();
            calm[start..end].fill(0);
            if fails(&without) {
                tape = without;
                continue;
            }
            if calm != tape && fails(&calm) {
                tape = calm;
            }
            start = end;
        }
        chunk /= 2;
    }
    tape
}
