//! The options of [`Config`](eio_monoio::Config).

use std::mem::take;

use eio_monoio::{Cors, Dispatch, Driver, ForwardedBy, ProxyProtocol, SameSite, Transport};

use super::{Group, Opt, Set};
use crate::value::one_of;

/// An option whose setter of `Config` takes the parsed value.
macro_rules! config {
    ($kind:ident $name:ident, $default:literal, $range:literal, $help:literal) => {
        config!($kind $name |config, value| config.$name(value), $default, $range, $help)
    };
    ($kind:ident $name:ident |$config:ident, $value:ident| $set:expr, $default:literal, $range:literal, $help:literal) => {
        Opt {
            name: stringify!($name),
            part_of: stringify!($name),
            default: $default,
            range: $range,
            help: $help,
            set: Set::$kind(|settings, $value| {
                let $config = take(&mut settings.config);
                settings.config = $set;
                Ok(())
            }),
        }
    };
}

/// A part of an option that is a type of its own, such as `Cookie`.
macro_rules! part {
    ($of:ident $kind:ident $name:ident |$part:ident, $value:ident| $set:expr, $default:literal, $range:literal, $help:literal) => {
        Opt {
            name: stringify!($name),
            part_of: stringify!($of),
            default: $default,
            range: $range,
            help: $help,
            set: Set::$kind(|settings, $value| {
                let $part = settings.$of.take().ok_or(concat!("needs ", stringify!($of)))?;
                settings.$of = Some($set);
                Ok(())
            }),
        }
    };
}

pub(super) const HEARTBEAT: Group = Group {
    heading: "Heartbeat",
    options: &[
        config!(Time ping_interval, "25s", "10ms to 24h",
            "The time from the handshake, and then from each pong, to the next ping"),
        config!(Time ping_grace, "0", "0 to 24h",
            "Added to ping_interval in the open packet, for clients on slow links"),
        config!(Time ping_timeout, "20s", "10ms to 24h",
            "The time from a ping to its pong, after which the session ends"),
    ],
};

pub(super) const SESSIONS: Group = Group {
    heading: "Sessions",
    options: &[
        config!(List transports |config, names| config.transports(transports(names)?),
            "polling,websocket", "polling, websocket or both", "The transports that are served"),
        config!(Switch allow_upgrades, "true", "true, false",
            "Whether a polling session may upgrade to WebSocket"),
        config!(Time upgrade_timeout, "10s", "10ms to 24h",
            "The time from a probe to the end of the upgrade"),
        config!(Time connect_timeout, "30s", "10ms to 24h",
            "The time that the application has to answer a handshake or request"),
        config!(Time close_timeout, "10s", "10ms to 24h",
            "The time that the close of a session and of its WebSocket may take"),
        config!(Text initial_packet, "none", "text of at most max_payload bytes, without U+001E",
            "A message for every new session, before all others"),
        config!(Switch separator_over_websocket, "false", "true, false",
            "Whether text with U+001E is sent over a WebSocket; polling cannot carry it"),
        config!(Text dispatch |config, name| config.dispatch(one_of(
                name, &[("in-order", Dispatch::InOrder), ("concurrent", Dispatch::Concurrent)])?),
            "in-order", "in-order, concurrent",
            "Whether a message waits until the previous one is handled"),
        config!(Time handler_grace, "5s", "0 to 24h",
            "The time that handlers have after the end of their session"),
        config!(Text tag, "none", "1 to 16 of A-Z a-z 0-9 - _",
            "The name of this server in its session ids, for balancers that route by it"),
        config!(Switch keep_request, "false", "true, false",
            "Whether a session keeps the request that opened it"),
    ],
};

pub(super) const HTTP: Group = Group {
    heading: "HTTP",
    options: &[
        Opt {
            name: "path",
            part_of: "path",
            default: "/engine.io/",
            range: "begins with /; visible ASCII without ?, # and %",
            help: "The path of Engine.IO; clients of Socket.IO use /socket.io/",
            set: Set::Text(|s, path| {
                s.config = take(&mut s.config).path(path);
                s.path = path.into();
                Ok(())
            }),
        },
        config!(Time head_timeout, "10s", "10ms to 24h", "The time to receive a request head"),
        config!(Time body_timeout, "30s", "10ms to 24h", "The time to receive a request body"),
        config!(Time idle_timeout, "65s", "10ms to 24h",
            "The time that a connection may be idle between two requests"),
        config!(Time write_timeout, "30s", "10ms to 24h",
            "The time that a client may take to receive a response"),
        config!(Bytes max_head_size, "16KiB", "256 to 1MiB", "The largest request head"),
        config!(Count max_headers, "100", "1 to 128", "The largest number of header fields"),
    ],
};

