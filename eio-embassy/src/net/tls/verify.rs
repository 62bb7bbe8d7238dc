//! [`Verifier`]: whether a certificate is trusted, and whether the server has its key.
//!
//! The library that rustls uses, rustls-webpki, builds and checks the chain. embedded-tls has checks of its own, but
//! accepts a chain through a certificate that may not sign others. Nor does it require that a server sends a certificate
//! and proves that it has its key: [`Verifier::finished`] does.

use embedded_tls::{
    Aes128GcmSha256, CertificateEntryRef, CertificateRef, CertificateVerifyRef, Sha256,
    SignatureScheme, TlsError as LibraryError, TlsVerifier,
};
use p256::ecdsa::signature::Verifier as _;
use p256::ecdsa::signature::digest::Digest;
use rustls_pki_types::{
    AlgorithmIdentifier, CertificateDer, InvalidSignature, ServerName,
    SignatureVerificationAlgorithm, SubjectPublicKeyInfoDer, UnixTime, alg_id,
};
use webpki::{EndEntityCert, Error, KeyUsage, RawPublicKeyEntity};

use crate::net::tls::config::TlsConfig;
use crate::tls_error::TlsError;

/// The longest `SubjectPublicKeyInfo` of the algorithms below, which is that of P-384.
const SPKI_MAX: usize = 120;
/// Certificates of a chain, besides that of the server and of the authority. Those of public authorities have one or two.
const INTERMEDIATES_MAX: usize = 4;

/// The checks of one handshake.
#[derive(Debug)]
pub(super) struct Verifier<'a> {
    config: TlsConfig<'a>,
    name: &'a str,
    /// The key of the server's certificate, and the hash of the handshake up to that certificate.
    key: Option<(heapless::Vec<u8, SPKI_MAX>, Sha256)>,
    proved: bool,
    refused: Option<TlsError>,
}

impl<'a> Verifier<'a> {
    pub(super) const fn new(config: TlsConfig<'a>, name: &'a str) -> Self {
        Self { config, name, key: None, proved: false, refused: None }
    }

    /// The handshake ended with `result`.
    ///
    /// # Errors
    /// There is no connection, or the server did not show a certificate that is trusted, or not its key.
    pub(super) fn finished(&self, result: Result<(), LibraryError>) -> Result<(), TlsError> {
        if let Some(refused) = self.refused {
            return Err(refused);
        }
        match result {
            Ok(()) if self.proved => Ok(()),
            Ok(()) => Err(TlsError::Unproved),
            // The library does not assemble messages: one that continues in the next record does not parse.
            Err(
                LibraryError::InvalidCertificate
                | LibraryError::InvalidCertificateEntry
                | LibraryError::InsufficientSpace,
            ) => Err(TlsError::TooLarge),
            Err(LibraryError::HandshakeAborted(_, alert)) => Err(TlsError::Alert(alert as u8)),
            Err(LibraryError::InvalidRecord | LibraryError::UnknownContentType)
                if self.key.is_none() =>
            {
                Err(TlsError::NotTls)
            }
            Err(_) => Err(TlsError::Protocol),
        }
    }

    fn check(&self, chain: &CertificateRef<'_>) -> Result<heapless::Vec<u8, SPKI_MAX>, TlsError> {
        let now = (self.config.clock)().ok_or(TlsError::NoTime)?;
        let now = UnixTime::since_unix_epoch(core::time::Duration::from_secs(now));
        let name = ServerName::try_from(self.name).map_err(|_| TlsError::Name)?;
        let mut certificates = chain.entries.iter().map(|entry| match entry {
            CertificateEntryRef::X509(der) => Ok(CertificateDer::from_slice(der)),
            CertificateEntryRef::RawPublicKey(_) => Err(TlsError::Certificate),
        });
        let server = certificates.next().ok_or(TlsError::Unproved)??;
        let mut intermediates = heapless::Vec::<_, INTERMEDIATES_MAX>::new();
        for certificate in certificates {
            // A chain may contain more certificates than the path needs.
            let _ = intermediates.push(certificate?);
        }
        let certificate = EndEntityCert::try_from(&server).map_err(refusal)?;
        let mut trusted = Err(TlsError::UnknownIssuer);
        for authority in self.config.authorities {
            let authority = CertificateDer::from_slice(authority);
            let anchor =
                webpki::anchor_from_trusted_cert(&authority).map_err(|_| TlsError::Authority)?;
            let usage = KeyUsage::server_auth();
            let path = certificate.verify_for_usage(
                ALGORITHMS,
                core::slice::from_ref(&anchor),
                &intermediates,
                now,
                usage,
                None,
                None,
            );
            match path.map_err(refusal) {
                Ok(_) => {
                    trusted = Ok(());
                    break;
                }
                // The next authority may have signed it.
                Err(TlsError::UnknownIssuer) => {}
                refused => trusted = refused.map(|_| ()),
            }
        }
        trusted?;
        certificate.verify_is_valid_for_subject_name(&name).map_err(refusal)?;
        let key = public_key(&server).ok_or(TlsError::Certificate)?;
        heapless::Vec::from_slice(key).map_err(|_| TlsError::Certificate)
    }

