//! The log of the examples.

#[path = "../../src/bin/eio-server/log/writer.rs"]
mod writer;

use writer::Writer;

/// Writes lines of `level` and above to standard error, and panics too.
pub(crate) fn start(level: tracing::Level) {
    let writer = Writer::start();
    tracing_subscriber::fmt()
        .with_writer(move || writer.clone())
        .with_max_level(level)
        .with_ansi(false)
        // The subscriber would report its own errors to standard error, and panic if that fails.
        .log_internal_errors(false)
        .init();
    // The default hook writes to standard error directly, which may block.
    std::panic::set_hook(Box::new(|panic| tracing::error!("{panic}")));
}