pub(super) const LIMITS: Group = Group {
    heading: "Limits",
    options: &[
        config!(Bytes max_payload, "1000000", "1 to 2GiB",
            "The largest message or request body that is received"),
        config!(Count max_polling_packets, "16", "1 to 100000",
            "The largest number of packets in a polling response"),
        config!(Count max_connections, "descriptors", "1 to 2147483648",
            "The largest number of connections; by default the limit on descriptors, less 64 or more"),
        config!(Count max_handshakes_per_second, "none", "1 to 2147483648",
            "The largest number of handshakes in each second"),
        config!(Bytes memory_budget, "none", "4MiB to 1024GiB",
            "The bytes of unfinished messages and queues that the process holds for its peers"),
        config!(Count max_connections_per_address, "none", "1 to 2147483648",
            "The largest number of connections of one address (IPv4) or /64 network (IPv6)"),
        config!(Count max_handshakes_per_address, "none", "1 to 2147483648",
            "The largest number of handshakes of one address in each second"),
        config!(Bytes address_table_bytes, "1MiB", "3KiB to 2GiB",
            "The size of the table of addresses for these two limits"),
        config!(List refused_networks |config, networks| config.refused_networks(networks),
            "none", "addresses, networks such as 192.0.2.0/24",
            "The clients whose connections are closed when they are accepted"),
        config!(Bytes outbound_high_water, "1MiB", "1 to 2GiB",
            "The bytes queued for a session from which it is slow and misses broadcasts"),
        config!(Bytes inbound_high_water, "1MiB", "1 to 2GiB",
            "The bytes that wait for a busy handler, from which a session is not read"),
        config!(Bytes mailbox_high_water, "16MiB", "1 to 2GiB",
            "The bytes that wait for a worker, from which messages of other threads are refused"),
        config!(Bytes send_buffer_size, "none", "4KiB to 1GiB",
            "The bytes that the kernel holds for a client that does not receive; by default it decides"),
    ],
};

pub(super) const OBSERVABILITY: Group = Group {
    heading: "Observability",
    options: &[
        config!(Count time_messages, "64", "0 to 2147483648",
            "Of how many messages one has the time of its handler measured; 0 measures none"),
        config!(Time lag_interval, "1s", "0 to 24h",
            "How often the lag of each worker is measured; 0 measures none"),
        config!(Time lag_warning, "1s", "0 to 24h",
            "The lag from which a worker is slow, which is logged"),
    ],
};

pub(super) const ORIGINS: Group = Group {
    heading: "Origins and proxies",
    options: &[
        config!(List cors |config, origins| config.cors(match origins {
                ["any"] => Cors::Any,
                ["off"] => Cors::Off,
                origins => Cors::origins(origins.iter().copied()),
            }),
            "same-origin", "same-origin, any, off, or origins such as https://example.org",
            "The origins whose pages may connect; same-origin is implied by a list"),
        config!(Switch cors_credentials, "true", "true, false",
            "Whether pages of other origins may send the user's cookies"),
        config!(List trusted_proxies |config, proxies| config.trusted_proxies(proxies),
            "none", "addresses, networks such as 10.0.0.0/8, unix",
            "The proxies whose header about the client's address is believed"),
        config!(Text forwarded_by |config, name| config.forwarded_by(one_of(name, &[
                ("x-forwarded-for", ForwardedBy::XForwardedFor),
                ("forwarded", ForwardedBy::Forwarded),
            ])?),
            "x-forwarded-for", "x-forwarded-for, forwarded (RFC 7239)",
            "The header in which trusted proxies name the client"),
        config!(Text proxy_protocol |config, name| config.proxy_protocol(one_of(
                name, &[("off", ProxyProtocol::Off), ("required", ProxyProtocol::Required)])?),
            "off", "off, required. Needs trusted_proxies",
            "Whether connections begin with a header of the PROXY protocol, version 1 or 2"),
    ],
};

pub(super) const COOKIE: Group = Group {
    heading: "Cookie",
    options: &[
        Opt {
            name: "cookie",
            part_of: "cookie",
            default: "none",
            range: "a token (RFC 6265)",
            help: "The name of a cookie with the session id, for balancers that route by it",
            set: Set::Text(|s, name| {
                s.cookie = Some(eio_monoio::Cookie::new(name));
                Ok(())
            }),
        },
        part!(cookie Text cookie_path |cookie, path| cookie.path(path),
            "/", "begins with /, or empty: no attribute. Needs cookie", "Its path"),
        part!(cookie Text cookie_domain |cookie, domain| cookie.domain(domain),
            "none", "a domain. Needs cookie", "Its domain"),
        part!(cookie Switch cookie_secure |cookie, secure| cookie.secure(secure),
            "false", "true, false. Needs cookie", "Whether browsers send it over TLS only"),
        part!(cookie Switch cookie_http_only |cookie, only| cookie.http_only(only),
            "true", "true, false. Needs cookie", "Whether scripts of the page cannot read it"),
        part!(cookie Text cookie_same_site |cookie, text| {
                let values = [
                    ("strict", Some(SameSite::Strict)),
                    ("none", Some(SameSite::None)),
                    ("absent", None),
                ];
                cookie.same_site(one_of(text, &values)?)
            },
            "lax", "strict, lax, none, absent: no attribute. Needs cookie",
            "Whether browsers send it with requests that another site initiates"),
        part!(cookie Time cookie_max_age |cookie, age| cookie.max_age(age),
            "none", "whole seconds. Needs cookie", "Its lifetime"),
        part!(cookie List cookie_attributes |cookie, attributes| {
                attributes.iter().fold(cookie, |cookie, text| match text.split_once('=') {
                    Some((name, value)) => cookie.attribute(name, value),
                    None => cookie.flag(*text),
                })
            },
            "none", "NAME=VALUE or NAME. Needs cookie", "Further attributes"),
    ],
};

