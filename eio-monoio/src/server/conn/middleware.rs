//! Calls middlewares that await, before a request for Engine.IO's path has an effect.

use crate::server::cause::Cause;
use crate::server::conn::Conn;
use crate::server::conn::decide::{Action, Ask};
use crate::server::conn::handshake::{before_session, stop_cause};
use crate::server::conn::header_slots::FieldSlots;
use crate::server::conn::http::Request;
use crate::server::connection_error::{ConnectionError, Refused};
use crate::server::handler::Handler;
use crate::server::hooks;
use crate::server::refusal::Refusal;
use crate::server::shard::Shard;
use crate::web::persistence::Persistence;
use crate::web::request::RequestInfo;
use crate::worker::tasks::Stopped;

/// Replaces the action of a request by the one that the middlewares admit, or by their refusal.
///
/// It takes the connection and the request, and returns them, so that its caller's future has no room for them.
pub(super) async fn ask<H: Handler>(
    shard: &Shard<H>,
    mut conn: Box<Conn<H::Session>>,
    request: Request<H::Session>,
) -> (Box<Conn<H::Session>>, Request<H::Session>) {
    let Request { action: Action::Ask(ask), body, mut persistence } = request else {
        return (conn, request);
    };
    // A middleware may await for long, and the head is mostly much smaller than the receive buffer.
    conn.shrink_rx();
    let head_only = ask.head.head(conn.rx.unread(), &mut FieldSlots::new()).method == "HEAD";
    let refusal = admit(shard, &mut conn, &ask).await.err();
    let action = match refusal {
        None => *ask.then,
        Some(refusal) => {
            if !body.is_empty() {
                // The body is not read, and would be parsed as the next request.
                persistence = Persistence::Close;
            }
            Action::Denied { refusal, head_only }
        }
    };
    (conn, Request { action, body, persistence })
}

async fn admit<H: Handler>(
    shard: &Shard<H>,
    conn: &mut Conn<H::Session>,
    ask: &Ask<H::Session>,
) -> Result<(), Refusal> {
    let state = &shard.state;
    let mut slots = FieldSlots::new();
    let head = ask.head.head(conn.http.rx.unread(), &mut slots);
    let attached = std::mem::take(&mut conn.attached);
    let info = state.info(head, conn.http.stream(), conn.peer, &conn.via);
    let info = RequestInfo { attached, ..info };
    let admitting = state.tasks.start(|| state.hooks.admit_async(&info));
    let admitted = match before_session(state, conn, admitting).await {
        Ok(admitted) => admitted.map_err(|refusal| {
            conn.log(Cause::Middleware, &refusal);
            (refusal, ConnectionError::Middleware)
        }),
        Err(Stopped::Panicked) => {
            crate::log::error!("a middleware panicked; its request is refused");
            Err((Refusal::broken(), ConnectionError::Middleware))
        }
        Err(Stopped::Aborted) => {
            conn.log(stop_cause(state, Cause::MiddlewareTimeout), "");
            Err((Refusal::unavailable(), ConnectionError::Unavailable))
        }
    };
    match &admitted {
        Ok(()) => {
            if let Some(reason) = ask.refused {
                reason.log(state, &info, None);
                if let Some(error) = reason.error {
                    state.hooks.report(&info, error);
                }
            }
        }
        Err((refusal, error)) => {
            state.hooks.report(&info, Refused { error: *error, refusal: Some(refusal) });
        }
    }
    hooks::write_attached(&mut conn.extra, &info);
    conn.attached = info.attached;
    admitted.map_err(|(refusal, _)| refusal)
}
