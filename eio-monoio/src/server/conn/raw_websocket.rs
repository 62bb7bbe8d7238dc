//! WebSockets on paths other than Engine.IO's.

use std::pin::pin;
use std::rc::Rc;

use eio_core::packet::Message;
use eio_core::ws::Role;
use eio_core::ws::deflate::Terms;

use crate::io::raw_websocket::{PlainSocket, Reader};
use crate::io::ws_conn::{Wire, drive};
use crate::io::ws_reader::Inbound;
use crate::server::conn::Conn;
use crate::server::hooks::OnPlain;
use crate::server::shard::Core;

/// Goes on as a task of its own.
pub(crate) fn start<T: 'static>(
    core: &Rc<Core<T>>,
    conn: Box<Conn<T>>,
    deflate: Option<Terms>,
    on_message: OnPlain,
) {
    let (outward, inward) = core.deflate(deflate);
    let (wire, rx) = Wire::new(conn.line, Role::Server, outward);
    let core = core.clone();
    let tasks = core.clone();
    tasks.tasks.spawn(async move {
        let socket = PlainSocket::new(&wire, &core.local, Role::Server);
        let entry = core.add_plain(socket.clone());
        let inbound = Inbound::new(Role::Server, core.config.max_payload, inward);
        let on_message = |socket: &PlainSocket, message: Message<'_>| {
            core.tasks.call(|| on_message(socket, message))
        };
        let reader = Reader { wire: &wire, socket: &socket, rx, inbound, on_message: &on_message };
        drive(&wire, pin!(async { _ = reader.run().await })).await;
        core.remove_plain(entry);
    });
}
