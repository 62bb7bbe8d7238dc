//! The query of a request target: its parameters, decoded.

use std::borrow::Cow;

/// The value of the last parameter with this name. A key without `=` has an empty value.
pub(crate) fn last<'q>(query: &'q str, name: &str) -> Option<Cow<'q, str>> {
    pairs(query).filter(|(key, _)| key == name).last().map(|(_, value)| value)
}

/// All parameters in their order.
pub(crate) fn pairs(query: &str) -> impl Iterator<Item = (Cow<'_, str>, Cow<'_, str>)> {
    query.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        (decode(key), decode(value))
    })
}

/// Decodes as `application/x-www-form-urlencoded` of the URL standard: `+` is a space, an invalid escape is kept as it
/// is, and bytes that are not UTF-8 become U+FFFD. Text without escapes is not copied.
pub(crate) fn decode(text: &str) -> Cow<'_, str> {
    if !text.bytes().any(|byte| matches!(byte, b'%' | b'+')) {
        return Cow::Borrowed(text);
    }
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        decoded.push(match (byte, after) {
            (b'+', _) => b' ',
            (b'%', [high, low, after @ ..]) => match (hex(*high), hex(*low)) {
                (Some(high), Some(low)) => {
                    rest = after;
                    high << 4 | low
                }
                _ => byte,
            },
            _ => byte,
        });
    }
    Cow::Owned(match String::from_utf8(decoded) {
        Ok(text) => text,
        Err(error) => String::from_utf8_lossy(error.as_bytes()).into_owned(),
    })
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_decoded_as_a_url_search_params_does() {
        // Expected values: `[...new URLSearchParams(query)]` of Node.js 20.
        for (query, expected) in [
            ("", vec![]),
            ("a=1&b=2", vec![("a", "1"), ("b", "2")]),
            ("do=a%3Ab%40c%3Dd", vec![("do", "a:b@c=d")]),
            ("deny&x=", vec![("deny", ""), ("x", "")]),
            ("a=b=c&&", vec![("a", "b=c")]),
            ("a+b=c%20d+e%2B", vec![("a b", "c d e+")]),
            ("%6Eame=%c3%A9", vec![("name", "\u{e9}")]),
            ("a=%&b=%4&c=%zz&d=%%41", vec![("a", "%"), ("b", "%4"), ("c", "%zz"), ("d", "%A")]),
            ("a=%ff", vec![("a", "\u{fffd}")]),
            ("=1", vec![("", "1")]),
        ] {
            let decoded: Vec<_> = pairs(query).collect();
            let decoded: Vec<_> = decoded.iter().map(|(key, value)| (&**key, &**value)).collect();
            assert_eq!(decoded, expected, "{query}");
        }
    }

    #[test]
    fn the_last_of_equal_keys_counts() {
        assert_eq!(last("a=1&b=2&a=3", "a").as_deref(), Some("3"));
        assert_eq!(last("a=1&%61=2", "a").as_deref(), Some("2"));
        assert_eq!(last("ab=1", "a"), None);
    }

    #[test]
    fn text_without_escapes_is_borrowed() {
        assert!(matches!(last("token=abc", "token"), Some(Cow::Borrowed("abc"))));
    }
}
