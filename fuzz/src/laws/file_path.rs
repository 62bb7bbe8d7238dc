//! Decoding of a URL's path into a file name below a directory. The code is that of `eio-monoio`.

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

    // Joined to a directory the path stays in it, by the rules of `std`, too.
    let inside = Path::new("/srv/public").join(rest);
    let mut components = inside.strip_prefix("/srv/public").expect("below it").components();
    assert!(components.all(|component| matches!(component, Component::Normal(_))), "{decoded:?}");

    // No two slashes in a row, so that one file has one path.
    assert!(!decoded.contains("//"));

    // Percent-encoding every byte except the slash gives the same path.
    let encoded: String = decoded
        .bytes()
        .map(|byte| if byte == b'/' { "/".into() } else { format!("%{byte:02x}") })
        .collect();
    assert_eq!(decode(&encoded).as_ref(), Some(&decoded));
    assert_eq!(decode(&encoded.to_uppercase()).as_ref(), Some(&decoded));

    // A name that begins with a dot is hidden in any encoding.
    for segment in rest.split('/') {
        assert_eq!(path::is_hidden(segment), segment.starts_with('.') && segment != ".well-known");
    }
}
