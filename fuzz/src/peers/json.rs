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
            assert_eq!(read(&theirs).as_ref(), Some(ours));
            // Sorted, without white space, each key once: the same packet.
            let again = Value::Object(theirs).to_string();
            assert_eq!(Open::parse(&again).as_ref(), Ok(ours));
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
                again => assert_eq!(
                    again.ok(),
                    read(&theirs),
                    "without repeated keys, {error:?} with them"
                ),
            }
        }
        // Both refuse it; or it is not an object; or eio-core finds a wrong value before serde_json finds invalid JSON.
        (Err(_), _) => {}
    }
}

fn read(object: &Map<String, Value>) -> Option<Open> {
    let number = |key| u32::try_from(object.get(key)?.as_u64()?).ok();
    let mut upgrades = TransportSet::EMPTY;
    for name in object.get("upgrades")?.as_array()? {
        if let Some(transport) = Transport::from_name(name.as_str()?) {
            upgrades = upgrades.with(transport);
        }
    }
    let max_payload = match object.get("maxPayload") {
        None | Some(Value::Null) => u32::MAX,
        Some(number) => u32::try_from(number.as_u64()?).unwrap_or(u32::MAX),
    };
    Some(Open {
        sid: Sid::new(object.get("sid")?.as_str()?).ok()?,
        upgrades,
        ping_interval_ms: number("pingInterval")?,
        ping_timeout_ms: number("pingTimeout")?,
        max_payload,
    })
}
