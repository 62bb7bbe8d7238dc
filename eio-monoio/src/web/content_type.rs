//! Media types by file extension.

/// The media type of an extension, in any case; `None` if the table does not have it.
pub(crate) fn by_extension(extension: &str) -> Option<&'static str> {
    let known = TABLE.iter().find(|(known, _)| known.eq_ignore_ascii_case(extension));
    known.map(|(_, content_type)| *content_type)
}

/// The extension of the last segment, without its dot; empty if it has no dot.
pub(crate) fn extension(path: &str) -> &str {
    let name = path.rsplit('/').next().unwrap_or_default();
    name.rsplit_once('.').map_or("", |(_, extension)| extension)
}

/// Whether the type is text whose encoding browsers would guess without a `charset`.
pub(crate) fn wants_charset(content_type: &str) -> bool {
    !content_type.contains(';')
        && (content_type.starts_with("text/") || content_type == "image/svg+xml")
}

/// The type of unknown extensions, as in python-engineio.
pub(crate) const UNKNOWN: &str = "application/octet-stream";

/// JavaScript according to RFC 9239; the others according to the media type registry of IANA.
const TABLE: [(&str, &str); 41] = [
    ("html", "text/html"),
    ("htm", "text/html"),
    ("css", "text/css"),
    ("js", "text/javascript"),
    ("mjs", "text/javascript"),
    ("txt", "text/plain"),
    ("md", "text/markdown"),
    ("csv", "text/csv"),
    ("xml", "text/xml"),
    ("ics", "text/calendar"),
    ("vtt", "text/vtt"),
    ("json", "application/json"),
    ("map", "application/json"),
    ("webmanifest", "application/manifest+json"),
    ("wasm", "application/wasm"),
    ("pdf", "application/pdf"),
    ("zip", "application/zip"),
    ("gz", "application/gzip"),
    ("tar", "application/x-tar"),
    ("xhtml", "application/xhtml+xml"),
    ("atom", "application/atom+xml"),
    ("rss", "application/rss+xml"),
    ("gif", "image/gif"),
    ("jpg", "image/jpeg"),
    ("jpeg", "image/jpeg"),
    ("png", "image/png"),
    ("svg", "image/svg+xml"),
    ("webp", "image/webp"),
    ("avif", "image/avif"),
    ("bmp", "image/bmp"),
    ("ico", "image/x-icon"),
    ("woff", "font/woff"),
    ("woff2", "font/woff2"),
    ("ttf", "font/ttf"),
    ("otf", "font/otf"),
    ("mp3", "audio/mpeg"),
    ("ogg", "audio/ogg"),
    ("wav", "audio/wav"),
    ("flac", "audio/flac"),
    ("mp4", "video/mp4"),
    ("webm", "video/webm"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_media_type_follows_from_the_extension() {
        for (path, expected) in [
            ("a.css", Some("text/css")),
            ("a.GIF", Some("image/gif")),
            ("a.html", Some("text/html")),
            ("a.jpg", Some("image/jpeg")),
            ("a.min.js", Some("text/javascript")),
            ("x.y/a.json", Some("application/json")),
            ("a.png", Some("image/png")),
            ("a.txt", Some("text/plain")),
            ("a.unknown", None),
            ("txt", None),
            ("x.txt/noext", None),
            ("", None),
        ] {
            assert_eq!(by_extension(extension(path)), expected, "{path}");
        }
    }

    #[test]
    fn only_text_gets_a_charset() {
        assert!(wants_charset("text/html") && wants_charset("image/svg+xml"));
        assert!(!wants_charset("text/html; charset=latin1") && !wants_charset("image/png"));
        // RFC 8259 section 11: "No "charset" parameter is defined for this registration."
        assert!(!wants_charset("application/json"));
    }
}
