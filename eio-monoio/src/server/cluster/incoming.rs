//! Messages from the engine: hellos, messages for sessions of this node, questions.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};

use eio_core::cluster::bus::{EXCEPT, FROM, Many, MessageKind, Received, Stamp, parse_except};
use eio_core::cluster::hello::{Hello, State};
use eio_core::cluster::members::Channel;
use eio_core::packet::Message;
use eio_core::sid::Sid;

use crate::error::SendError;
use crate::message::{Encoded, OwnedMessage};
use crate::metrics::cluster::ClusterCounters;
use crate::server::cluster::engine::{Answer, Delivery, Exchange, Publication};
use crate::server::cluster::hub::{Hub, ORDER};
use crate::server::cluster::local::LocalSessions;

impl Exchange for Hub {
    fn poll_next(&self, cx: &mut Context<'_>) -> Poll<Option<Publication>> {
        self.take_publication(cx)
    }

    fn connected(&self, max_payload: usize) {
        self.engine_connected(max_payload);
    }

    fn disconnected(&self, reason: &dyn fmt::Display) {
        self.engine_lost(reason);
    }

    fn receive(&self, deliveries: &mut Vec<Delivery>) {
        sort(deliveries);
        let Some(local) = self.local() else { return deliveries.clear() };
        for delivery in deliveries.drain(..) {
            self.handle(&local, delivery);
        }
    }

    fn answered(&self, question: u64, answer: Answer) {
        self.question_answered(question, answer);
    }

    fn dropped(&self, messages: u64) {
        ClusterCounters::add(&self.counters.dropped, messages);
    }
}

/// Why a message had no effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Dropped {
    Malformed,
    Undelivered(SendError),
}

impl From<SendError> for Dropped {
    fn from(error: SendError) -> Self {
        Self::Undelivered(error)
    }
}

impl Hub {
    fn handle(&self, local: &Arc<dyn LocalSessions>, delivery: Delivery) {
        let Some(received) = self.subjects.parse(&delivery.subject) else { return };
        let channel = match received {
            Received::Hello => return self.handle_hello(&delivery.payload),
            Received::AskAlive => {
                if let Some(reply) = delivery.reply {
                    self.reply(reply, self.hello());
                }
                return;
            }
            Received::AskTransport => return self.tell_transport(local, delivery),
            Received::AllText | Received::AllBinary | Received::AllClose => Channel::All,
            _ => Channel::Direct,
        };
        ClusterCounters::add(&self.counters.received, 1);
        if let Some(stamp) = delivery.header(FROM).and_then(Stamp::parse) {
            self.count(channel, &stamp);
        }
        if let Err(dropped) = deliver(&**local, received, delivery) {
            ClusterCounters::add(&self.counters.dropped, 1);
            match dropped {
                Dropped::Malformed => crate::log::warn!("a message of the engine is malformed"),
                Dropped::Undelivered(error) => {
                    crate::log::warn!(%error, "a message of another node is dropped");
                }
            }
        }
    }

    pub(super) fn handle_hello(&self, bytes: &[u8]) {
        let mut random = [0; 4];
        if getrandom::fill(&mut random).is_err() {
            // It only spreads the answers of many nodes to one.
            random = [0; 4];
        }
        match Hello::parse(bytes) {
            Ok(hello) => {
                self.input(|members, now| {
                    members.handle_hello(&hello, u32::from_le_bytes(random), now);
                });
                // With each hello until the end: clients may poll through that node again.
                if hello.state == State::Leaving
                    && let Some(peer) = self.find(hello.identity.tag.as_str())
                    && let Some(local) = self.local()
                {
                    local.node_leaving(peer.id);
                }
            }
            Err(error) => crate::log::warn!(?error, "a hello of another node is ignored"),
        }
    }

    fn tell_transport(&self, local: &Arc<dyn LocalSessions>, delivery: Delivery) {
        let text = std::str::from_utf8(&delivery.payload).ok();
        let (Some(reply), Some(sid)) = (delivery.reply, text.and_then(|text| Sid::new(text).ok()))
        else {
            return;
        };
        let weak = self.weak();
        local.transport(
            sid,
            Box::new(move |transport| {
                let name = transport.map(|transport| transport.to_string()).unwrap_or_default();
                if let Some(hub) = weak.upgrade() {
                    hub.reply(reply, name.into_bytes());
                }
            }),
        );
    }
}

