//! [`Config`]: values that the server computes from options.

use std::sync::Arc;

use eio_core::open::OpenTail;
use eio_core::session::Timing;
use eio_core::sid::Tag;
use eio_core::transport::{Transport, TransportSet};

use super::Config;
use crate::io::limits::Limits;
use crate::metrics::{Counters, LimitMetrics};
use crate::web::proxy::Trusted;
use crate::worker::deadline::millis;

impl Config {
    /// The open packet of sessions that open on `transport`, after the `sid`.
    pub(crate) fn open_tail(&self, transport: Transport) -> OpenTail {
        let may_upgrade = self.allow_upgrades && transport == Transport::Polling;
        let upgrades = self.transports.without(Transport::Polling);
        OpenTail::new(
            if may_upgrade { upgrades } else { TransportSet::EMPTY },
            millis(self.ping_interval) + millis(self.ping_grace),
            millis(self.ping_timeout),
            u32::try_from(self.max_payload).unwrap_or(u32::MAX),
        )
    }

    pub(crate) fn limit_metrics(&self) -> LimitMetrics {
        LimitMetrics {
            // The limit on descriptors decides where the option does not.
            max_connections: self.max_connections.unwrap_or_default() as u64,
            max_handshakes_per_second: self.max_handshakes_per_second.map(|max| max as u64),
            max_payload: self.max_payload as u64,
            outbound_high_water: self.outbound_high_water as u64,
            inbound_high_water: self.inbound_high_water as u64,
            mailbox_high_water: self.mailbox_high_water as u64,
            memory_budget: self.memory_budget.map(|max| max as u64),
        }
    }

    pub(crate) fn trusted(&self) -> Vec<Trusted> {
        self.trusted_proxies.iter().flatten().copied().collect()
    }

    /// The tag; [`Config::check`] has refused an illegal one.
    pub(crate) fn sid_tag(&self) -> Option<Tag> {
        self.tag.as_deref().and_then(|tag| Tag::new(tag).ok())
    }

    pub(crate) fn refused(&self) -> Vec<Trusted> {
        self.refused_networks.iter().flatten().copied().collect()
    }

    /// Whether connections or handshakes of an address are limited.
    pub(crate) fn limits_addresses(&self) -> bool {
        self.max_connections_per_address.is_some() || self.max_handshakes_per_address.is_some()
    }

    pub(crate) fn timing(&self) -> Timing {
        Timing {
            ping_interval_ms: millis(self.ping_interval),
            ping_timeout_ms: millis(self.ping_timeout),
            upgrade_timeout_ms: millis(self.upgrade_timeout),
            close_timeout_ms: millis(self.close_timeout),
        }
    }

    pub(crate) fn limits(&self, counters: Arc<Counters>) -> Limits {
        Limits {
            write_timeout: millis(self.write_timeout),
            close_timeout: millis(self.close_timeout),
            high_water: self.outbound_high_water,
            linger: self.max_payload.saturating_mul(4).max(1 << 20),
            budget: self.memory_budget.unwrap_or(usize::MAX),
            counters: Some(counters),
        }
    }
}
