//! [`Config::check`]: the range of every option.

use std::fmt;

use eio_core::packet::Message;
use eio_core::payload::SEPARATOR;
use eio_core::sid::Tag;

use super::{Config, MAX_HEADERS};
use crate::error::{ConfigError, SendError};
use crate::message::OwnedMessage;
use crate::range::{self, SIZE, THRESHOLD, TIME, TIMEOUT};
use crate::server::addresses::AddressTable;
use crate::web::proxy::{ProxyProtocol, Trusted};

/// # Check
impl Config {
    /// Checks every value, as [`Server::bind`](crate::Server::bind) does.
    ///
    /// # Errors
    /// The first option that is outside its range.
    pub fn check(&self) -> Result<(), ConfigError> {
        self.check_times()?;
        self.check_sizes()?;
        let check = |option, result: Result<(), String>| {
            result.map_err(|problem| ConfigError::new(option, problem))
        };
        let mode = Mode(self.unix_socket_mode.unwrap_or(0));
        check("unix_socket_mode", range::check(mode, Mode(0)..=Mode(0o777)))?;
        check("transports", self.check_transports())?;
        let tag = self.tag.as_deref().map_or(Ok(()), |tag| Tag::new(tag).map(|_| ()));
        check("tag", tag.map_err(|error| error.to_string()))?;
        check("path", self.check_path())?;
        check("cors", self.cors.check())?;
        check("cookie", self.cookie.as_ref().map_or(Ok(()), |cookie| cookie.check()))?;
        let deflate = self.per_message_deflate.as_ref();
        check("per_message_deflate", deflate.map_or(Ok(()), |deflate| deflate.check()))?;
        let proxies = self.trusted_proxies.iter();
        check("trusted_proxies", proxies.cloned().try_for_each(|proxy| proxy.map(|_| ())))?;
        check("refused_networks", self.check_refused_networks())?;
        check("proxy_protocol", self.check_proxy_protocol())?;
        check("initial_packet", self.check_initial_packet())
    }

    fn check_times(&self) -> Result<(), ConfigError> {
        for (option, value, range) in [
            ("ping_interval", self.ping_interval, TIMEOUT),
            ("ping_grace", self.ping_grace, TIME),
            ("ping_timeout", self.ping_timeout, TIMEOUT),
            ("upgrade_timeout", self.upgrade_timeout, TIMEOUT),
            ("connect_timeout", self.connect_timeout, TIMEOUT),
            ("close_timeout", self.close_timeout, TIMEOUT),
            ("head_timeout", self.head_timeout, TIMEOUT),
            ("body_timeout", self.body_timeout, TIMEOUT),
            ("idle_timeout", self.idle_timeout, TIMEOUT),
            ("write_timeout", self.write_timeout, TIMEOUT),
            ("bind_timeout", self.bind_timeout, TIME),
            ("shutdown_timeout", self.shutdown_timeout, TIME),
            ("shutdown_grace", self.shutdown_grace, TIME),
            ("handler_grace", self.handler_grace, TIME),
            ("drain_wait", self.drain_wait, TIME),
            ("drain_time", self.drain_time, TIME),
            ("signal_window", self.signal_window, TIME),
            ("lag_interval", self.lag_interval, TIME),
            ("lag_warning", self.lag_warning, TIME),
        ] {
            range::check(value, range).map_err(|problem| ConfigError::new(option, problem))?;
        }
        Ok(())
    }

    fn check_sizes(&self) -> Result<(), ConfigError> {
        for (option, value, range) in [
            ("max_payload", self.max_payload, SIZE),
            ("max_polling_packets", self.max_polling_packets, 1..=100_000),
            ("max_head_size", self.max_head_size, 256..=1 << 20),
            ("max_headers", self.max_headers, 1..=MAX_HEADERS),
            ("max_connections", self.max_connections.unwrap_or(1), SIZE),
            ("max_handshakes_per_second", self.max_handshakes_per_second.unwrap_or(1), SIZE),
            ("max_connections_per_address", self.max_connections_per_address.unwrap_or(1), SIZE),
            ("max_handshakes_per_address", self.max_handshakes_per_address.unwrap_or(1), SIZE),
            ("address_table_bytes", self.address_table_bytes, AddressTable::MIN_BYTES..=1 << 31),
            ("outbound_high_water", self.outbound_high_water, SIZE),
            ("inbound_high_water", self.inbound_high_water, SIZE),
            ("mailbox_high_water", self.mailbox_high_water, SIZE),
            ("memory_budget", self.memory_budget.unwrap_or(4 << 20), 4 << 20..=1 << 40),
            ("send_buffer_size", self.send_buffer_size.unwrap_or(4096), 4096..=1 << 30),
            ("time_messages", self.time_messages, THRESHOLD),
            ("compression_threshold", self.compression_threshold, THRESHOLD),
            ("workers", self.workers.unwrap_or(1), 1..=1024),
            ("blocking_threads", self.blocking_threads, 1..=1024),
            ("backlog", self.backlog as usize, 1..=65_535),
        ] {
            range::check(value, range).map_err(|problem| ConfigError::new(option, problem))?;
        }
        Ok(())
    }

