//! Starts the tasks of lanes.

use std::rc::Rc;

use eio_core::session::Lane;

use crate::client::session::Session;
use crate::client::{polling, websocket};
use crate::message::OutBuf;

/// Starts the task of `lane`; see [`RunLane`](crate::client::session::RunLane).
pub(crate) fn run(session: &Rc<Session>, lane: Lane, body: OutBuf) {
    let owned = session.clone();
    match lane {
        Lane::Get => session.spawn(polling::get(owned)),
        Lane::Post => session.spawn(polling::post(owned, body)),
        Lane::WebSocket => session.spawn(websocket::run(owned)),
    }
}
