//! [`TlsConfig`]: the trusted authorities, and the time for a handshake.

use embassy_time::Duration;

/// The trusted authorities, the clock, and the time for a handshake. All of it is borrowed, so it can be a `const`.
///
/// ```
/// use eio_embassy::tls::TlsConfig;
/// use embassy_time::Duration;
///
/// /// Seconds since 1970, by SNTP or from a clock with a battery.
/// fn unix_time() -> Option<u64> {
///     None
/// }
///
/// // `include_bytes!` of files in DER.
/// const AUTHORITIES: &[&[u8]] = &[];
/// const TLS: TlsConfig<'_> =
///     TlsConfig::new(AUTHORITIES, unix_time).timeout(Duration::from_secs(15));
/// # let _ = TLS;
/// ```
#[derive(Clone, Copy, Debug)]
pub struct TlsConfig<'a> {
    pub(super) authorities: &'a [&'a [u8]],
    pub(super) clock: fn() -> Option<u64>,
    pub(super) server_name: Option<&'a str>,
    pub(super) timeout: Duration,
}

impl<'a> TlsConfig<'a> {
    /// Trusts servers whose certificate one of `authorities` has signed, directly or by a chain that the server sends.
    /// Each is a certificate in DER.
    ///
    /// `clock` returns the time in seconds since 1970. Until it is known (`None`), connecting returns
    /// [`TlsError::NoTime`](super::TlsError::NoTime): a certificate without a date would be trusted forever.
    pub const fn new(authorities: &'a [&'a [u8]], clock: fn() -> Option<u64>) -> Self {
        Self { authorities, clock, server_name: None, timeout: Duration::from_secs(15) }
    }

    /// The name, or the address, that the certificate of the server must contain.
    ///
    /// **Default:** the host to connect to. **Range:** a host name or an IP address of at most 253 bytes; otherwise
    /// connecting returns [`TlsError::Name`](super::TlsError::Name).
    #[must_use]
    pub const fn server_name(mut self, name: &'a str) -> Self {
        self.server_name = Some(name);
        self
    }

    /// Time for the connection below TLS and the handshake together.
    ///
    /// **Default:** 15 s, which is less than the default of [`Config::open_timeout`](crate::Config::open_timeout). A
    /// Cortex-M0+ needs seconds for the signatures of a chain. **Range:** any duration. When it expires, connecting
    /// returns [`Timeout::Connect`](crate::Timeout::Connect) or [`Timeout::Tls`](crate::Timeout::Tls).
    #[must_use]
    pub const fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }
}
