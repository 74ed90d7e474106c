//! What a request does that finds its delivery in flight already: it follows the one that leads.

use crate::reply::{DeliverError, DeliveryReply, DeliveryResult};
use crate::step::Event;
use commentd_contract::Outcome;
use commentd_contract::time::Moment;
use std::sync::Arc;

/// How far the leader of a delivery has come, for all who follow it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Progress {
    /// What is known by now; set for the first time when the leader's caller is answered.
    pub reply: Option<DeliveryResult>,
    /// Whether it sends nothing any more and waits for lookups.
    pub only_lookups: bool,
    /// Until when a caller whose deadline comes earlier may have it sent again, once it is only looked up.
    pub repeats_until: Option<Moment>,
    /// Whether it has left the delivery to a caller that may have it sent again.
    pub handed_over: bool,
    /// Whether nothing more will happen.
    pub over: bool,
}

impl Progress {
    /// What a follower that waits until `deadline` asks of the leader.
    pub fn request(&self, deadline: Moment) -> Option<Event> {
        let repeats = self.repeats_until.is_some_and(|until| deadline < until);
        self.only_lookups.then_some(if repeats {
            Event::HandOver
        } else {
            Event::FollowerAsks { until: deadline }
        })
    }

    /// Whether a follower needn't wait any longer.
    pub fn is_settled(&self) -> bool {
        self.over || self.reply.as_ref().is_some_and(is_final)
    }

    /// What a follower is told once it waits no longer; `None` if the delivery came to nothing and may be tried afresh,
    /// or was left to it.
    pub fn follower_reply(self) -> Option<DeliveryResult> {
        match self.reply {
            Some(reply) if self.over && (self.handed_over || may_be_tried_afresh(&reply)) => None,
            Some(reply) if self.over || self.only_lookups || is_final(&reply) => {
                Some(reply.map(|reply| Arc::new(DeliveryReply { replayed: true, ..(*reply).clone() })))
            }
            _ => Some(Err(DeliverError::KeyInFlight)),
        }
    }
}

fn is_final(reply: &DeliveryResult) -> bool {
    match reply {
        Ok(reply) => reply.outcome.is_final(),
        Err(error) => matches!(error, DeliverError::KeyReused(_)),
    }
}

fn may_be_tried_afresh(reply: &DeliveryResult) -> bool {
    reply.as_ref().is_ok_and(|reply| reply.outcome == Outcome::NotSent)
}
