//! The header of the PROXY protocol, of both versions.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use eio_core::buffer::Overflow;
use eio_core::proxy_protocol::{
    Endpoints, Error, Header, MAX_V1, MAX_V2_WITHOUT_TLVS, Step, Tlvs, Version,
};

use super::Input;
use super::out::Out;

pub(crate) fn run(data: &[u8]) {
    let mut input = Input::parse(data);
    let max = input.pick(&[4096, MAX_V2_WITHOUT_TLVS, MAX_V1, 16, 0]);
    check(input.wire, max);
    let version = input.pick(&[Version::V2, Version::V1]);
    build(input.wire, version);
}

/// Parses the bytes, and every prefix of them.
fn check(bytes: &[u8], max: usize) {
    let whole = Header::parse(bytes, max);
    let end = match whole {
        Ok(Step::Done(header, len)) => {
            assert!(len <= bytes.len() && len <= max);
            assert_eq!(Header::parse(&bytes[..len], max), whole, "bytes after it have no effect");
            encode_again(&header, &bytes[..len]);
            len
        }
        Ok(Step::Need(n)) => {
            assert!(n > 0);
            bytes.len()
        }
        Err(_) => bytes.len(),
    };
    for len in 0..end {
        match Header::parse(&bytes[..len], max) {
            // Never more than must follow: to read that many bytes reads none of the next protocol.
            Ok(Step::Need(n)) if matches!(whole, Ok(Step::Done(..))) => {
                assert!((1..=end - len).contains(&n), "{n} after {len} of {end}");
            }
            Ok(Step::Need(n)) => assert!(n > 0),
            // With no room for the start of a header, its first bytes cannot show another protocol.
            Err(_) if max < MAX_V1 => assert!(whole.is_err(), "an error is final"),
            Err(error) => assert_eq!(whole, Err(error), "an error is final"),
            Ok(Step::Done(..)) => panic!("complete after {len} of {end} bytes"),
        }
    }
}

fn encode_again(header: &Header<'_>, bytes: &[u8]) {
    let mut out = Out::new();
    header.encode(&mut out).expect("room without end");
    assert!(out.bytes.len() <= bytes.len());
    if header.version == Version::V2
        && matches!(header.endpoints, Endpoints::Tcp { .. } | Endpoints::Unix { .. })
    {
        assert_eq!(out.bytes, bytes, "one header has one form");
    }
    assert_eq!(Header::parse(&out.bytes, 1 << 17), Ok(Step::Done(*header, out.bytes.len())));
    let mut small = Out::with_room(out.bytes.len() - 1);
    assert_eq!(header.encode(&mut small), Err(Overflow));
    assert!(small.bytes.is_empty());
}

/// Makes headers of the bytes: parse(encode(x)) = x.
fn build(bytes: &[u8], version: Version) {
    let mut rest = bytes.iter().copied();
    let mut paths = [[0; 108]; 2];
    paths.iter_mut().flatten().for_each(|byte| *byte = rest.next().unwrap_or(7));
    let [a, b] = paths.map(|path| <[u8; 18]>::try_from(&path[..18]).expect("it is longer"));
    let port = |part: &[u8; 18]| u16::from_be_bytes([part[16], part[17]]);
    let six = |part: &[u8; 18]| {
        let octets = <[u8; 16]>::try_from(&part[..16]).expect("it is longer");
        SocketAddr::new(Ipv6Addr::from(octets).into(), port(part))
    };
    let four = |part: &[u8; 18]| {
        SocketAddr::new(Ipv4Addr::new(part[0], part[1], part[2], part[3]).into(), port(part))
    };
    let tlvs = Tlvs::new(bytes).unwrap_or_default();
    for endpoints in [
        Endpoints::Tcp { source: four(&a), destination: four(&b) },
        Endpoints::Tcp { source: six(&a), destination: six(&b) },
        Endpoints::Unix { source: &paths[0], destination: &paths[1] },
        Endpoints::Local,
        Endpoints::Unknown,
    ] {
        let is_tcp = matches!(endpoints, Endpoints::Tcp { .. });
        let carries_tlvs = is_tcp || matches!(endpoints, Endpoints::Unix { .. });
        let wanted = match version {
            Version::V1 if is_tcp => Header { version, endpoints, tlvs: Tlvs::default() },
            Version::V1 => Header { version, endpoints: Endpoints::Unknown, tlvs: Tlvs::default() },
            Version::V2 => {
                let tlvs = if carries_tlvs { tlvs } else { Tlvs::default() };
                Header { version, endpoints, tlvs }
            }
        };
        let mut out = Out::new();
        if (Header { version, endpoints, tlvs }).encode(&mut out).is_err() {
            assert!(bytes.len() > 60_000, "longer than the length field can state");
            continue;
        }
        assert!(version == Version::V2 || out.bytes.len() <= MAX_V1);
        match Header::parse(&out.bytes, 1 << 17) {
            Ok(step) => assert_eq!(step, Step::Done(wanted, out.bytes.len())),
            // The bytes happen to have a TLV of the type of a checksum.
            Err(error) => {
                assert_eq!(error, Error::BadChecksum);
                assert!(wanted.tlvs.into_iter().any(|(kind, _)| kind == 3));
            }
        }
    }
}
