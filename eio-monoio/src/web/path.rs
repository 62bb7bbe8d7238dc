//! The path of a URL as a path below a directory. It depends on nothing else, so that it can be fuzzed.

/// Percent-decodes a path. `None` if it has an encoded slash, a backslash, a control character, an empty segment or a
/// segment `.` or `..`, or is not UTF-8.
pub(crate) fn decode(path: &str) -> Option<String> {
    let mut decoded = Vec::with_capacity(path.len());
    let mut bytes = path.bytes();
    while let Some(byte) = bytes.next() {
        let is_encoded = byte == b'%';
        let byte = if is_encoded {
            let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
            let (high, low) = (digit(bytes.next())?, digit(bytes.next())?);
            u8::try_from(high * 16 + low).ok()?
        } else {
            byte
        };
        // An encoded slash is data within a segment (RFC 3986 section 2.2), and no file name contains one; Windows
        // tools treat a backslash as a slash.
        if (is_encoded && byte == b'/') || byte == b'\\' || byte.is_ascii_control() {
            return None;
        }
        decoded.push(byte);
    }
    let decoded = String::from_utf8(decoded).ok()?;
    let segments = decoded.strip_prefix('/')?;
    let segments = segments.strip_suffix('/').unwrap_or(segments);
    let is_relative = |segment: &str| matches!(segment, "" | "." | "..");
    if !segments.is_empty() && segments.split('/').any(is_relative) {
        return None;
    }
    // "//" alone is an empty segment.
    if decoded == "//" { None } else { Some(decoded) }
}

/// Whether a name begins with a dot, except `.well-known`, which RFC 8615 reserves for public metadata of a site.
pub(crate) fn is_hidden(segment: &str) -> bool {
    segment.starts_with('.') && segment != ".well-known"
}
