//! The options of the program itself: addresses, mode, log, TLS.

use std::time::Duration;

use super::{Group, Opt, Set};
use crate::log::Format;
use crate::settings::{Mode, Settings};
use crate::value::one_of;

pub(super) const PROGRAM: Group = Group {
    heading: "Program",
    options: &[
        Opt {
            name: "listen",
            part_of: "listen",
            default: "127.0.0.1:3000",
            range: "HOST:PORT, unix:PATH, or inherited: the sockets of the service manager",
            help: "The address of Engine.IO. With port 0 the kernel chooses one",
            set: Set::Text(|s, v| v.parse().map(|listen| s.listen = listen)),
        },
        Opt {
            name: "admin",
            part_of: "admin",
            default: "none",
            range: "as listen; inherited: the socket of the service manager that is named admin",
            help: "The address of /healthz, /readyz and /metrics, which must not be public",
            set: Set::Text(|s, v| v.parse().map(|listen| s.admin = Some(listen))),
        },
        Opt {
            name: "mode",
            part_of: "mode",
            default: "echo",
            range: "echo, broadcast (every session, the sender included)",
            help: "Where messages go",
            set: Set::Text(|s, v| {
                let modes = [("echo", Mode::Echo), ("broadcast", Mode::Broadcast)];
                one_of(v, &modes).map(|mode| s.mode = mode)
            }),
        },
        Opt {
            name: "log_level",
            part_of: "log_level",
            default: "info",
            range: "error, warn, info, debug, trace",
            help: "The least important lines that standard error gets",
            set: Set::Text(|s, v| {
                let level = v.parse().ok().filter(|_| v.parse::<u8>().is_err());
                s.log_level = level.ok_or("no such level")?;
                Ok(())
            }),
        },
        Opt {
            name: "log_format",
            part_of: "log_format",
            default: "text",
            range: "text, json: one object for each line",
            help: "The form of a line of the log",
            set: Set::Text(|s, v| {
                let formats = [("text", Format::Text), ("json", Format::Json)];
                one_of(v, &formats).map(|format| s.log_format = format)
            }),
        },
        Opt {
            name: "access_log",
            part_of: "access_log",
            default: "false",
            range: "true, false",
            help: "Whether the log gets a line for each HTTP request, whatever log_level is",
            set: Set::Switch(|s, v| {
                s.access_log = v;
                Ok(())
            }),
        },
    ],
};

pub(super) const TLS: Group = Group {
    heading: "TLS",
    options: &[
        Opt {
            name: "tls_cert",
            part_of: "tls.certificate",
            default: "none",
            range: "a PEM file: the certificate, then its intermediates. Needs tls_key",
            help: "Serves https and wss with this certificate; SIGHUP reads the files again",
            set: Set::Text(|s, v| {
                s.tls.certificate = Some(v.into());
                Ok(())
            }),
        },
        Opt {
            name: "tls_key",
            part_of: "tls.key",
            default: "none",
            range: "a PEM file (PKCS #8, PKCS #1 or SEC 1). Needs tls_cert",
            help: "The private key of the certificate",
            set: Set::Text(|s, v| {
                s.tls.key = Some(v.into());
                Ok(())
            }),
        },
        Opt {
            name: "tls_client_ca",
            part_of: "tls.client_authorities",
            default: "none",
            range: "a PEM file. Needs tls_cert",
            help: "Requires a client certificate that one of these authorities has signed",
            set: Set::Text(|s, v| {
                s.tls.client_authorities = Some(v.into());
                Ok(())
            }),
        },
        Opt {
            name: "tls_allow_anonymous_clients",
            part_of: "tls.allow_anonymous_clients",
            default: "false",
            range: "true, false. Needs tls_client_ca",
            help: "Whether clients without a certificate are accepted",
            set: Set::Switch(|s, v| {
                s.tls.allow_anonymous = Some(v);
                Ok(())
            }),
        },
        Opt {
            name: "tls_handshake_timeout",
            part_of: "tls.handshake_timeout",
            default: "10s",
            range: "10ms to 24h. Needs tls_cert",
            help: "The time for a TLS handshake, after which the connection is closed",
            set: Set::Time(handshake_timeout),
        },
    ],
};

fn handshake_timeout(settings: &mut Settings, timeout: Duration) -> Result<(), String> {
    settings.tls.handshake_timeout = Some(timeout);
    Ok(())
}