    fn check_transports(&self) -> Result<(), String> {
        if self.transports.is_empty() {
            return Err("the set is empty; add polling, websocket or both".into());
        }
        Ok(())
    }

    fn check_path(&self) -> Result<(), String> {
        let legal = |b: u8| b.is_ascii_graphic() && !matches!(b, b'?' | b'#' | b'%');
        if !self.path.starts_with('/') || !self.path.bytes().all(legal) {
            return Err("must begin with / and be visible ASCII without ?, # and %".into());
        }
        Ok(())
    }

    fn check_refused_networks(&self) -> Result<(), String> {
        self.refused_networks.iter().cloned().try_for_each(|network| match network? {
            Trusted::Network(..) => Ok(()),
            Trusted::Unix => Err("\"unix\" is not an address or a network".into()),
        })
    }

    fn check_proxy_protocol(&self) -> Result<(), String> {
        if self.proxy_protocol == ProxyProtocol::Required && self.trusted_proxies.is_empty() {
            return Err("needs trusted_proxies: only their headers are believed".into());
        }
        Ok(())
    }

    fn check_initial_packet(&self) -> Result<(), String> {
        let Some(message) = self.initial_packet.as_ref().map(OwnedMessage::borrow) else {
            return Ok(());
        };
        if message.len() > self.max_payload {
            return Err(format!("{} bytes are more than max_payload", message.len()));
        }
        match message {
            Message::Text(text) if text.as_bytes().contains(&SEPARATOR) => {
                Err(SendError::Separator.to_string())
            }
            _ => Ok(()),
        }
    }
}

/// Permissions of a file, which are octal in messages.
#[derive(PartialEq, PartialOrd)]
struct Mode(u32);

