//! Where delivery ids come from.

use commentd_delivery::DeliveryId;
use commentd_delivery::id::Ids;
use std::cell::RefCell;

/// The operating system's randomness, fetched for many ids at a time.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemIds;

/// Ids that one call to the system serves.
const STOCK: usize = 64;

thread_local! {
    static FRESH: RefCell<Vec<[u8; 16]>> = const { RefCell::new(Vec::new()) };
}

impl Ids for SystemIds {
    fn fresh(&self) -> Result<DeliveryId, String> {
        FRESH.with_borrow_mut(|fresh| {
            if fresh.is_empty() {
                let mut bytes = [0; 16 * STOCK];
                getrandom::fill(&mut bytes)
                    .map_err(|error| format!("the system gives no random bytes: {error}"))?;
                fresh.extend(bytes.as_chunks::<16>().0);
            }
            fresh.pop().map(DeliveryId::from_bytes).ok_or_else(|| "no random bytes".into())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn no_id_comes_twice_from_any_thread() {
        let draw = || (0..5 * STOCK).map(|_| SystemIds.fresh().unwrap()).collect::<Vec<_>>();
        let drawn: Vec<DeliveryId> = std::thread::scope(|scope| {
            let threads = [scope.spawn(draw), scope.spawn(draw)];
            threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(drawn.iter().collect::<HashSet<_>>().len(), drawn.len());
    }
}
