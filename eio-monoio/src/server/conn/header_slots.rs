//! [`HeaderSlots`] and [`FieldSlots`]: storage for the header fields of a request.

use std::mem::MaybeUninit;

use eio_core::http::{EMPTY, Error, Header, RequestHead};

use crate::server::config::MAX_HEADERS;

/// Most requests have no more header fields.
const FEW: usize = 24;

/// Storage for a parsed head. It is not initialised, which would take as long as to parse a short head.
pub(crate) struct HeaderSlots<'b> {
    few: [MaybeUninit<Header<'b>>; FEW],
    many: Option<[MaybeUninit<Header<'b>>; MAX_HEADERS]>,
}

impl<'b> HeaderSlots<'b> {
    #[inline]
    pub(crate) const fn new() -> Self {
        Self { few: [const { MaybeUninit::uninit() }; FEW], many: None }
    }

    /// As [`RequestHead::parse_scanned`], with at most `max` fields; `max` is at most [`MAX_HEADERS`].
    #[inline]
    pub(crate) fn parse<'h>(
        &'h mut self,
        head: &'b [u8],
        max: usize,
    ) -> Result<RequestHead<'h, 'b>, Error> {
        match RequestHead::parse_scanned(head, &mut self.few[..max.min(FEW)]) {
            Err(Error::TooManyHeaders) if max > FEW => {
                let many = self.many.insert([const { MaybeUninit::uninit() }; MAX_HEADERS]);
                RequestHead::parse_scanned(head, &mut many[..max])
            }
            parsed => parsed,
        }
    }
}

/// Storage for the fields of a head that was parsed before.
pub(crate) struct FieldSlots<'b> {
    few: [Header<'b>; FEW],
    many: Option<[Header<'b>; MAX_HEADERS]>,
}

impl<'b> FieldSlots<'b> {
    #[inline]
    pub(crate) const fn new() -> Self {
        Self { few: [EMPTY; FEW], many: None }
    }

    /// Stores the fields, at most [`MAX_HEADERS`].
    pub(crate) fn fill<'h>(
        &'h mut self,
        fields: impl ExactSizeIterator<Item = Header<'b>>,
    ) -> &'h [Header<'b>] {
        let len = fields.len().min(MAX_HEADERS);
        let slots = if len <= FEW {
            &mut self.few[..len]
        } else {
            &mut self.many.insert([EMPTY; MAX_HEADERS])[..len]
        };
        slots.iter_mut().zip(fields).for_each(|(slot, field)| *slot = field);
        slots
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_field_limit_is_exact() {
        for max in [1, FEW - 1, FEW, FEW + 1, MAX_HEADERS] {
            for fields in [1, FEW - 1, FEW, FEW + 1, MAX_HEADERS, MAX_HEADERS + 1] {
                let others = "A: b\r\n".repeat(fields - 1);
                let head = format!("GET / HTTP/1.1\r\nHost: a\r\n{others}\r\n");
                let mut slots = HeaderSlots::new();
                let parsed =
                    slots.parse(head.as_bytes(), max).map(|head| head.headers.iter().count());
                let expected = if fields > max { Err(Error::TooManyHeaders) } else { Ok(fields) };
                assert_eq!(parsed, expected, "{fields} fields, limit {max}");
            }
        }
    }
}
