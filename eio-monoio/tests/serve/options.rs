//! The command line, the environment and the file of a process.

use std::process::Output;

use rcgen::{CertificateParams, CertifiedKey, KeyPair, date_time_ymd};

use super::server::command;
use crate::support::configs::has_io_uring;
use crate::support::temp_dir::TempDir;
use crate::support::tls::{Identity, write_identity};

pub(super) fn drivers() -> impl Iterator<Item = &'static str> {
    ["io-uring", "epoll"].into_iter().filter(|driver| *driver == "epoll" || has_io_uring())
}

fn run(arguments: &[&str], environment: &[(&str, &str)]) -> (Option<i32>, String, String) {
    let mut command = command(arguments);
    let Output { status, stdout, stderr } =
        command.envs(environment.iter().copied()).output().expect("it runs");
    let text = |bytes| String::from_utf8(bytes).expect("text");
    (status.code(), text(stdout), text(stderr))
}

#[test]
fn help_and_version_end_with_success() {
    let (status, help, stderr) = run(&["--help"], &[]);
    assert_eq!((status, stderr.as_str()), (Some(0), ""));
    for part in ["--listen <VALUE>", "--ping-interval <TIME>", "--share-port[=<BOOL>]", "SIGTERM"] {
        assert!(help.contains(part), "no {part} in\n{help}");
    }
    let version = format!("eio-server {}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!(run(&["--version"], &[]), (Some(0), version, String::new()));
}

#[test]
fn check_reports_every_wrong_option_with_its_source() {
    let directory = TempDir::new();
    let file = directory.write(
        "eio.toml",
        "# comment\nping_interval = '1ms'\nworker = 2\ntls_cert = '/missing.pem'\ntls_key = '/missing.pem'\n",
    );
    let file = file.to_str().expect("text");
    let arguments = ["--config", file, "--check", "--listen", "localhost"];
    let (status, stdout, stderr) = run(&arguments, &[("EIO_MAX_PAYLOAD", "3GiB")]);
    assert_eq!((status, stdout.as_str()), (Some(2), ""));
    let mut lines: Vec<_> = stderr.lines().collect();
    lines.sort_unstable();
    let expected = [
        r#"eio-server: --listen: listen = "localhost": an address needs a port (range: HOST:PORT, unix:PATH, or inherited: the sockets of the service manager)"#.to_owned(),
        format!(r#"eio-server: {file}:2: ping_interval = "1ms": 1ms is outside 10ms to 86400s"#),
        format!(r#"eio-server: {file}:3: there is no option "worker"; did you mean workers?"#),
        format!(r#"eio-server: {file}:4: tls_cert = "/missing.pem": /missing.pem: No such file or directory (os error 2) (range: a PEM file: the certificate, then its intermediates. Needs tls_key)"#),
        r#"eio-server: EIO_MAX_PAYLOAD: max_payload = "3GiB": 3221225472 is outside 1 to 2147483648"#.to_owned(),
    ];
    let mut expected = expected.to_vec();
    expected.sort_unstable();
    assert_eq!(lines, expected);
}

#[test]
fn wrong_options_end_a_start_too() {
    for (arguments, expected) in [
        (&["--workers", "0"][..], "--workers: workers = \"0\": 0 is outside 1 to 1024"),
        (&["--lissten", "x"], "--listen"),
        (&["--listen"], "--listen"),
        (&["--config", "/does/not/exist"], "/does/not/exist: cannot be read: No such file"),
        (&["--tls-cert", "a.pem"], "--tls-cert: tls_cert = \"a.pem\": needs tls_key"),
        (
            &["--listen=[::]:9", "--admin=[::]:9"],
            "--admin: admin = \"[::]:9\": is the address of listen",
        ),
        (&["--cookie-path", "/a"], "--cookie-path: cookie_path = \"/a\": needs cookie"),
    ] {
        let (status, stdout, stderr) = run(arguments, &[]);
        assert_eq!((status, stdout.as_str()), (Some(2), ""), "{stderr}");
        assert!(stderr.contains(expected), "no {expected} in {stderr}");
    }
}

#[test]
fn check_of_valid_options_ends_with_success() {
    assert_eq!(run(&["--check"], &[]), (Some(0), "the options are valid\n".into(), String::new()));
    let (status, _, stderr) = run(&["--check", "--listen", "host.invalid:1"], &[]);
    assert_eq!(status, Some(2));
    assert!(stderr.contains("listen = host.invalid:1: "), "{stderr}");
}

#[test]
fn check_reads_the_certificate() {
    let identity = Identity::new();
    let (cert, key) = (identity.certificate.to_str().unwrap(), identity.key.to_str().unwrap());
    let arguments = ["--check", "--tls-cert", cert, "--tls-key", key];
    assert_eq!(run(&arguments, &[]).0, Some(0));
    // The key of another certificate.
    let other = TempDir::new();
    let (_, key) = write_identity(&other, &identity.pki.certify("127.0.0.1"));
    let arguments = ["--check", "--tls-cert", cert, "--tls-key", key.to_str().unwrap()];
    let (status, _, stderr) = run(&arguments, &[]);
    assert_eq!(status, Some(2));
    assert!(stderr.contains("--tls-key: tls_key = "), "{stderr}");
    // A file without a key.
    let (status, _, stderr) = run(&["--check", "--tls-cert", cert, "--tls-key", cert], &[]);
    assert_eq!(status, Some(2));
    assert!(stderr.contains("it has no private key"), "{stderr}");
}

#[test]
fn check_warns_of_an_expired_certificate() {
    let mut params = CertificateParams::new(["127.0.0.1".to_owned()]).expect("a name");
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(2020, 2, 1);
    let signing_key = KeyPair::generate().expect("a key");
    let cert = params.self_signed(&signing_key).expect("a certificate");
    let directory = TempDir::new();
    let (cert, key) = write_identity(&directory, &CertifiedKey { cert, signing_key });
    let (cert, key) = (cert.to_str().unwrap(), key.to_str().unwrap());
    let (status, _, stderr) = run(&["--check", "--tls-cert", cert, "--tls-key", key], &[]);
    assert_eq!(status, Some(0), "{stderr}");
    assert!(stderr.contains("WARN") && stderr.contains(cert), "{stderr}");
}