pub(super) const COMPRESSION: Group = Group {
    heading: "Compression",
    options: &[
        config!(Switch http_compression, "true", "true, false",
            "Whether HTTP responses are compressed"),
        config!(Bytes compression_threshold, "1KiB", "0 to 2GiB",
            "The smallest HTTP body that is compressed"),
        Opt {
            name: "per_message_deflate",
            part_of: "per_message_deflate",
            default: "false",
            range: "true, false",
            help: "Whether WebSocket messages are compressed, for clients that offer it",
            set: Set::Switch(|s, compress| {
                s.per_message_deflate = compress.then(eio_monoio::PerMessageDeflate::new);
                Ok(())
            }),
        },
        part!(per_message_deflate Bytes per_message_deflate_threshold
            |deflate, bytes| deflate.threshold(bytes),
            "1KiB", "0 to 2GiB. Needs per_message_deflate",
            "The smallest message that is compressed"),
        part!(per_message_deflate Switch per_message_deflate_server_no_context_takeover
            |deflate, alone| deflate.server_no_context_takeover(alone),
            "true", "true, false. Needs per_message_deflate",
            "Whether the server compresses each message by itself"),
        part!(per_message_deflate Switch per_message_deflate_client_no_context_takeover
            |deflate, alone| deflate.client_no_context_takeover(alone),
            "true", "true, false. Needs per_message_deflate",
            "Whether the client compresses each message by itself"),
        part!(per_message_deflate Count per_message_deflate_server_max_window_bits
            |deflate, bits| deflate.server_max_window_bits(u8::try_from(bits).unwrap_or(u8::MAX)),
            "none", "9 to 15. Needs per_message_deflate", "The window of the server's messages"),
        part!(per_message_deflate Count per_message_deflate_client_max_window_bits
            |deflate, bits| deflate.client_max_window_bits(u8::try_from(bits).unwrap_or(u8::MAX)),
            "none", "9 to 15. Needs per_message_deflate", "The window of the client's messages"),
    ],
};

pub(super) const RUNTIME: Group = Group {
    heading: "Runtime",
    options: &[
        config!(Count workers, "cores", "1 to 1024",
            "The number of workers: threads with a part of the sessions; by default one for each core"),
        config!(Count blocking_threads, "8", "1 to 1024", "The number of threads for blocking work"),
        config!(Text driver |config, name| config.driver(name.parse::<Driver>()?),
            "auto", "auto, io-uring, epoll",
            "The kernel interface; auto is io_uring where the kernel permits it"),
        config!(Count backlog |config, n| config.backlog(u32::try_from(n).unwrap_or(u32::MAX)),
            "1024", "1 to 65535", "The connections that the kernel queues for each worker"),
        config!(Switch defer_accept, "true", "true, false",
            "Whether the kernel hands connections over with their first bytes while many clients connect"),
        config!(Switch share_port, "false", "true, false",
            "Whether another process may listen on the same port (SO_REUSEPORT)"),
        config!(Time bind_timeout, "5s", "0 to 24h",
            "The time to wait for an address that is in use"),
        config!(Text unix_socket_mode |config, digits| config.unix_socket_mode(octal(digits)?),
            "umask", "octal, 0 to 777", "The permissions of a Unix-domain socket"),
    ],
};

pub(super) const SHUTDOWN: Group = Group {
    heading: "Shutdown",
    options: &[
        config!(Switch handle_signals, "true", "true, false",
            "Whether SIGTERM and SIGINT close sessions before the process ends"),
        config!(Switch drain_on_signal, "true", "true, false",
            "Whether the first signal drains, the second shuts down, the third ends the process"),
        config!(Time signal_window, "1s", "0 to 24h",
            "The time in which repeated signals count as one"),
        config!(Switch reload_on_hangup, "true", "true, false",
            "Whether SIGHUP reads the TLS files again"),
        config!(Time drain_wait, "0", "0 to 24h",
            "The time for which a drain only answers /readyz with 503"),
        config!(Time drain_time, "5s", "0 to 24h",
            "The time over which a drain closes the sessions evenly"),
        config!(Time shutdown_grace, "1s", "0 to 24h",
            "The time for which a shutdown accepts the polls of closing sessions"),
        config!(Time shutdown_timeout, "10s", "0 to 24h",
            "The time that a shutdown waits for clients and handlers"),
    ],
};

fn transports(names: &[&str]) -> Result<Vec<Transport>, &'static str> {
    let transports = names.iter().map(|name| Transport::from_name(name));
    transports.collect::<Option<_>>().ok_or("no such transport")
}

fn octal(digits: &str) -> Result<u32, &'static str> {
    u32::from_str_radix(digits.trim_start_matches("0o"), 8).map_err(|_| "not an octal number")
}
