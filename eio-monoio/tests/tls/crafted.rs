//! A TLS 1.3 client whose records a test makes itself: rustls sends no empty ones, no padding and no unfinished message.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use rustls::crypto::cipher::{MessageEncrypter, OutboundChunks, OutboundPlainMessage};
use rustls::crypto::tls13::OkmBlock;
use rustls::{ContentType, KeyLog, ProtocolVersion, Tls13CipherSuite};

use crate::support::tls::{Identity, SecureWebSocket};

/// A connection after its handshake. Rustls decrypts what the server sends.
pub(crate) struct Crafted {
    pub(crate) peer: SecureWebSocket,
    suite: &'static Tls13CipherSuite,
    secret: Vec<u8>,
    encrypter: Box<dyn MessageEncrypter>,
    /// The records that have the current keys.
    count: u64,
}

/// The secret of the records that a client sends after the handshake.
#[derive(Debug, Default)]
struct ClientSecret(Mutex<Vec<u8>>);

impl KeyLog for ClientSecret {
    fn log(&self, label: &str, _: &[u8], secret: &[u8]) {
        if label == "CLIENT_TRAFFIC_SECRET_0" {
            *self.0.lock().expect("no panic") = secret.to_vec();
        }
    }
}

impl Crafted {
    pub(crate) fn open(addr: SocketAddr, identity: &Identity) -> Self {
        let (log, mut config) = (Arc::<ClientSecret>::default(), identity.pki.client(None));
        config.key_log = log.clone();
        let mut peer = SecureWebSocket::connect(addr, config);
        peer.tls.complete_io(&mut peer.stream).expect("a handshake");
        let suite = peer.tls.negotiated_cipher_suite().and_then(|suite| suite.tls13());
        let suite = suite.expect("TLS 1.3");
        let secret = log.0.lock().expect("no panic").clone();
        let encrypter = encrypter(suite, &secret);
        Self { peer, suite, secret, encrypter, count: 0 }
    }

    /// One record of `content` with `padding` zeros (RFC 8446 5.2).
    pub(crate) fn record(&mut self, typ: ContentType, content: &[u8], padding: usize) -> Vec<u8> {
        let mut inner = [content, &[typ.into()]].concat();
        inner.resize(inner.len() + padding, 0);
        // The encrypter appends the type.
        let last = inner.pop().expect("a type");
        let message = OutboundPlainMessage {
            typ: last.into(),
            version: ProtocolVersion::TLSv1_3,
            payload: OutboundChunks::Single(&inner),
        };
        self.count += 1;
        self.encrypter.encrypt(message, self.count - 1).expect("a record").encode()
    }

    pub(crate) fn data(&mut self, content: &[u8]) -> Vec<u8> {
        self.record(ContentType::ApplicationData, content, 0)
    }

    /// A key update that requests none from the server (RFC 8446 4.6.3).
    pub(crate) fn key_update(&mut self) -> Vec<u8> {
        let record = self.record(ContentType::Handshake, &[24, 0, 0, 1, 0], 0);
        let mut next = vec![0; self.secret.len()];
        expand(self.suite, &self.secret, b"traffic upd", &mut next);
        self.encrypter = encrypter(self.suite, &next);
        (self.secret, self.count) = (next, 0);
        record
    }

    pub(crate) fn write(&mut self, content: &[u8]) {
        let record = self.data(content);
        self.peer.write_raw(&record);
    }
}

fn encrypter(suite: &Tls13CipherSuite, secret: &[u8]) -> Box<dyn MessageEncrypter> {
    let (mut key, mut iv) = ([0; 32], [0; 12]);
    assert_eq!(suite.aead_alg.key_len(), key.len(), "the preferred suites have such keys");
    expand(suite, secret, b"key", &mut key);
    expand(suite, secret, b"iv", &mut iv);
    suite.aead_alg.encrypter(key.into(), iv.into())
}

/// HKDF-Expand-Label (RFC 8446 7.1).
fn expand(suite: &Tls13CipherSuite, secret: &[u8], label: &[u8], into: &mut [u8]) {
    let expander = suite.hkdf_provider.expander_for_okm(&OkmBlock::new(secret));
    let len = (into.len() as u16).to_be_bytes();
    let label_len = [6 + label.len() as u8];
    expander.expand_slice(&[&len, &label_len, b"tls13 ", label, &[0]], into).expect("a length");
}
