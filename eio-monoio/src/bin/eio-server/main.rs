//! `eio-server`: an echo and broadcast server for load tests, with every option of the library, and the template of a
//! server of one's own. See `--help` and `docs/operations.md`.

mod access;
mod app;
mod cli;
mod file;
mod listen;
mod log;
mod notify;
mod options;
mod settings;
mod value;

use std::fmt::Display;
use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use eio_monoio::{Config, Driver, Endpoint, Listener, Running, ServeError, Server, Tls};
use tracing::Level;

use app::{Admin, App};
use listen::{Inherited, Listen};
use log::Format;
use notify::notify;
use settings::Settings;

/// An option is wrong; the service manager should not try again.
const WRONG_OPTION: u8 = 2;

fn main() -> ExitCode {
    let sources = match cli::read(std::env::args_os(), std::env::vars_os()) {
        Ok(sources) => sources,
        Err(error) => {
            // `--help` and `--version` are no failures.
            _ = error.print();
            return if error.use_stderr() { WRONG_OPTION.into() } else { ExitCode::SUCCESS };
        }
    };
    if sources.example_config {
        _ = io::stdout().write_all(file::example().as_bytes());
        return ExitCode::SUCCESS;
    }
    // Warnings about certificates are part of a check.
    let mut log = sources.check.then(|| log::start(Level::WARN, Format::Text, false));
    let code = match sources.given.check(sources.errors) {
        Ok((settings, _)) if sources.check => check(&settings),
        Ok((settings, tls)) => {
            log = Some(log::start(settings.log_level, settings.log_format, settings.access_log));
            for name in &sources.unknown {
                tracing::warn!(name, "no option has this variable");
            }
            serve(settings, tls).map_or_else(|error| fail(&error, 1), |()| ExitCode::SUCCESS)
        }
        Err(lines) => {
            lines.iter().for_each(report);
            WRONG_OPTION.into()
        }
    };
    if let Some(log) = log {
        log.flush(Duration::from_secs(1));
    }
    code
}

/// Writes an error to standard error, which may be closed.
fn report(error: impl Display) {
    _ = writeln!(io::stderr(), "eio-server: {error}");
}

fn fail(error: &dyn Display, code: u8) -> ExitCode {
    report(error);
    code.into()
}

fn check(settings: &Settings) -> ExitCode {
    let listen = ("listen", Some(&settings.listen));
    for (option, address) in [listen, ("admin", settings.admin.as_ref())] {
        if let Some(address) = address
            && let Err(error) = address.check()
        {
            return fail(&format_args!("{option} = {address}: {error}"), WRONG_OPTION);
        }
    }
    _ = writeln!(io::stdout(), "the options are valid");
    ExitCode::SUCCESS
}

/// Names the option that an error of the operating system is about.
fn of(option: &str, error: ServeError) -> ServeError {
    match error {
        ServeError::Io(error) => {
            let text = error.to_string();
            let option = if text.starts_with("no io_uring") { "driver" } else { option };
            io::Error::new(error.kind(), format!("{option}: {text}")).into()
        }
        error => error,
    }
}

/// Runs the server, and the admin address for as long.
fn serve(settings: Settings, tls: Option<Tls>) -> Result<(), ServeError> {
    let Settings { listen, admin, mode, config, path, access_log, .. } = settings;
    let inherited = Inherited::take()?;
    inherited.warn_of_unused(&listen, admin.as_ref());
    let scheme = if tls.is_some() { "https" } else { "http" };
    let server = Server::new(move || App { mode }).config(config);
    let server = match tls {
        Some(tls) => server.tls(tls),
        None => server,
    };
    let server = if access_log { server.access_log(access::log) } else { server };
    let running = listen.start(server, inherited.listen).map_err(|error| of("listen", error))?;
    let admin = match admin {
        Some(admin) => Some(start_admin(&admin, &running, inherited.admin)?),
        None => None,
    };
    announce(&running, scheme, &path);
    notify("READY=1");
    let ended = running.join();
    // It answers to the end: the process is alive, and not ready.
    drop(admin);
    match &ended {
        Ok(()) => tracing::info!("the server has ended"),
        Err(error) => tracing::error!(%error, "the server has ended"),
    }
    ended
}

/// Starts the admin address. It has a worker of its own, so that it answers while the others are busy.
fn start_admin(
    listen: &Listen,
    running: &Running,
    inherited: Vec<Listener>,
) -> Result<Running, ServeError> {
    let remote = running.remote();
    let config = Config::new()
        .workers(1)
        .driver(Driver::Epoll)
        .max_connections(32)
        .lag_interval(Duration::ZERO)
        .shutdown_grace(Duration::ZERO)
        .shutdown_timeout(Duration::from_secs(1));
    let server = Server::new(move || Admin { server: remote.clone() }).config(config);
    let running = listen.start(server, inherited).map_err(|error| of("admin", error))?;
    for endpoint in running.endpoints() {
        tracing::info!(%endpoint, "admin address: /healthz, /readyz, /metrics");
    }
    Ok(running)
}

/// Writes the lines that scripts wait for. Standard output may be closed.
fn announce(running: &Running, scheme: &str, path: &str) {
    for endpoint in running.endpoints() {
        let (driver, workers) = (running.driver(), running.workers());
        // Unix-domain sockets have no TLS.
        let scheme = if matches!(endpoint, Endpoint::Unix(_)) { "http" } else { scheme };
        _ = writeln!(
            io::stdout(),
            "listening on {scheme}://{endpoint}{path} driver={driver} workers={workers}"
        );
    }
}
