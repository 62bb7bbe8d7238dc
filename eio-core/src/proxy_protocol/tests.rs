use std::vec::Vec;
use std::{format, vec};

use super::*;
use crate::buffer::Writer;

/// The header at the start of `bytes`, and the number of bytes after it. It is the same at every length, until which no
/// byte too many is wanted.
fn parse(bytes: &[u8]) -> Result<(Header<'_>, usize), Error> {
    let whole = match Header::parse(bytes, 4096)? {
        Step::Done(header, len) => (header, len),
        Step::Need(n) => panic!("{n} bytes are missing of {}", bytes.escape_ascii()),
    };
    for len in 0..whole.1 {
        match Header::parse(&bytes[..len], 4096) {
            Ok(Step::Need(n)) => assert!((1..=whole.1 - len).contains(&n), "{n} after {len}"),
            other => panic!("{other:?} after {len} bytes of {}", bytes.escape_ascii()),
        }
    }
    Ok((whole.0, bytes.len() - whole.1))
}

fn tcp(source: &str, destination: &str) -> Endpoints<'static> {
    Endpoints::Tcp { source: source.parse().unwrap(), destination: destination.parse().unwrap() }
}

fn v2(command: u8, family: u8, content: &[u8]) -> Vec<u8> {
    let len = u16::try_from(content.len()).unwrap().to_be_bytes();
    [v2::SIGNATURE, &[command, family][..], &len, content].concat()
}

const FOUR: [u8; 12] = [192, 0, 2, 1, 198, 51, 100, 7, 0xdc, 4, 1, 187];

#[test]
fn lines_of_version_1() {
    let longest = "PROXY UNKNOWN ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff \
                   ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535";
    assert_eq!(longest.len() + 2, MAX_V1);
    for (line, endpoints) in [
        (
            "PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535",
            tcp("255.255.255.255:65535", "255.255.255.255:65535"),
        ),
        ("PROXY TCP4 192.0.2.1 198.51.100.7 0 443", tcp("192.0.2.1:0", "198.51.100.7:443")),
        ("PROXY TCP6 2001:db8::1 ::1 1 2", tcp("[2001:db8::1]:1", "[::1]:2")),
        ("PROXY TCP6 2001:DB8::A ::ffff:1.2.3.4 1 2", tcp("[2001:db8::a]:1", "[::ffff:1.2.3.4]:2")),
        ("PROXY UNKNOWN", Endpoints::Unknown),
        ("PROXY UNKNOWN what\rever \0\u{7f}", Endpoints::Unknown),
        (longest, Endpoints::Unknown),
    ] {
        let bytes = format!("{line}\r\nGET");
        let (header, rest) = parse(bytes.as_bytes()).unwrap();
        assert_eq!((header.endpoints, header.version, rest), (endpoints, Version::V1, 3), "{line}");
    }
}

#[test]
fn malformed_lines_of_version_1() {
    let too_long = format!("PROXY UNKNOWN {}\r\n", "x".repeat(MAX_V1 - 15));
    for line in [
        "PROXY TCP4 1.2.3.4 1.2.3.4 1 2\n",
        "PROXY TCP4  1.2.3.4 1.2.3.4 1 2\r\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4 1 2 \r\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4 1\r\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4 01 2\r\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4 +1 2\r\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4  2\r\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4 65536 2\r\n",
        "PROXY TCP4 01.2.3.4 1.2.3.4 1 2\r\n",
        "PROXY TCP4 ::1 ::1 1 2\r\n",
        "PROXY TCP6 1.2.3.4 1.2.3.4 1 2\r\n",
        "PROXY tcp4 1.2.3.4 1.2.3.4 1 2\r\n",
        "PROXY TCP5 1.2.3.4 1.2.3.4 1 2\r\n",
        "PROXY UNKNOWNX\r\n",
        "PROXY \r\n",
        "PROXY\t TCP4",
        too_long.as_str(),
    ] {
        let expected = if line.contains('\t') { Error::Missing } else { Error::BadLine };
        assert_eq!(parse(line.as_bytes()), Err(expected), "{line:?}");
    }
    assert_eq!(parse(b"PROXY TCP4 \xff\r\n"), Err(Error::BadLine));
    // Known before the line ends.
    assert_eq!(Header::parse(&[b"PROXY ", &[b'x'; 101][..]].concat(), 4096), Err(Error::BadLine));
    assert_eq!(Header::parse(b"PROXY UNKNOWN \r\n", 15), Err(Error::BadLine));
}

