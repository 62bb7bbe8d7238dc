//! The path of a URL into one that may be looked for below a directory. It is `eio-monoio`'s, compiled from there.

use std::path::{Component, Path};

#[path = "../../../eio-monoio/src/web/path.rs"]
mod path;

pub(crate) use path::decode;

pub(crate) fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Some(decoded) = decode(text) else { return };
    let rest = decoded.strip_prefix('/').expect("a path begins with a slash");
    assert!(
        !decoded.contains(['\\', '\0']) && !decoded.bytes().any(|byte| byte.is_ascii_control())
    );

    // Joined to a directory it stays in it, also to those who do not ask us.
    let inside = Path::new("/srv/public").join(rest);
    let mut components = inside.strip_prefix("/srv/public").expect("below it").components();
    assert!(components.all(|component| matches!(component, Component::Normal(_))), "{decoded:?}");

    // No two slashes in a row, so that one file has one path.
    assert!(!decoded.contains("//"));

    // Encoding hides nothing: every byte but the slash written as its number is the same path.
    let encoded: String = decoded
        .bytes()
        .map(|byte| if byte == b'/' { "/".into() } else { format!("%{byte:02x}") })
        .collect();
    assert_eq!(decode(&encoded).as_ref(), Some(&decoded));
    assert_eq!(decode(&encoded.to_uppercase()).as_ref(), Some(&decoded));

    // Who hides a name by its dot finds it hidden however it was written.
    for segment in rest.split('/') {
        assert_eq!(path::is_hidden(segment), segment.starts_with('.') && segment != ".well-known");
    }
}
