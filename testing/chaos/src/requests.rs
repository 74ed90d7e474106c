//! Which keys are to be asked: new ones, those that are not certain yet, and some that are.

use crate::client::{CallResult, KeyedRequest};
use commentd_checker::log::CallLog;
use std::collections::{BTreeMap, HashMap, VecDeque};

/// How many certain keys are remembered, to be asked again.
const MOST_CERTAIN: usize = 2000;
/// Most uncertain keys that are asked in one life beside the new ones.
const MOST_OLD: usize = 200;

/// The keys that are not certain yet, oldest first, and the latest of those that are.
#[derive(Debug, Default)]
pub struct UncertainKeys {
    requests: BTreeMap<u64, KeyedRequest>,
    numbers: HashMap<String, u64>,
    next: u64,
    certain: VecDeque<KeyedRequest>,
}

impl UncertainKeys {
    /// Those of an earlier run, by its log.
    pub fn of(log: &CallLog) -> Self {
        let mut keys: BTreeMap<usize, (KeyedRequest, bool)> = BTreeMap::new();
        let mut first_asked: HashMap<&str, usize> = HashMap::new();
        let mut histories: Vec<_> = log.histories.iter().collect();
        histories.sort_by_key(|(_, history)| history.item);
        for (text, history) in histories {
            let Some(asked) = history.calls.first().map(|call| call.asked) else { continue };
            let place = *first_asked.entry(&history.key).or_insert(asked);
            let (request, certain) = keys.entry(place).or_insert_with(|| {
                let (key, target) = (history.key.clone(), target_of(&history.key));
                (KeyedRequest { key, target, texts: Vec::new() }, true)
            });
            request.texts.push(text.clone());
            let mut answers = history.calls.iter().filter_map(|call| call.answer.as_ref());
            *certain &= answers.any(|answer| answer.outcome.is_final());
        }
        let mut pending = Self::default();
        for (request, certain) in keys.into_values() {
            if certain {
                pending.remember(request);
            } else {
                pending.add(request);
            }
        }
        pending
    }

    /// Adds one, at the end.
    pub fn add(&mut self, request: KeyedRequest) {
        if !self.numbers.contains_key(&request.key) {
            self.numbers.insert(request.key.clone(), self.next);
            self.requests.insert(self.next, request);
            self.next += 1;
        }
    }

    /// Takes in how a call about this key ended.
    pub fn ended(&mut self, key: &str, known: CallResult) {
        if known == CallResult::Final
            && let Some(number) = self.numbers.remove(key)
            && let Some(request) = self.requests.remove(&number)
        {
            self.remember(request);
        }
    }

    fn remember(&mut self, request: KeyedRequest) {
        if self.certain.len() == MOST_CERTAIN {
            self.certain.pop_front();
        }
        self.certain.push_back(request);
    }

    /// All that is asked in one life, in a random order: the new ones, the oldest of the uncertain ones, and some
    /// that are certain. Some twice, so that two clients use one key at once.
    pub fn mixed(&self, new: Vec<KeyedRequest>, random: &mut fastrand::Rng) -> VecDeque<KeyedRequest> {
        let certain_again = new.len() / 20 + 1;
        let mut requests = new;
        requests.extend(self.requests.values().take(MOST_OLD).cloned());
        for _ in 0..certain_again.min(self.certain.len()) {
            requests.extend(self.certain.get(random.usize(..self.certain.len())).cloned());
        }
        random.shuffle(&mut requests);
        let twice = |request: KeyedRequest| {
            let times = if random.u8(..) < 20 { 2 } else { 1 };
            std::iter::repeat_n(request, times)
        };
        requests.into_iter().flat_map(twice).collect()
    }

    /// All that are not certain yet, oldest first.
    pub fn all(&self) -> VecDeque<KeyedRequest> {
        self.requests.values().cloned().collect()
    }

    /// How many are not certain yet.
    pub fn len(&self) -> usize {
        self.requests.len()
    }

    /// Whether all are certain.
    pub fn is_empty(&self) -> bool {
        self.requests.is_empty()
    }
}

/// The target that the keys of one life share: a page of its own, so that none grows beyond what a lookup reads.
pub fn target_of(key: &str) -> String {
    format!("/chaos/{}", key.split('-').next().unwrap_or("0"))
}

/// The new keys of this life, some of them batches.
pub fn new_requests(life: u64, keys: u64, random: &mut fastrand::Rng) -> Vec<KeyedRequest> {
    let request = |number| {
        let key = format!("{life}-{number}");
        let size = if random.u8(..) < 64 { random.u64(2..=5) } else { 1 };
        let texts = (0..size).map(|item| format!("comment {key}[{item}]")).collect();
        KeyedRequest { target: target_of(&key), key, texts }
    };
    (0..keys).map(request).collect()
}
