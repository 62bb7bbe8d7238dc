//! The JSON of an open packet, as serde_json reads it.

use eio_core::open::{Error, Open};
use eio_core::sid::Sid;
use eio_core::transport::{Transport, TransportSet};
use serde_json::{Map, Value};

pub(crate) fn open(data: &[u8]) {
    let Ok(json) = std::str::from_utf8(data) else { return };
    let ours = Open::parse(json);
    let theirs = serde_json::from_str::<Value>(json);
    match (&ours, theirs) {
        // eio-core does not decode escapes: no known key or value needs one, so a string with an escape is unknown.
        _ if json.contains('\\') => {}
        (Ok(ours), Ok(Value::Object(theirs))) => {
            same(read(&theirs).as_ref(), Some(ours), json);
            // Sorted, without white space, each key once: the same packet.
            let again = Value::Object(theirs).to_string();
            same(Open::parse(&again).ok().as_ref(), Some(ours), json);
        }
        (Ok(_), Ok(other)) => panic!("{other} is not an object"),
        // eio-core skips unknown values without full validation.
        (Ok(_), Err(_)) => {}
        (Err(error), Ok(Value::Object(theirs))) => {
            // eio-core checks each value, serde_json the last of equal keys: if a key occurs twice, a wrong first
            // value is an error in eio-core only. With each key once both agree, except for a depth that no server
            // needs.
            let again = Value::Object(theirs.clone()).to_string();
            match Open::parse(&again) {
                Err(Error::TooDeep) => assert!(json.matches(['[', '{']).count() > 8),
                // Without repeated keys, and `error` with them.
                again => {
                    same(
                        again.ok().as_ref(),
                        read(&theirs).as_ref(),
                        &format!("{error:?}: {json}"),
                    );
                }
            }
        }
        // Both refuse it; or it is not an object; or eio-core finds a wrong value before serde_json finds invalid JSON.
        (Err(_), _) => {}
    }
}

/// Both are the same packet. A number with a fraction or an exponent may differ by one: serde_json rounds it to a binary
/// number, and eio-core cuts the fraction of a large one.
fn same(left: Option<&Open>, right: Option<&Open>, json: &str) {
    let exponent = |pair: &[u8]| pair[0].is_ascii_digit() && matches!(pair[1], b'e' | b'E');
    let slack = u32::from(json.contains('.') || json.as_bytes().windows(2).any(exponent));
    let close = |left: u32, right: u32| left.abs_diff(right) <= slack;
    let (Some(left), Some(right)) = (left, right) else {
        return assert_eq!(left, right, "{json}");
    };
    assert_eq!((&left.sid, left.upgrades), (&right.sid, right.upgrades), "{json}");
    let near = close(left.ping_interval_ms, right.ping_interval_ms)
        && close(left.ping_timeout_ms, right.ping_timeout_ms)
        && close(left.max_payload, right.max_payload);
    assert!(near, "{left:?} differs from {right:?}: {json}");
}

/// A number, at most `u32::MAX`, or a string of digits: servers compute these, and some write text.
fn number(value: &Value) -> Option<u32> {
    match value {
        Value::String(text) if text.bytes().all(|byte| byte.is_ascii_digit()) => {
            (!text.is_empty()).then(|| text.parse().unwrap_or(u32::MAX))
        }
        Value::Number(number) => {
            let number = number.as_f64().filter(|number| number.is_sign_positive())?;
            // A cast saturates.
            Some(number.round() as u32)
        }
        _ => None,
    }
}

fn read(object: &Map<String, Value>) -> Option<Open> {
    let mut upgrades = TransportSet::EMPTY;
    for name in object.get("upgrades")?.as_array()? {
        if let Some(transport) = Transport::from_name(name.as_str()?) {
            upgrades = upgrades.with(transport);
        }
    }
    let max_payload = match object.get("maxPayload") {
        None | Some(Value::Null) => u32::MAX,
        Some(value) => number(value)?,
    };
    Some(Open {
        sid: Sid::new(object.get("sid")?.as_str()?).ok()?,
        upgrades,
        ping_interval_ms: number(object.get("pingInterval")?)?,
        ping_timeout_ms: number(object.get("pingTimeout")?)?,
        max_payload,
    })
}
