//! The log: lines of text or JSON on standard error, by a writer that neither blocks nor panics.

mod writer;

pub(crate) use writer::Writer;

use tracing::Level;
use tracing::subscriber::set_global_default;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;

use crate::access;

/// The form of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Text,
    Json,
}

/// Writes lines of `level` and above to standard error, panics too, and those of the access log if it is on.
pub(crate) fn start(level: Level, format: Format, access_log: bool) -> Writer {
    let writer = Writer::start();
    let lines = writer.clone();
    let log = tracing_subscriber::fmt()
        .with_writer(move || lines.clone())
        .with_max_level(level.max(Level::INFO))
        .with_ansi(false)
        // The subscriber would report its own errors to standard error, and panic if that fails.
        .log_internal_errors(false);
    // Not `init`: that would also take the events of the crate `log`, which are not guarded against panics.
    let filter = Targets::new().with_default(level);
    let filter = if access_log { filter.with_target(access::TARGET, Level::INFO) } else { filter };
    let started = match format {
        Format::Text => set_global_default(log.finish().with(filter)),
        Format::Json => set_global_default(log.json().flatten_event(true).finish().with(filter)),
    };
    // Called once.
    debug_assert!(started.is_ok());
    // The default hook writes to standard error directly, which may block.
    std::panic::set_hook(Box::new(|panic| tracing::error!("{panic}")));
    writer
}
