use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU32, Ordering};

use super::*;
use crate::options::GROUPS;
use crate::settings::Settings;

fn read_from(arguments: &[&str], environment: &[(&str, &str)]) -> Sources {
    let arguments = ["eio-server"].iter().chain(arguments).map(OsString::from);
    let environment = environment.iter().map(|(name, value)| (name.into(), value.into()));
    read(arguments, environment).unwrap_or_else(|error| panic!("{error}"))
}

/// The settings, or the lines about errors.
fn check(arguments: &[&str], environment: &[(&str, &str)]) -> Result<Settings, Vec<String>> {
    let sources = read_from(arguments, environment);
    sources.given.check(sources.errors).map(|(settings, _)| settings)
}

fn flag(option: &Opt, value: &str) -> String {
    format!("--{}={value}", option.flag())
}

/// The fields of `Config` and their values, as `Debug` shows them.
fn fields(settings: &Settings) -> Vec<(String, String)> {
    let debug = format!("{:#?}", settings.config);
    let mut fields: Vec<(String, String)> = Vec::new();
    for line in debug.lines() {
        let field =
            line.strip_prefix("    ").filter(|rest| !rest.starts_with([' ', '}', ']', ')']));
        match (field.and_then(|field| field.split_once(": ")), fields.last_mut()) {
            (Some((name, value)), _) => fields.push((name.into(), value.into())),
            (None, Some((_, value))) => value.push_str(line),
            (None, None) => {}
        }
    }
    assert!(fields.len() > 40, "{debug}");
    fields
}

/// A file of options, for as long as it lives.
struct TempFile(PathBuf);

impl TempFile {
    fn new(text: &str) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("eio-server-{}-{number}.toml", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::write(&path, text).expect("a file");
        Self(path)
    }

    fn flag(&self) -> String {
        format!("--config={}", self.0.display())
    }
}

impl Drop for TempFile {
    fn drop(&mut self) {
        _ = std::fs::remove_file(&self.0);
    }
}

/// Values that are not the default, with the options that they need.
const OTHER: &[(&str, &str)] = &[
    ("listen", "127.0.0.1:0"),
    ("admin", "127.0.0.1:0"),
    ("mode", "broadcast"),
    ("log_level", "debug"),
    ("log_format", "json"),
    ("access_log", "true"),
    ("ping_interval", "1s"),
    ("ping_grace", "1s"),
    ("ping_timeout", "1s"),
    ("transports", "websocket"),
    ("allow_upgrades", "false"),
    ("upgrade_timeout", "1s"),
    ("connect_timeout", "1s"),
    ("close_timeout", "1s"),
    ("initial_packet", "hello"),
    ("separator_over_websocket", "true"),
    ("dispatch", "concurrent"),
    ("handler_grace", "1s"),
    ("keep_request", "true"),
    ("tag", "web-1"),
    ("path", "/socket.io/"),
    ("head_timeout", "1s"),
    ("body_timeout", "1s"),
    ("idle_timeout", "1s"),
    ("write_timeout", "1s"),
    ("max_head_size", "8KiB"),
    ("max_headers", "50"),
    ("max_payload", "1MiB"),
    ("max_polling_packets", "8"),
    ("max_connections", "100"),
    ("max_handshakes_per_second", "100"),
    ("max_connections_per_address", "100"),
    ("max_handshakes_per_address", "100"),
    ("address_table_bytes", "64KiB"),
    ("refused_networks", "192.0.2.0/24,2001:db8::/32"),
    ("outbound_high_water", "1kB"),
    ("inbound_high_water", "1kB"),
    ("mailbox_high_water", "1kB"),
    ("send_buffer_size", "64KiB"),
    ("time_messages", "1"),
    ("lag_interval", "2s"),
    ("lag_warning", "2s"),
    ("cors", "https://a.example,http://b.example:81"),
    ("cors_credentials", "false"),
    ("trusted_proxies", "10.0.0.0/8, unix"),
    ("forwarded_by", "forwarded"),
    ("proxy_protocol", "required"),
    ("memory_budget", "64MiB"),
    ("http_compression", "false"),
    ("compression_threshold", "2KiB"),
    ("workers", "2"),
    ("blocking_threads", "2"),
    ("driver", "epoll"),
    ("backlog", "128"),
    ("defer_accept", "false"),
    ("share_port", "true"),
    ("bind_timeout", "1s"),
    ("unix_socket_mode", "660"),
    ("handle_signals", "false"),
    ("drain_on_signal", "false"),
    ("signal_window", "2s"),
    ("reload_on_hangup", "false"),
    ("drain_wait", "1s"),
    ("drain_time", "1s"),
    ("shutdown_grace", "2s"),
    ("shutdown_timeout", "1s"),
    ("cookie", "io"),
    ("cookie_path", "/a"),
    ("cookie_domain", "example.org"),
    ("cookie_secure", "true"),
    ("cookie_http_only", "false"),
    ("cookie_same_site", "strict"),
    ("cookie_max_age", "1h"),
    ("cookie_attributes", "Partitioned,Priority=High"),
    ("per_message_deflate", "true"),
    ("per_message_deflate_threshold", "2KiB"),
    ("per_message_deflate_server_no_context_takeover", "false"),
    ("per_message_deflate_client_no_context_takeover", "false"),
    ("per_message_deflate_server_max_window_bits", "12"),
    ("per_message_deflate_client_max_window_bits", "12"),
    ("tls_cert", "cert.pem"),
    ("tls_key", "key.pem"),
    ("tls_client_ca", "ca.pem"),
    ("tls_allow_anonymous_clients", "true"),
    ("tls_handshake_timeout", "1s"),
];

