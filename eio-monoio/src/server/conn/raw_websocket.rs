//! Serves a WebSocket on a path other than Engine.IO's.

use std::pin::pin;
use std::rc::Rc;

use eio_core::packet::Message;
use eio_core::ws::Role;
use eio_core::ws::deflate::Terms;

use crate::io::raw_websocket::{PlainSocket, Reader};
use crate::io::ws_conn::{self, WsConn};
use crate::io::ws_reader::WsReader;
use crate::server::conn::Conn;
use crate::server::hooks::OnRawWebSocket;
use crate::server::shard::ShardState;

/// Continues the connection as a raw WebSocket, in a task of its own.
pub(crate) fn start<T: 'static>(
    state: &Rc<ShardState<T>>,
    conn: Box<Conn<T>>,
    deflate: Option<Terms>,
    on_message: OnRawWebSocket,
) {
    let (outward, inward) = state.deflate(deflate);
    let (ws, rx) = WsConn::new(conn.http, Role::Server, outward);
    let state = state.clone();
    let tasks = state.clone();
    tasks.tasks.spawn(async move {
        let socket = PlainSocket::new(&ws, &state.worker, Role::Server);
        let entry = state.add_raw_websocket(socket.clone());
        let reader = WsReader::new(Role::Server, state.config.max_payload, inward, rx);
        let on_message = |socket: &PlainSocket, message: Message<'_>| {
            state.tasks.call(|| on_message(socket, message))
        };
        let reader = Reader { ws: &ws, socket: &socket, reader, on_message: &on_message };
        ws_conn::run(&ws, pin!(async { _ = reader.run().await })).await;
        state.remove_raw_websocket(entry);
    });
}
