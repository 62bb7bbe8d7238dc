//! TLS that is not ours: an authority, and something that puts TLS on connections or takes it off.

use std::fs;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedKey, DnType, IsCa, KeyPair, KeyUsagePurpose,
};
use rustls::server::WebPkiClientVerifier;
use rustls::{
    ClientConfig, ClientConnection, Connection, RootCertStore, ServerConfig, ServerConnection,
};

/// An authority and what it has certified.
pub(crate) struct Pki {
    authority: CertifiedKey,
}

impl Pki {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new([]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.distinguished_name.push(DnType::CommonName, "authority of a test");
        let key_pair = KeyPair::generate().unwrap();
        let cert = params.self_signed(&key_pair).unwrap();
        Self { authority: CertifiedKey { cert, key_pair } }
    }

    pub(crate) fn pem(&self) -> String {
        self.authority.cert.pem()
    }

    pub(crate) fn certify(&self, name: &str) -> CertifiedKey {
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        params.use_authority_key_identifier_extension = true;
        params.distinguished_name.push(DnType::CommonName, name);
        let key_pair = KeyPair::generate().unwrap();
        let CertifiedKey { cert, key_pair: key } = &self.authority;
        let cert = params.signed_by(&key_pair, cert, key).unwrap();
        CertifiedKey { cert, key_pair }
    }

    /// A server certificate for `name`; with `clients`, of them it wants one too.
    pub(crate) fn server(&self, name: &str, clients: bool) -> ServerConfig {
        let certified = self.certify(name);
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .unwrap();
        let builder = if clients {
            let verifier =
                WebPkiClientVerifier::builder_with_provider(self.roots().into(), provider);
            builder.with_client_cert_verifier(verifier.build().unwrap())
        } else {
            builder.with_no_client_auth()
        };
        let key = certified.key_pair.serialize_der().try_into().unwrap();
        builder.with_single_cert(vec![certified.cert.der().clone()], key).unwrap()
    }

    /// A client that believes this authority, and may have a certificate of its own.
    pub(crate) fn client(&self, own: Option<&CertifiedKey>) -> ClientConfig {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(self.roots());
        let Some(own) = own else { return builder.with_no_client_auth() };
        let key = own.key_pair.serialize_der().try_into().unwrap();
        builder.with_client_auth_cert(vec![own.cert.der().clone()], key).unwrap()
    }

    fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add(self.authority.cert.der().clone()).unwrap();
        roots
    }
}

/// A directory of one test's, with PEM files.
pub(crate) struct Files(PathBuf);

impl Files {
    pub(crate) fn new(test: &str) -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let (process, count) = (std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let name = format!("{test}-{process}-{count}");
        let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        fs::create_dir_all(&directory).expect("a directory");
        Self(directory)
    }

    pub(crate) fn write(&self, name: &str, content: &str) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, content).expect("a file");
        path
    }

    /// `certificate.pem` and `key.pem`.
    pub(crate) fn write_identity(&self, own: &CertifiedKey) -> (PathBuf, PathBuf) {
        let certificate = self.write("certificate.pem", &own.cert.pem());
        (certificate, self.write("key.pem", &own.key_pair.serialize_pem()))
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        _ = fs::remove_dir_all(&self.0);
    }
}

/// Takes TLS off what comes and passes it on.
pub(crate) fn terminate(config: ServerConfig, behind: SocketAddr) -> SocketAddr {
    let config = Arc::new(config);
    relay(move |outside| {
        let tls = ServerConnection::new(config.clone()).map_err(io::Error::other)?;
        pass_on(outside, TcpStream::connect(behind)?, tls.into())
    })
}

/// Puts TLS on what comes and passes it on, to somebody who must be `127.0.0.1`.
pub(crate) fn originate(config: ClientConfig, behind: SocketAddr) -> SocketAddr {
    let config = Arc::new(config);
    relay(move |outside| {
        let name = "127.0.0.1".try_into().map_err(io::Error::other)?;
        let tls = ClientConnection::new(config.clone(), name).map_err(io::Error::other)?;
        pass_on(TcpStream::connect(behind)?, outside, tls.into())
    })
}

fn relay(pass: impl Fn(TcpStream) -> io::Result<()> + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let pass = Arc::new(pass);
    thread::spawn(move || {
        for outside in listener.incoming().map_while(Result::ok) {
            let pass = pass.clone();
            // A peer that goes away is none of the relay's troubles.
            thread::spawn(move || _ = pass(outside));
        }
    });
    address
}

fn pass_on(mut secure: TcpStream, mut plain: TcpStream, mut tls: Connection) -> io::Result<()> {
    tls.set_buffer_limit(None);
    for stream in [&secure, &plain] {
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
    }
    let mut memory = [0; 32 * 1024];
    let would_block = |error: &io::Error| error.kind() == ErrorKind::WouldBlock;
    loop {
        let mut idle = true;
        while tls.wants_write() {
            match tls.write_tls(&mut secure) {
                Ok(_) => idle = false,
                Err(error) if would_block(&error) => break,
                Err(error) => return Err(error),
            }
        }
        match tls.read_tls(&mut secure) {
            Ok(0) => return Ok(()),
            Ok(_) => {
                idle = false;
                if let Err(error) = tls.process_new_packets() {
                    _ = tls.write_tls(&mut secure);
                    return Err(io::Error::other(error));
                }
            }
            Err(error) if would_block(&error) => {}
            Err(error) => return Err(error),
        }
        match tls.reader().read(&mut memory) {
            Ok(0) => return Ok(()),
            Ok(n) => {
                plain.set_nonblocking(false)?;
                plain.write_all(&memory[..n])?;
                plain.set_nonblocking(true)?;
                idle = false;
            }
            Err(error) if would_block(&error) => {}
            Err(error) => return Err(error),
        }
        if !tls.is_handshaking() {
            match plain.read(&mut memory) {
                Ok(0) => {
                    tls.send_close_notify();
                    tls.write_tls(&mut secure)?;
                    return Ok(());
                }
                Ok(n) => {
                    tls.writer().write_all(&memory[..n])?;
                    idle = false;
                }
                Err(error) if would_block(&error) => {}
                Err(error) => return Err(error),
            }
        }
        if idle {
            thread::sleep(Duration::from_millis(1));
        }
    }
}
