//! [`ask`]: the time from an NTP server (SNTP, RFC 4330), for boards that check certificates.

use embassy_net::dns::DnsQueryType;
use embassy_net::udp::{PacketMetadata, UdpSocket};
use embassy_net::{IpEndpoint, Stack};
use embassy_time::{Duration, with_timeout};

const PORT: u16 = 123;
const LENGTH: usize = 48;
/// The position of the time at which the server received the time `TRANSMITTED` of the client.
const ORIGINATED: usize = 24;
const TRANSMITTED: usize = 40;
/// From 1900, the epoch of NTP, to 1970.
const EPOCH: u64 = 2_208_988_800;
/// The time for a name and for an answer.
const TIMEOUT: Duration = Duration::from_secs(5);

/// The time in seconds since 1970, from the server `host`, such as `pool.ntp.org` or the router. `nonce` is random: an
/// answer must repeat it. The answer is not authenticated: an attacker on the way to the server can choose the time, and so
/// make an expired certificate valid.
pub async fn ask(stack: Stack<'_>, host: &str, nonce: u64) -> Option<u64> {
    with_timeout(TIMEOUT, async {
        let addresses = stack.dns_query(host, DnsQueryType::A).await.ok()?;
        let server = IpEndpoint::new(*addresses.first()?, PORT);
        let mut metadata = ([PacketMetadata::EMPTY; 1], [PacketMetadata::EMPTY; 1]);
        let (mut rx, mut tx) = ([0; LENGTH + 20], [0; LENGTH]);
        let mut socket = UdpSocket::new(stack, &mut metadata.0, &mut rx, &mut metadata.1, &mut tx);
        // A port of the stack's choice.
        socket.bind(0).ok()?;
        socket.send_to(&request(nonce), server).await.ok()?;
        loop {
            let mut bytes = [0; LENGTH + 20];
            let (length, from) = socket.recv_from(&mut bytes).await.ok()?;
            if from.endpoint == server
                && let Some(time) = answer(bytes.get(..length)?, nonce)
            {
                return Some(time);
            }
        }
    })
    .await
    .ok()?
}

fn request(nonce: u64) -> [u8; LENGTH] {
    let mut bytes = [0; LENGTH];
    // No warning, version 4, client.
    bytes[0] = 0b00_100_011;
    bytes[TRANSMITTED..].copy_from_slice(&nonce.to_be_bytes());
    bytes
}

/// The time in an answer to the request with this nonce.
fn answer(bytes: &[u8], nonce: u64) -> Option<u64> {
    let (&first, &stratum) = (bytes.first()?, bytes.get(1)?);
    // 3 is a server without a time itself. The mode of a server is 4. Stratum 0 is a refusal.
    let (warning, mode) = (first >> 6, first & 0b111);
    let originated = bytes.get(ORIGINATED..ORIGINATED + 8)?;
    if warning == 3
        || mode != 4
        || !(1..=15).contains(&stratum)
        || originated != nonce.to_be_bytes()
    {
        return None;
    }
    let seconds = bytes.get(TRANSMITTED..TRANSMITTED + 4)?.try_into().ok()?;
    let seconds = u64::from(u32::from_be_bytes(seconds));
    // Numbers without the highest bit are of the era that begins in 2036.
    let era = if seconds >> 31 == 0 { 1 << 32 } else { 0 };
    Some(seconds + era - EPOCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An answer at this time of NTP.
    fn at(seconds: u32, nonce: u64) -> [u8; LENGTH] {
        let mut bytes = [0; LENGTH];
        (bytes[0], bytes[1]) = (0b00_100_100, 2);
        bytes[ORIGINATED..ORIGINATED + 8].copy_from_slice(&nonce.to_be_bytes());
        bytes[TRANSMITTED..TRANSMITTED + 4].copy_from_slice(&seconds.to_be_bytes());
        bytes
    }

    #[test]
    fn answer_is_in_seconds_since_1970_in_both_eras() {
        // RFC 5905 figure 4: 1 January 2000, and the first day of era 1.
        assert_eq!(answer(&at(3_155_673_600, 7), 7), Some(946_684_800));
        assert_eq!(answer(&at(0, 7), 7), Some(2_085_978_496));
    }

    #[test]
    fn answers_that_are_not_the_servers_are_refused() {
        let good = at(3_155_673_600, 7);
        assert_eq!(answer(&good, 8), None, "another nonce");
        assert_eq!(answer(&good[..43], 7), None, "too short");
        for (position, value) in [(0, 0b11_100_100), (0, 0b00_100_011), (1, 0), (1, 16)] {
            let mut bad = good;
            bad[position] = value;
            assert_eq!(answer(&bad, 7), None, "byte {position} is {value:#b}");
        }
        assert_eq!(request(7)[TRANSMITTED..], 7_u64.to_be_bytes());
    }
}
