//! The log: lines of text or JSON on standard error, by a writer that neither blocks nor panics.

mod writer;

pub(crate) use writer::Writer;

use tracing::Level;

/// The form of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Text,
    Json,
}

/// Writes lines of `level` and above to standard error, and panics too.
pub(crate) fn start(level: Level, format: Format) -> Writer {
    let writer = Writer::start();
    let lines = writer.clone();
    let log = tracing_subscriber::fmt()
        .with_writer(move || lines.clone())
        .with_max_level(level)
        .with_ansi(false)
        // The subscriber would report its own errors to standard error, and panic if that fails.
        .log_internal_errors(false);
    // Not `init`: that would also take the events of the crate `log`, which are not guarded against panics.
    let started = match format {
        Format::Text => tracing::subscriber::set_global_default(log.finish()),
        Format::Json => {
            tracing::subscriber::set_global_default(log.json().flatten_event(true).finish())
        }
    };
    // Called once.
    debug_assert!(started.is_ok());
    // The default hook writes to standard error directly, which may block.
    std::panic::set_hook(Box::new(|panic| tracing::error!("{panic}")));
    writer
}
