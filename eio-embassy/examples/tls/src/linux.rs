//! Sends one message over TLS and prints its echo. The server's certificate is verified.

use std::error::Error;
use std::time::SystemTime;

use eio_embassy::edge::EdgeConnector;
use eio_embassy::{Buffers, Client, Config, Connector, Message};
use eio_embassy_tls::{Memory, Pipe, over_tls};
use embedded_tls::pki::CertVerifier;
use embedded_tls::{
    Aes128GcmSha256, Certificate, CryptoProvider, CryptoRngCore, TlsConfig, TlsError, TlsVerifier,
};
use rand_core_06::OsRng;

/// The random generator and the certificate verifier for embedded-tls.
struct Provider<'a> {
    rng: OsRng,
    /// A board without a clock uses `NoClock` in place of `SystemTime`: then no certificate expires.
    verifier: CertVerifier<'a, Aes128GcmSha256, SystemTime, 4096>,
}

impl CryptoProvider for Provider<'_> {
    type CipherSuite = Aes128GcmSha256;
    type Signature = &'static [u8];

    fn rng(&mut self) -> impl CryptoRngCore {
        &mut self.rng
    }

    fn verifier(&mut self) -> Result<&mut impl TlsVerifier<Aes128GcmSha256>, TlsError> {
        Ok(&mut self.verifier)
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<_> = std::env::args().collect();
    let [_, address, port, name, authority] = arguments.as_slice() else {
        eprintln!("usage: tls ADDRESS PORT NAME AUTHORITY.der");
        std::process::exit(64);
    };
    let authority = std::fs::read(authority)?;
    async_io::block_on(run(address, port.parse()?, name, &authority))
}

async fn run(address: &str, port: u16, name: &str, authority: &[u8]) -> Result<(), Box<dyn Error>> {
    let stack = edge_nal_std::Stack::new();
    let mut network = EdgeConnector::new(&stack);
    network.connect(address, port).await?;
    let (reader, writer) = network.split();

    let provider =
        Provider { rng: OsRng, verifier: CertVerifier::new(Certificate::X509(authority)) };
    let tls = TlsConfig::new().with_server_name(name);
    let mut memory = Memory::new();
    over_tls(reader, writer, &mut memory, &tls, provider, async |inward, outward| {
        session(&format!("{name}:{port}"), inward, outward).await
    })
    .await??;
    Ok(())
}

async fn session(host: &str, inward: &Pipe, outward: &Pipe) -> Result<(), eio_embassy::Error> {
    let mut buffers = Buffers::<1536, 512>::new();
    let config = Config::new(host);
    let mut client =
        Client::connect(inward, outward, &config, &mut buffers, rand::random::<u32>).await?;
    eprintln!("open {}", client.sid());
    client.send("hello over TLS").await?;
    if let Message::Text(text) = client.recv().await? {
        println!("{text}");
    }
    client.disconnect().await
}