    fn check_proof(&mut self, proof: &CertificateVerifyRef<'_>) -> Result<(), TlsError> {
        let (key, transcript) = self.key.take().ok_or(TlsError::Unproved)?;
        let algorithm: &dyn SignatureVerificationAlgorithm = match proof.signature_scheme {
            SignatureScheme::EcdsaSecp256r1Sha256 => &P256,
            #[cfg(feature = "tls-p384")]
            SignatureScheme::EcdsaSecp384r1Sha384 => &P384,
            _ => return Err(TlsError::Unproved),
        };
        // RFC 8446 section 4.4.3: 64 spaces, the context, a zero byte, the hash.
        let context = b"TLS 1.3, server CertificateVerify\0";
        let mut message = [b' '; 64 + 34 + 32];
        let (_, rest) = message.split_at_mut(64);
        let (text, hash) = rest.split_at_mut(context.len());
        text.copy_from_slice(context);
        hash.copy_from_slice(&transcript.finalize());
        let key = SubjectPublicKeyInfoDer::from(key.as_slice());
        RawPublicKeyEntity::try_from(&key)
            .and_then(|key| key.verify_signature(algorithm, &message, proof.signature))
            .map_err(|_| TlsError::Unproved)
    }
}

impl TlsVerifier<Aes128GcmSha256> for Verifier<'_> {
    /// The name is known since `new`.
    fn set_hostname_verification(&mut self, _name: &str) -> Result<(), LibraryError> {
        Ok(())
    }

    fn verify_certificate(
        &mut self,
        transcript: &Sha256,
        chain: CertificateRef<'_>,
    ) -> Result<(), LibraryError> {
        // A second certificate needs a proof of its own.
        self.proved = false;
        match self.check(&chain) {
            Ok(key) => {
                self.key = Some((key, transcript.clone()));
                Ok(())
            }
            Err(error) => {
                self.refused = Some(error);
                Err(LibraryError::InvalidCertificate)
            }
        }
    }

    fn verify_signature(&mut self, proof: CertificateVerifyRef<'_>) -> Result<(), LibraryError> {
        match self.check_proof(&proof) {
            Ok(()) => {
                self.proved = true;
                Ok(())
            }
            Err(error) => {
                self.refused = Some(error);
                Err(LibraryError::InvalidSignature)
            }
        }
    }
}

fn refusal(error: Error) -> TlsError {
    match error {
        Error::UnknownIssuer
        | Error::UnsupportedSignatureAlgorithmContext(_)
        | Error::MaximumPathDepthExceeded => TlsError::UnknownIssuer,
        Error::EndEntityUsedAsCa | Error::PathLenConstraintViolated => TlsError::NotAnAuthority,
        Error::CertNotValidYet { .. } => TlsError::NotYetValid,
        Error::CertExpired { .. } => TlsError::Expired,
        Error::CertNotValidForName(_) => TlsError::WrongName,
        _ => TlsError::Certificate,
    }
}

/// The `subjectPublicKeyInfo` of a certificate that was checked, with its tag (RFC 5280 section 4.1).
fn public_key(certificate: &[u8]) -> Option<&[u8]> {
    let (tbs, _) = element(content(certificate)?)?;
    let mut rest = content(tbs)?;
    // version [0], serialNumber, signature, issuer, validity, subject
    for _ in 0..6 {
        rest = element(rest)?.1;
    }
    Some(element(rest)?.0)
}

/// The first element of `der` with its tag, and the rest.
fn element(der: &[u8]) -> Option<(&[u8], &[u8])> {
    let (header, length) = header(der)?;
    der.split_at_checked(header.checked_add(length)?)
}

/// The content of the first element of `der`.
fn content(der: &[u8]) -> Option<&[u8]> {
    let (header, length) = header(der)?;
    der.get(header..header.checked_add(length)?)
}

/// The length of the tag and the length field, and of the content.
fn header(der: &[u8]) -> Option<(usize, usize)> {
    match *der {
        [_, length @ 0..=0x7f, ..] => Some((2, length.into())),
        [_, 0x81, length, ..] => Some((3, length.into())),
        [_, 0x82, high, low, ..] => Some((4, u16::from_be_bytes([high, low]).into())),
        _ => None,
    }
}

const ALGORITHMS: &[&dyn SignatureVerificationAlgorithm] = &[
    &P256,
    #[cfg(feature = "tls-p384")]
    &P384,
];

/// An algorithm of a signature: ECDSA on a curve, with the hash that the library of this curve uses.
macro_rules! ecdsa {
    ($name:ident, $curve:ident, $key:ident, $signature:ident) => {
        #[derive(Debug)]
        struct $name;

        impl SignatureVerificationAlgorithm for $name {
            fn verify_signature(
                &self,
                key: &[u8],
                message: &[u8],
                signature: &[u8],
            ) -> Result<(), InvalidSignature> {
                use $curve::ecdsa::{Signature, VerifyingKey};
                let key = VerifyingKey::from_sec1_bytes(key).map_err(|_| InvalidSignature)?;
                let signature = Signature::from_der(signature).map_err(|_| InvalidSignature)?;
                key.verify(message, &signature).map_err(|_| InvalidSignature)
            }

            fn public_key_alg_id(&self) -> AlgorithmIdentifier {
                alg_id::$key
            }

            fn signature_alg_id(&self) -> AlgorithmIdentifier {
                alg_id::$signature
            }
        }
    };
}

ecdsa!(P256, p256, ECDSA_P256, ECDSA_SHA256);
#[cfg(feature = "tls-p384")]
ecdsa!(P384, p384, ECDSA_P384, ECDSA_SHA384);
