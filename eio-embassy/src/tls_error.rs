//! [`TlsError`]: why TLS could not be established, or ended.

use core::fmt;

/// Why TLS could not be established, or ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum TlsError {
    /// The clock does not know the time, so no certificate can be checked.
    NoTime,
    /// An authority of the configuration is not a certificate in DER.
    Authority,
    /// The name of the server is not a host name or an address, or is longer than 253 bytes.
    Name,
    /// No authority of the configuration has signed the certificate, directly or by the chain that the server sent. Also
    /// if the signature is of a kind that is not built in, such as RSA.
    UnknownIssuer,
    /// A certificate of the chain may not sign others: it is not that of an authority.
    NotAnAuthority,
    /// The certificate, or one of its chain, is not valid yet. The clock of the device may be wrong.
    NotYetValid,
    /// The certificate, or one of its chain, has expired. The clock of the device may be wrong.
    Expired,
    /// The certificate is for other names.
    WrongName,
    /// The certificate is malformed, not for servers, or signed wrongly.
    Certificate,
    /// The server did not prove that it has the key of the certificate.
    Unproved,
    /// A record, or the certificates of the server, are larger than the record buffer.
    TooLarge,
    /// The peer does not speak TLS, as on a port of plain HTTP.
    NotTls,
    /// The server refused with this alert (RFC 8446 section 6): 40 and 70 if it has nothing in common with the client,
    /// such as TLS 1.3 or a certificate with a key on P-256.
    Alert(u8),
    /// The server violated TLS, or uses a part of it that embedded-tls does not implement.
    Protocol,
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoTime => "TLS: the time is not known",
            Self::Authority => "TLS: an authority is not a certificate in DER",
            Self::Name => "TLS: the name of the server is not a host name",
            Self::UnknownIssuer => "TLS: no known authority has signed the certificate",
            Self::NotAnAuthority => "TLS: the certificate is signed by one that may not sign",
            Self::NotYetValid => "TLS: the certificate is not valid yet",
            Self::Expired => "TLS: the certificate has expired",
            Self::WrongName => "TLS: the certificate is for another name",
            Self::Certificate => "TLS: the certificate is invalid",
            Self::Unproved => "TLS: the server did not prove that the certificate is its own",
            Self::TooLarge => "TLS: the server sent more than the record buffer holds",
            Self::NotTls => "TLS: the server does not speak TLS on this port",
            Self::Alert(alert) => return write!(f, "TLS: the server refused with alert {alert}"),
            Self::Protocol => "TLS: the server violated the protocol",
        })
    }
}

impl core::error::Error for TlsError {}
