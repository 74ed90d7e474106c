//! Where delivery ids come from.

use commentd_delivery::DeliveryId;
use commentd_delivery::id::Ids;

/// The operating system's randomness.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemIds;

impl Ids for SystemIds {
    fn fresh(&self) -> Result<DeliveryId, String> {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes).map_err(|error| format!("the system gives no random bytes: {error}"))?;
        Ok(DeliveryId::from_bytes(bytes))
    }
}