/// The options that `name` needs besides itself, as flags.
fn needs(name: &str) -> Vec<String> {
    let given = |name: &str, value: &str| flag(options::find(name).expect("an option"), value);
    match name {
        _ if name.starts_with("cookie_") => vec![given("cookie", "io")],
        _ if name.starts_with("per_message_deflate_") => vec![given("per_message_deflate", "true")],
        "proxy_protocol" => vec![given("trusted_proxies", "10.0.0.0/8")],
        _ => Vec::new(),
    }
}

#[test]
fn every_option_of_the_library_is_an_option_of_the_program() {
    let library: BTreeSet<_> =
        fields(&Settings::default()).into_iter().map(|(name, _)| name).collect();
    let program: BTreeSet<_> = GROUPS[2..]
        .iter()
        .flat_map(|group| group.options)
        .map(|option| option.part_of.to_owned())
        .collect();
    let missing: Vec<_> = library.symmetric_difference(&program).collect();
    assert!(missing.is_empty(), "add {missing:?} to options/server.rs");
}

#[test]
fn every_option_changes_its_setting_by_flag_variable_and_file() {
    let tested: BTreeSet<_> = OTHER.iter().map(|(name, _)| *name).collect();
    let all: BTreeSet<_> = options::all().map(|option| option.name).collect();
    let missing: Vec<_> = all.symmetric_difference(&tested).collect();
    assert!(missing.is_empty(), "add {missing:?} to OTHER, and run --example-config");
    for &(name, value) in OTHER.iter().filter(|(name, _)| !name.starts_with("tls_")) {
        let option = options::find(name).expect("an option");
        let needed = needs(name);
        let needed: Vec<_> = needed.iter().map(String::as_str).collect();
        let before = check(&needed, &[]).expect("valid");
        let by_flag = check(&[&needed[..], &[&flag(option, value)]].concat(), &[]).expect(name);
        let by_variable = check(&needed, &[(&option.variable(), value)]).expect(name);
        assert_ne!(format!("{before:?}"), format!("{by_flag:?}"), "{name}");
        assert_eq!(format!("{by_flag:?}"), format!("{by_variable:?}"), "{name}");
        let file = TempFile::new(&format!("{name} = \"{value}\"\n"));
        let by_file = check(&[&needed[..], &[&file.flag()]].concat(), &[]).expect(name);
        assert_eq!(format!("{by_flag:?}"), format!("{by_file:?}"), "{name}");
        let changed: Vec<_> = fields(&before)
            .into_iter()
            .zip(fields(&by_flag))
            .filter(|(before, after)| before != after)
            .map(|((name, _), _)| name)
            .collect();
        let of_library = GROUPS[2..].iter().any(|g| g.options.iter().any(|o| o.name == name));
        let expected = if of_library { vec![option.part_of.to_owned()] } else { Vec::new() };
        assert_eq!(changed, expected, "{name}");
    }
}

#[test]
fn stated_defaults_are_the_defaults() {
    let default = format!("{:?}", Settings::default());
    for option in options::all() {
        assert!(check(&[&flag(option, option.default)], &[]).is_ok(), "{}", option.name);
        // Words such as `none` stand for a value that cannot be given.
        let mut settings = Settings::default();
        let words =
            ["none", "descriptors", "cores", "umask", "lax", "same-origin", "x-forwarded-for"];
        let alone = needs(option.name).is_empty() && !option.name.starts_with("tls_");
        if alone && !words.contains(&option.default) {
            assert_eq!(option.set.apply(&mut settings, option.default), Ok(()), "{}", option.name);
            assert_eq!(format!("{settings:?}"), default, "{}", option.name);
        }
    }
}

