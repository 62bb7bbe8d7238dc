//! The layout of the fuzzer's input.

/// The input of a target: one byte of options, the sizes of pieces, and the bytes that a peer sends.
///
/// ```text
/// | options(5) count(3) | size * count | wire |
/// ```
///
/// A seed that begins with a zero byte is therefore that byte followed by the bytes of the peer, and can be read and
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

    /// Chooses one of `from` by the options.
    pub(crate) fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        let count = u8::try_from(from.len()).expect("few choices");
        let chosen = self.options % count;
        self.options /= count;
        from[usize::from(chosen)]
    }

    /// The sizes of the pieces, repeated; one byte at a time if the input has no sizes.
    pub(crate) fn sizes(&self) -> impl Iterator<Item = usize> + Clone + '_ {
        let sizes = if self.sizes.is_empty() { &[0] } else { self.sizes };
        sizes.iter().cycle().map(|size| usize::from(*size) + 1)
    }

    /// The wire in pieces of one byte, and in pieces of the chosen sizes.
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
