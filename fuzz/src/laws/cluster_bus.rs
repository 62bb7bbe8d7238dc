//! Subjects, headers and bodies of messages on the bus of a cluster. Any program may publish them.

use eio_core::cluster::bus::{
    Many, Received, Stamp, Subjects, is_publishable, parse_except, write_many,
};
use eio_core::sid::Sid;

use super::out::Out;

pub(crate) fn run(data: &[u8]) {
    many(data);
    let Ok(text) = std::str::from_utf8(data) else { return };
    subject(text);
    if let Some(stamp) = Stamp::parse(text) {
        let written = stamp.to_string();
        assert_eq!(Stamp::parse(&written), Some(stamp));
    }
    assert!(parse_except(text).count() <= text.len() / 2 + 1);
}

fn many(data: &[u8]) {
    let Ok(many) = Many::parse(data) else { return };
    let sids: Vec<Sid> = many.sids().collect();
    let mut out = Out::new();
    write_many(many.kind(), &sids, many.data(), &mut out).expect("room without end");
    assert_eq!(out.bytes, data, "a body has one form");
}

fn subject(text: &str) {
    let subjects = Subjects::new("c").expect("legal");
    let Some(received) = subjects.parse(text) else { return };
    assert!(text.starts_with("eio.c."), "{text}");
    // A subject has no empty part, and none that is a wildcard.
    assert!(
        text.split('.').all(|token| !token.is_empty() && token != "*" && token != ">"),
        "{text}"
    );
    let written = match &received {
        Received::Text(sid) => subjects.text(sid),
        Received::Binary(sid) => subjects.binary(sid),
        Received::Close(sid) => subjects.close(sid),
        Received::AllText => subjects.all_text(),
        Received::AllBinary => subjects.all_binary(),
        Received::AllClose => subjects.all_close(),
        // These name a tag, which the receiver knows: it is its own.
        _ => return,
    };
    assert_eq!(&*written, text, "a subject has one form");
    if let Received::Text(sid) | Received::Binary(sid) | Received::Close(sid) = received {
        assert!(is_publishable(&sid));
    }
}
