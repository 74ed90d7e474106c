//! When unknown deliveries were sent, for as long as their channel deduplicates by our key: within that time, a caller
//! that comes again may have one sent again. Nothing of it outlives the process, because the next one's clock can't say
//! how long ago that was.

use commentd_delivery::{DeliveryId, Moment};
use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};

/// Most deliveries that are kept. One that isn't is looked up, and not sent again.
const MOST: usize = 100_000;

/// Deliveries whose window is open.
#[derive(Debug, Default)]
pub(super) struct Windows(Mutex<Open>);

#[derive(Debug, Default)]
struct Open {
    /// When each attempt began, as far as that is known.
    started: HashMap<DeliveryId, Vec<Option<Moment>>>,
    /// In the order in which they were kept, which is nearly that in which they close.
    closes: VecDeque<(Moment, DeliveryId)>,
}

impl Windows {
    /// Keeps when the attempts of this delivery began, until `until`.
    pub(super) fn keep(&self, id: DeliveryId, started: Vec<Option<Moment>>, until: Moment, now: Moment) {
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        while open.closes.front().is_some_and(|(closes, _)| *closes <= now) || open.closes.len() >= MOST {
            if let Some((_, closed)) = open.closes.pop_front() {
                open.started.remove(&closed);
            }
        }
        if open.started.insert(id, started).is_none() {
            open.closes.push_back((until, id));
        }
    }

    /// When the attempts of this delivery began, as far as that is known.
    pub(super) fn started(&self, id: DeliveryId) -> Vec<Option<Moment>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).started.get(&id).cloned().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn only_open_windows_are_kept() {
        let at = |s| Moment::at(Duration::from_secs(s));
        let id = |n: u8| DeliveryId::from_bytes([n; 16]);
        let windows = Windows::default();
        windows.keep(id(1), vec![Some(at(0))], at(60), at(1));
        windows.keep(id(1), vec![Some(at(0)), Some(at(2))], at(60), at(3));
        windows.keep(id(2), vec![Some(at(50))], at(110), at(51));
        assert_eq!(windows.started(id(1)), [Some(at(0)), Some(at(2))]);
        windows.keep(id(3), vec![Some(at(60))], at(120), at(61));
        assert!(windows.started(id(1)).is_empty());
        assert_eq!(windows.started(id(2)), [Some(at(50))]);
    }
}
