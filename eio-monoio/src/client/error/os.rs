//! [`OsError`]: an error of the operating system, as a value that can be cloned and compared.

use std::fmt;
use std::io;

/// An error of the operating system: its kind, and its number.
///
/// ```
/// use std::io;
/// use eio_monoio::client::OsError;
///
/// let error = OsError::from(io::Error::from_raw_os_error(24));
/// assert_eq!(error.code(), Some(24));
/// assert!(error.to_string().contains("too many open files (EMFILE)"));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OsError {
    kind: io::ErrorKind,
    code: Option<i32>,
}

impl OsError {
    /// The kind. `Uncategorized` for many numbers: see [`code`](Self::code).
    pub fn kind(&self) -> io::ErrorKind {
        self.kind
    }

    /// The number (`errno`), if the error is one of the kernel.
    pub fn code(&self) -> Option<i32> {
        self.code
    }
}

impl From<io::Error> for OsError {
    fn from(error: io::Error) -> Self {
        Self { kind: error.kind(), code: error.raw_os_error() }
    }
}

impl From<io::ErrorKind> for OsError {
    fn from(kind: io::ErrorKind) -> Self {
        Self { kind, code: None }
    }
}

impl fmt::Display for OsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.code {
            Some(libc::EMFILE) => f.write_str(
                "the process has too many open files (EMFILE); raise its limit (ulimit -n, LimitNOFILE)",
            ),
            Some(libc::ENFILE) => f.write_str("the system has too many open files (ENFILE)"),
            Some(libc::EADDRNOTAVAIL) => f.write_str(
                "no local address or port is left (EADDRNOTAVAIL); see net.ipv4.ip_local_port_range",
            ),
            Some(code) => io::Error::from_raw_os_error(code).fmt(f),
            None => self.kind.fmt(f),
        }
    }
}

impl std::error::Error for OsError {}