#[test]
fn stated_ranges_are_the_ranges() {
    let mut tested = 0;
    for option in options::all() {
        let range = option.range.split(". ").next().unwrap_or_default();
        let Some((least, most)) = range.split_once(" to ") else { continue };
        let with = |value: &str| {
            let needed = needs(option.name);
            let given = flag(option, value);
            let arguments: Vec<_> = needed.iter().map(String::as_str).chain([&*given]).collect();
            check(&arguments, &[]).map(drop)
        };
        // Not a range of numbers, or one in another form.
        let other = ["unix_socket_mode", "tag"].contains(&option.name);
        if option.name.starts_with("tls_") || other {
            continue;
        }
        for bound in [least, most] {
            assert_eq!(with(bound), Ok(()), "{}", option.name);
        }
        let beyond = match option.set {
            Set::Time(_) => ["9ms".to_owned(), "86400001ms".into()],
            Set::Bytes(_) | Set::Count(_) => {
                let [least, most] = [least, most].map(|bound| crate::value::bytes(bound).unwrap());
                [least.saturating_sub(1).to_string(), (most + 1).to_string()]
            }
            _ => panic!("{} has a range of numbers", option.name),
        };
        for value in beyond.iter().filter(|value| !(least.starts_with('0') && *value == &beyond[0]))
        {
            let errors = with(value).expect_err(option.name);
            let start = format!("--{}: {} = {value:?}: ", option.flag(), option.name);
            assert!(errors.iter().any(|line| line.starts_with(&start)), "{errors:?}");
        }
        tested += 1;
    }
    assert!(tested > 30, "{tested}");
}

#[test]
fn sources_have_a_rank() {
    let file = TempFile::new("workers = 2\nbacklog = 2\nmax_headers = 2\n");
    let config = file.flag();
    let settings = check(&[&config, "--workers=4"], &[("EIO_WORKERS", "3"), ("EIO_BACKLOG", "3")]);
    // By variable, too; the flag has the higher rank.
    let path = file.0.to_str().expect("text");
    assert!(check(&[], &[("EIO_CONFIG", path), ("EIO_WORKERS", "0")]).is_err());
    assert!(check(&[&config], &[("EIO_CONFIG", "/does/not/exist")]).is_ok());
    drop(file);
    let debug = format!("{:?}", settings.expect("valid"));
    for part in ["workers: Some(4)", "backlog: 3", "max_headers: 2"] {
        assert!(debug.contains(part), "no {part} in {debug}");
    }
    let missing = check(&[&config], &[]).expect_err("no file");
    assert!(missing[0].contains("cannot be read: No such file"), "{missing:?}");
}

#[test]
fn errors_name_their_source() {
    let errors = check(
        &["--cookie=a b", "--cookie-same-site=none", "--driver=iouring"],
        &[("EIO_PING_TIMEOUT", "soon"), ("EIO_TLS_KEY", "key.pem"), ("EIO_UNKNOWN", "1")],
    );
    let errors = errors.expect_err("wrong");
    let expected = [
        r#"EIO_PING_TIMEOUT: ping_timeout = "soon": not a time such as 25s, 500ms, 2m or 12h (range: 10ms to 24h)"#,
        r#"--driver: driver = "iouring": expected auto, io-uring or epoll (range: auto, io-uring, epoll)"#,
        r#"EIO_TLS_KEY: tls_key = "key.pem": needs tls_cert (range: a PEM file (PKCS #8, PKCS #1 or SEC 1). Needs tls_cert)"#,
        r#"--cookie: cookie = "a b": the name must be a token (range: a token (RFC 6265))"#,
        r#"--cookie-same-site: cookie_same_site = "none": the name must be a token (range: strict, lax, none, absent: no attribute. Needs cookie)"#,
    ];
    assert_eq!(errors, expected);
    assert_eq!(read_from(&[], &[("EIO_UNKNOWN", "1"), ("OTHER", "1")]).unknown, ["EIO_UNKNOWN"]);
}

#[test]
fn help_has_every_option_once() {
    let help = command().render_long_help().to_string();
    for option in options::all() {
        let flag = format!("--{}", option.flag());
        let lines = help.lines().filter(|line| {
            line.trim_start()
                .strip_prefix(&flag)
                .is_some_and(|rest| rest.starts_with(['=', ' ', '[']))
        });
        assert_eq!(lines.count(), 1, "{flag}");
        assert!(option.help.starts_with(char::is_uppercase), "{flag}");
        let stated = format!("[default: {}] [range: {}]", option.default, option.range);
        assert!(help.contains(&stated), "{stated}");
    }
    command().debug_assert();
}