#[test]
fn headers_of_version_2() {
    let mut six = [0; 36];
    six[..16].copy_from_slice(&[0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
    six[31] = 2;
    six[32..].copy_from_slice(&[0, 80, 1, 0]);
    let mut unix = [0; 216];
    unix[..2].copy_from_slice(b"/a");
    unix[108] = b'b';
    let (source, destination) = (unix.first_chunk().unwrap(), unix.last_chunk().unwrap());
    for (bytes, endpoints) in [
        (v2(0x21, 0x11, &FOUR), tcp("192.0.2.1:56324", "198.51.100.7:443")),
        (v2(0x21, 0x21, &six), tcp("[2001:db8::1]:80", "[::2]:256")),
        (v2(0x21, 0x31, &unix), Endpoints::Unix { source, destination }),
        (v2(0x20, 0x11, &FOUR), Endpoints::Local),
        (v2(0x20, 0x00, b""), Endpoints::Local),
        (v2(0x20, 0x00, b"\x01"), Endpoints::Local),
        (v2(0x21, 0x00, b"x"), Endpoints::Unknown),
        // Datagrams, and a family without a transport.
        (v2(0x21, 0x12, &FOUR), Endpoints::Unknown),
        (v2(0x21, 0x10, b""), Endpoints::Unknown),
    ] {
        let bytes = [&bytes[..], b"\x16\x03"].concat();
        let (header, rest) = parse(&bytes).unwrap();
        assert_eq!((header.endpoints, header.version, rest), (endpoints, Version::V2, 2));
        let is_tcp = matches!(endpoints, Endpoints::Tcp { .. });
        assert_eq!(header.source().is_some(), is_tcp);
        assert_eq!(header.tlvs.count(), 0);
    }
}

#[test]
fn malformed_headers_of_version_2() {
    for (bytes, error) in [
        (v2(0x11, 0x11, &FOUR), Error::BadHead),
        (v2(0x31, 0x11, &FOUR), Error::BadHead),
        (v2(0x22, 0x11, &FOUR), Error::BadHead),
        (v2(0x21, 0x41, &FOUR), Error::BadHead),
        (v2(0x21, 0x13, &FOUR), Error::BadHead),
        (v2(0x21, 0x11, &FOUR[1..]), Error::TooShort),
        (v2(0x21, 0x21, &FOUR), Error::TooShort),
        (v2(0x21, 0x31, &[0; 215]), Error::TooShort),
        (v2(0x21, 0x11, &[&FOUR[..], b"\x04\0"].concat()), Error::BadTlv),
        (v2(0x21, 0x11, &[&FOUR[..], b"\x04\0\x02x"].concat()), Error::BadTlv),
        (v2(0x21, 0x11, &[&FOUR[..], b"\x03\0\x04abcd"].concat()), Error::BadChecksum),
        (v2(0x21, 0x11, &[&FOUR[..], b"\x03\0\x03abc"].concat()), Error::BadChecksum),
        (v2(0x21, 0x11, &[0; 4081]), Error::TooLarge),
        (b"\r\n\r\n\0\r\nQUIT\r\x21\x11\0\0".to_vec(), Error::Missing),
        (b"GET / HTTP/1.1\r\n".to_vec(), Error::Missing),
        (b"\x16\x03\x01".to_vec(), Error::Missing),
    ] {
        assert_eq!(parse(&bytes), Err(error), "{}", bytes.escape_ascii());
        assert!(format!("{error}").contains("PROXY protocol"));
    }
    // The head alone shows it: the content is not waited for.
    let head = &v2(0x21, 0x11, &[0; 4081])[..16];
    assert_eq!(Header::parse(head, 4096), Err(Error::TooLarge));
    assert!(matches!(Header::parse(head, 4097), Ok(Step::Need(4081))));
}

#[test]
fn tlvs_are_bounded_by_the_header_and_their_checksum_is_checked() {
    let tlvs = b"\x01\0\x02h2\x04\0\0\x05\0\x01u\x03\0\x04\0\0\0\0";
    let mut bytes = v2(0x21, 0x11, &[&FOUR[..], tlvs].concat());
    let at = bytes.len() - 4;
    let crc = checksum::of_header(&bytes, at).to_be_bytes();
    bytes[at..].copy_from_slice(&crc);
    // Fields follow it as well.
    let after = [&bytes[..], b"\x04\0\x01x"].concat();
    let (header, rest) = parse(&after).unwrap();
    assert_eq!(rest, 4, "not a part of this header");
    let fields: Vec<_> = header.tlvs.collect();
    assert_eq!(fields, [(1, &b"h2"[..]), (4, b""), (5, b"u"), (TLV_CRC32C, &crc)]);
    assert_eq!(Tlvs::new(header.tlvs.as_bytes()), Some(header.tlvs));
    assert_eq!(Tlvs::new(b"\x04\0\x02x"), None);
    // A flipped bit is noticed wherever it is, except in the type of the checksum.
    for bit in (0..bytes.len() * 8).filter(|bit| bit / 8 != at - 3) {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let seen = match Header::parse(&flipped, 4096) {
            Ok(Step::Done(header, _)) => header.endpoints,
            Ok(Step::Need(_)) | Err(_) => continue,
        };
        // LOCAL, or a family that is not parsed: nothing of the content is used.
        assert!(matches!(seen, Endpoints::Local | Endpoints::Unknown), "bit {bit}: {seen:?}");
    }
}

#[test]
fn encoded_headers_are_parsed_again() {
    let paths = [[1; 108], [2; 108]];
    let tlvs = Tlvs::new(b"\x05\0\x01u").unwrap();
    for (endpoints, tlvs) in [
        (tcp("1.2.3.4:5", "6.7.8.9:10"), Tlvs::default()),
        (tcp("[::1]:5", "[2::]:65535"), tlvs),
        (Endpoints::Unix { source: &paths[0], destination: &paths[1] }, tlvs),
        (Endpoints::Local, Tlvs::default()),
        (Endpoints::Unknown, Tlvs::default()),
    ] {
        for version in [Version::V1, Version::V2] {
            let mut memory = vec![0; 300];
            let mut out = Writer::new(&mut memory);
            let header = Header { version, endpoints, tlvs };
            header.encode(&mut out).unwrap();
            let written = out.written().to_vec();
            let (again, rest) = parse(&written).unwrap();
            assert_eq!(rest, 0);
            if version == Version::V2 {
                assert_eq!(again, header);
                assert!(written.len() <= MAX_V2_WITHOUT_TLVS + tlvs.as_bytes().len());
            } else if header.source().is_some() {
                assert_eq!(again.endpoints, endpoints);
            } else {
                assert_eq!(again.endpoints, Endpoints::Unknown);
            }
            let mut small = vec![0; written.len() - 1];
            assert_eq!(header.encode(&mut Writer::new(&mut small)), Err(Overflow));
        }
    }
    let mixed = Header {
        version: Version::V2,
        endpoints: tcp("1.2.3.4:5", "[::1]:6"),
        tlvs: Tlvs::default(),
    };
    let mut memory = [0; 60];
    let mut out = Writer::new(&mut memory);
    mixed.encode(&mut out).unwrap();
    let (again, _) = parse(out.written()).unwrap();
    assert_eq!(again.endpoints, tcp("[::ffff:1.2.3.4]:5", "[::1]:6"));
    // More than the length field can state.
    let long = [&[4, 0xff, 0xff][..], &[0; 65_535]].concat();
    let header = Header { tlvs: Tlvs::new(&long).unwrap(), ..mixed };
    assert_eq!(header.encode(&mut Writer::new(&mut vec![0; 70_000])), Err(Overflow));
}
