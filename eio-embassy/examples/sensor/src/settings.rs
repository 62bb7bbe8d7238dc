//! The settings of a board, from environment variables at compile time. A setting that is missing or malformed does not
//! compile.

use core::net::Ipv4Addr;

use embassy_net::{Config, Ipv4Cidr, StaticConfigV4};

/// `EIO_SERVER`: the host of the server, such as `192.168.1.10:3000`.
pub const SERVER: &str =
    env!("EIO_SERVER", "set EIO_SERVER to the host and port of the server: 192.168.1.10:3000");

/// `WIFI_SSID`: the name of the access point.
#[cfg(feature = "wifi")]
pub const SSID: &str = env!("WIFI_SSID", "set WIFI_SSID to the name of the access point");

/// `WIFI_PASSWORD`: its password. An empty one is for an open network.
#[cfg(feature = "wifi")]
pub const PASSWORD: &str =
    env!("WIFI_PASSWORD", "set WIFI_PASSWORD to the password of the access point, or to nothing");

const _: () = assert!(!SERVER.is_empty(), "EIO_SERVER is empty");

/// The limits of IEEE 802.11 for a name and for a password of WPA.
#[cfg(feature = "wifi")]
const _: () = {
    assert!(!SSID.is_empty() && SSID.len() <= 32, "WIFI_SSID has 1 to 32 bytes");
    let length = PASSWORD.len();
    assert!(
        length == 0 || (length >= 8 && length <= 64),
        "WIFI_PASSWORD has 8 to 64 bytes, or none"
    );
};

/// `EIO_ADDRESS`: an address and the length of its prefix, such as `192.168.1.23/24`. Without it DHCP assigns one.
const ADDRESS: Option<(Ipv4Addr, u8)> = match option_env!("EIO_ADDRESS") {
    Some(text) => Some(address(text.as_bytes())),
    None => None,
};

/// `EIO_GATEWAY`: the router for a static address, which is also the name server.
const GATEWAY: Option<Ipv4Addr> = match option_env!("EIO_GATEWAY") {
    Some(text) => {
        let (gateway, end) = ipv4(text.as_bytes(), 0);
        assert!(end == text.len(), "EIO_GATEWAY is an address such as 192.168.1.1");
        Some(gateway)
    }
    None => None,
};

/// The configuration of the network: a static address, or DHCP.
pub fn network() -> Config {
    let Some((address, prefix)) = ADDRESS else { return Config::dhcpv4(Default::default()) };
    Config::ipv4_static(StaticConfigV4 {
        address: Ipv4Cidr::new(address, prefix),
        gateway: GATEWAY,
        dns_servers: GATEWAY.into_iter().collect(),
    })
}

/// A locally administered, unicast address made of the identifier of a chip (IEEE 802, bits 0 and 1 of the first byte).
pub const fn mac(id: [u8; 6]) -> [u8; 6] {
    let [first, rest @ ..] = id;
    let [b, c, d, e, f] = rest;
    [first & 0b1111_1100 | 0b10, b, c, d, e, f]
}

const fn address(text: &[u8]) -> (Ipv4Addr, u8) {
    let (address, slash) = ipv4(text, 0);
    assert!(slash < text.len() && text[slash] == b'/', "EIO_ADDRESS is such as 192.168.1.23/24");
    let (prefix, end) = number(text, slash + 1);
    assert!(end == text.len() && prefix <= 32, "the prefix of EIO_ADDRESS is 0 to 32");
    (address, prefix)
}

/// The address at `at`, and the position after it.
const fn ipv4(text: &[u8], at: usize) -> (Ipv4Addr, usize) {
    let mut octets = [0; 4];
    let (mut at, mut i) = (at, 0);
    while i < 4 {
        if i > 0 {
            assert!(at < text.len() && text[at] == b'.', "an address is four numbers and dots");
            at += 1;
        }
        (octets[i], at) = number(text, at);
        i += 1;
    }
    let [a, b, c, d] = octets;
    (Ipv4Addr::new(a, b, c, d), at)
}

/// The number at `at`, and the position after it.
const fn number(text: &[u8], at: usize) -> (u8, usize) {
    let (mut value, mut end) = (0_u32, at);
    while end < text.len() && text[end].is_ascii_digit() {
        value = value * 10 + (text[end] - b'0') as u32;
        assert!(value <= 255, "a number of an address is 0 to 255");
        end += 1;
    }
    assert!(end > at, "an address is four numbers and dots");
    (value as u8, end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn address_has_a_prefix() {
        assert_eq!(address(b"192.168.1.23/24"), (Ipv4Addr::new(192, 168, 1, 23), 24));
        assert_eq!(address(b"0.0.0.255/0"), (Ipv4Addr::new(0, 0, 0, 255), 0));
    }

    #[test]
    fn mac_is_locally_administered_and_unicast() {
        assert_eq!(mac([0xff, 1, 2, 3, 4, 5]), [0xfe, 1, 2, 3, 4, 5]);
        assert_eq!(mac([0; 6]), [2, 0, 0, 0, 0, 0]);
    }
}
