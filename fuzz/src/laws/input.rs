//! How the fuzzer says more than bytes.

/// What a target is given: one byte of choices, the sizes of pieces, and the bytes a peer would send.
///
/// ```text
/// | options(5) count(3) | size * count | wire |
/// ```
///
/// A seed that begins with a zero byte is therefore that byte and the wire as it is, fit to be read and
/// written by hand.
pub(crate) struct Input<'d> {
    options: u8,
    sizes: &'d [u8],
    pub(crate) wire: &'d [u8],
}

impl<'d> Input<'d> {
    pub(crate) fn parse(data: &'d [u8]) -> Self {
        let (first, rest) = data.split_first().unwrap_or((&0, &[]));
        let (sizes, wire) = rest.split_at(rest.len().min(usize::from(first & 7)));
        Self { options: first >> 3, sizes, wire }
    }

    /// Takes a choice out of the options.
    pub(crate) fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        let count = u8::try_from(from.len()).expect("few choices");
        let chosen = self.options % count;
        self.options /= count;
        from[usize::from(chosen)]
    }

    /// The sizes to cut by, over and over; one byte at a time if the fuzzer named none.
    pub(crate) fn sizes(&self) -> impl Iterator<Item = usize> + Clone + '_ {
        let sizes = if self.sizes.is_empty() { &[0] } else { self.sizes };
        sizes.iter().cycle().map(|size| usize::from(*size) + 1)
    }

    /// The wire byte by byte, and cut as the fuzzer chose.
    pub(crate) fn cuts(&self) -> [Vec<&'d [u8]>; 2] {
        [self.wire.chunks(1).collect(), self.pieces(self.wire)]
    }

    fn pieces(&self, mut rest: &'d [u8]) -> Vec<&'d [u8]> {
        let mut pieces = Vec::new();
        for size in self.sizes() {
            if rest.is_empty() {
                break;
            }
            let (piece, next) = rest.split_at(rest.len().min(size));
            pieces.push(piece);
            rest = next;
        }
        pieces
    }
}
