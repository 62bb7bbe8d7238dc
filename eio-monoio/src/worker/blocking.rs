//! [`blocking`]: work that blocks a thread, awaited by a handler.

use crate::worker::context::WorkerContext;
use crate::worker::thread_pool::shared_pool;

/// Calls `work` on a thread on which it may block, and completes with its output: for database drivers, password
/// hashes, files, and every other call that would hold up all sessions of a worker.
///
/// A server has [`blocking_threads`](crate::Config::blocking_threads) such threads, which start when there is work and
/// end after 5 s without. If all of them are busy, further work waits for them, in order. Elsewhere, clients of
/// [`block_on`](crate::client::block_on) included, 8 threads serve the whole process.
///
/// Dropping the future takes back work that has not begun; work that has begun runs to its end, and its output is dropped.
///
/// ```
/// use eio_monoio::{Message, OwnedMessage, Socket, blocking};
///
/// /// Answers with a hash that takes long to compute.
/// fn hash<'s>(socket: &Socket<()>, message: Message<'_>) -> impl Future<Output = ()> + use<'s> {
///     let (socket, message) = (socket.clone(), OwnedMessage::from(message));
///     async move {
///         let hash = blocking(move || slow_hash(message)).await;
///         socket.send(hash).await.ok();
///     }
/// }
/// # fn slow_hash(_: OwnedMessage) -> String { String::new() }
/// ```
///
/// # Panics
/// If `work` panics: in a handler that ends its session, as any other panic does. Also if the operating system starts no
/// thread.
pub async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let pool = WorkerContext::current().map_or_else(shared_pool, |worker| worker.thread_pool());
    match pool.run(work) {
        // The waker of an application's future may be used on any thread already.
        Ok(output) => match output.await {
            Ok(output) => output,
            Err(panic) => std::panic::resume_unwind(panic),
        },
        Err(error) => panic!("no thread for blocking work: {error}"),
    }
}