impl fmt::Debug for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#o}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::time::Duration;

    use super::*;
    use crate::deflate::PerMessageDeflate;
    use crate::web::cookie::Cookie;
    use crate::web::cors::Cors;

    /// Configurations with one option out of range, and the name of the option.
    fn out_of_range() -> Vec<(Config, &'static str)> {
        let deflate = |deflate| Config::new().per_message_deflate(deflate);
        let more_than_a_day = Duration::from_secs(86_401);
        vec![
            (Config::new().ping_interval(Duration::ZERO), "ping_interval"),
            (Config::new().ping_grace(more_than_a_day), "ping_grace"),
            (Config::new().ping_timeout(more_than_a_day), "ping_timeout"),
            (Config::new().upgrade_timeout(Duration::ZERO), "upgrade_timeout"),
            (Config::new().connect_timeout(Duration::ZERO), "connect_timeout"),
            (Config::new().close_timeout(Duration::ZERO), "close_timeout"),
            (Config::new().head_timeout(Duration::ZERO), "head_timeout"),
            (Config::new().body_timeout(Duration::ZERO), "body_timeout"),
            (Config::new().idle_timeout(Duration::ZERO), "idle_timeout"),
            (Config::new().write_timeout(Duration::ZERO), "write_timeout"),
            (Config::new().shutdown_timeout(more_than_a_day), "shutdown_timeout"),
            (Config::new().shutdown_grace(more_than_a_day), "shutdown_grace"),
            (Config::new().handler_grace(more_than_a_day), "handler_grace"),
            (Config::new().drain_wait(more_than_a_day), "drain_wait"),
            (Config::new().drain_time(more_than_a_day), "drain_time"),
            (Config::new().signal_window(more_than_a_day), "signal_window"),
            (Config::new().max_payload(0), "max_payload"),
            (Config::new().max_polling_packets(0), "max_polling_packets"),
            (Config::new().max_head_size(255), "max_head_size"),
            (Config::new().max_headers(129), "max_headers"),
            (Config::new().max_connections(0), "max_connections"),
            (Config::new().max_handshakes_per_second(0), "max_handshakes_per_second"),
            (Config::new().max_connections_per_address(0), "max_connections_per_address"),
            (Config::new().max_handshakes_per_address(0), "max_handshakes_per_address"),
            (Config::new().address_table_bytes(3_071), "address_table_bytes"),
            (Config::new().refused_networks(["10.0.0.0/33"]), "refused_networks"),
            (Config::new().refused_networks(["unix"]), "refused_networks"),
            (Config::new().outbound_high_water(0), "outbound_high_water"),
            (Config::new().inbound_high_water(0), "inbound_high_water"),
            (Config::new().mailbox_high_water(0), "mailbox_high_water"),
            (Config::new().memory_budget((4 << 20) - 1), "memory_budget"),
            (Config::new().send_buffer_size(4095), "send_buffer_size"),
            (Config::new().time_messages((1 << 31) + 1), "time_messages"),
            (Config::new().lag_interval(more_than_a_day), "lag_interval"),
            (Config::new().lag_warning(more_than_a_day), "lag_warning"),
            (Config::new().compression_threshold((1 << 31) + 1), "compression_threshold"),
            (Config::new().workers(0), "workers"),
            (Config::new().blocking_threads(0), "blocking_threads"),
            (Config::new().backlog(0), "backlog"),
            (Config::new().bind_timeout(more_than_a_day), "bind_timeout"),
            (Config::new().unix_socket_mode(0o1000), "unix_socket_mode"),
            (Config::new().transports([]), "transports"),
            (Config::new().tag("eu.web-0"), "tag"),
            (Config::new().tag("seventeen-letters"), "tag"),
            (Config::new().path("engine.io"), "path"),
            (Config::new().path("/a b"), "path"),
            (Config::new().cors(Cors::origins(["no scheme"])), "cors"),
            (Config::new().cookie(Cookie::new("a b")), "cookie"),
            (deflate(PerMessageDeflate::new().threshold((1 << 31) + 1)), "per_message_deflate"),
            (deflate(PerMessageDeflate::new().server_max_window_bits(8)), "per_message_deflate"),
            (deflate(PerMessageDeflate::new().client_max_window_bits(16)), "per_message_deflate"),
            (Config::new().trusted_proxies(["10.0.0.0/8", "localhost"]), "trusted_proxies"),
            (Config::new().proxy_protocol(ProxyProtocol::Required), "proxy_protocol"),
            (Config::new().initial_packet("a\u{1e}b"), "initial_packet"),
            (Config::new().max_payload(2).initial_packet("abc"), "initial_packet"),
        ]
    }

    /// Options whose type has no value out of range.
    const UNRESTRICTED: [&str; 13] = [
        "defer_accept",
        "separator_over_websocket",
        "share_port",
        "drain_on_signal",
        "reload_on_hangup",
        "allow_upgrades",
        "dispatch",
        "keep_request",
        "cors_credentials",
        "forwarded_by",
        "http_compression",
        "driver",
        "handle_signals",
    ];

    #[test]
    fn every_default_is_in_range() {
        assert_eq!(Config::new().check(), Ok(()));
    }

    #[test]
    fn an_option_out_of_range_is_named() {
        for (config, option) in out_of_range() {
            assert_eq!(config.check().unwrap_err().option(), option);
        }
        assert_eq!(
            Config::new().unix_socket_mode(0o1000).check().unwrap_err().to_string(),
            "unix_socket_mode: 0o1000 is outside 0o0 to 0o777",
        );
    }

    #[test]
    fn every_option_is_checked_or_unrestricted() {
        let debug = format!("{:#?}", Config::new());
        let fields: BTreeSet<_> = debug
            .lines()
            .filter_map(|line| line.strip_prefix("    ")?.split_once(": "))
            .map(|(name, _)| name)
            .filter(|name| !name.starts_with(' '))
            .collect();
        assert!(fields.len() > 30, "{debug}");
        let checked: BTreeSet<_> = out_of_range().into_iter().map(|(_, option)| option).collect();
        let unrestricted = BTreeSet::from(UNRESTRICTED);
        assert!(checked.is_disjoint(&unrestricted));
        assert_eq!(fields, &checked | &unrestricted);
    }
}