fn deliver(
    local: &dyn LocalSessions,
    received: Received,
    delivery: Delivery,
) -> Result<(), Dropped> {
    let text = |bytes: Vec<u8>| {
        let text = String::from_utf8(bytes).map_err(|_| Dropped::Malformed)?;
        local.check(Message::Text(&text))?;
        Ok::<_, Dropped>(text)
    };
    let except = |delivery: &Delivery| -> Vec<Sid> {
        delivery.header(EXCEPT).map(|sids| parse_except(sids).collect()).unwrap_or_default()
    };
    match received {
        Received::Text(sid) => {
            local.send(sid, OwnedMessage::Text(text(delivery.payload)?))?;
        }
        Received::Binary(sid) => local.send(sid, OwnedMessage::Binary(delivery.payload))?,
        Received::Close(sid) => local.disconnect(sid),
        Received::Many => {
            let many = Many::parse(&delivery.payload).map_err(|_| Dropped::Malformed)?;
            let sids: Vec<Sid> = many.sids().collect();
            let message = match many.kind() {
                MessageKind::Close => {
                    sids.into_iter().for_each(|sid| local.disconnect(sid));
                    return Ok(());
                }
                MessageKind::Binary => Message::Binary(many.data()),
                MessageKind::Text => {
                    let text = std::str::from_utf8(many.data()).map_err(|_| Dropped::Malformed)?;
                    Message::Text(text)
                }
            };
            local.check(message)?;
            local.send_many(sids, &Encoded::new(message))?;
        }
        Received::AllText => {
            let except = except(&delivery);
            let text = text(delivery.payload)?;
            local.broadcast(&Encoded::new(Message::Text(&text)), except)?;
        }
        Received::AllBinary => {
            let except = except(&delivery);
            local.broadcast(&Encoded::new(Message::Binary(&delivery.payload)), except)?;
        }
        Received::AllClose => local.disconnect_all(),
        // Handled before.
        _ => {}
    }
    Ok(())
}

/// Sorts the messages of each sender by the order in which it sent them. The engine's client has a queue for each
/// subscription, so that a message to all may be found before one to this node that was sent earlier.
fn sort(deliveries: &mut [Delivery]) {
    if deliveries.len() < 2 {
        return;
    }
    let order = |delivery: &Delivery| -> Option<(String, u64)> {
        let (sender, number) = delivery.header(ORDER)?.split_once(' ')?;
        Some((sender.to_owned(), number.parse().ok()?))
    };
    let mut senders: HashMap<String, Vec<(u64, usize)>> = HashMap::new();
    for (place, delivery) in deliveries.iter().enumerate() {
        if let Some((sender, number)) = order(delivery) {
            senders.entry(sender).or_default().push((number, place));
        }
    }
    // The places of a sender's messages stay; which message has which of them is sorted.
    let mut moved: Vec<usize> = (0..deliveries.len()).collect();
    for mut messages in senders.into_values() {
        let places: Vec<usize> = messages.iter().map(|(_, place)| *place).collect();
        if messages.is_sorted() {
            continue;
        }
        messages.sort_unstable();
        for (place, (_, from)) in places.into_iter().zip(messages) {
            moved[place] = from;
        }
    }
    let mut taken: Vec<Option<Delivery>> =
        deliveries.iter_mut().map(|delivery| Some(std::mem::take(delivery))).collect();
    for (place, from) in moved.into_iter().enumerate() {
        deliveries[place] = taken[from].take().unwrap_or_default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delivery(subject: &str, order: Option<&str>) -> Delivery {
        let headers = order.map(|order| (ORDER.to_owned(), order.to_owned()));
        Delivery { headers: headers.into_iter().collect(), ..Delivery::new(subject, Vec::new()) }
    }

    #[test]
    fn messages_of_a_sender_are_sorted_and_others_keep_their_places() {
        let mut deliveries = vec![
            delivery("b2", Some("b 2")),
            delivery("x", None),
            delivery("a10", Some("a 10")),
            delivery("b1", Some("b 1")),
            delivery("y", Some("malformed")),
            delivery("a9", Some("a 9")),
        ];
        sort(&mut deliveries);
        let subjects: Vec<_> = deliveries.iter().map(|delivery| &*delivery.subject).collect();
        assert_eq!(subjects, ["b1", "x", "a9", "b2", "y", "a10"]);
    }
}
