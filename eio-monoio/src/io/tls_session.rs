//! [`Session`]: the state of rustls for one connection, and the steps in which it processes records.

use rustls::client::UnbufferedClientConnection;
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{
    ConnectionState, EncodeError, EncryptError, UnbufferedStatus, WriteTraffic,
};
use rustls::{CommonState, Error};

pub(crate) enum Session {
    Client(UnbufferedClientConnection),
    Server(UnbufferedServerConnection),
}

impl Session {
    pub(crate) fn common(&self) -> &CommonState {
        match self {
            Self::Client(client) => client,
            Self::Server(server) => server,
        }
    }

    /// Processes at most one record of `received`. Returns the length of its front that is processed. `received` must
    /// begin where the processed part of the previous step ended.
    pub(crate) fn step(
        &mut self,
        received: &mut [u8],
        inbound: &mut Inbound<'_>,
        outbound: Option<&mut Outbound<'_>>,
    ) -> (usize, Result<Step, Error>) {
        match self {
            Self::Client(client) => {
                advance(client.process_tls_records(received), inbound, outbound)
            }
            Self::Server(server) => {
                advance(server.process_tls_records(received), inbound, outbound)
            }
        }
    }
}

/// The destination of received records.
pub(crate) struct Inbound<'a> {
    /// The application's buffer, and how much of it is filled.
    pub(crate) into: &'a mut [u8],
    pub(crate) filled: &'a mut usize,
    /// Decrypted bytes after those.
    pub(crate) plain: &'a mut Vec<u8>,
    /// Records of TLS itself that are to be sent.
    pub(crate) records: &'a mut Vec<u8>,
    /// The peer has sent close_notify.
    pub(crate) ended: bool,
}

impl Inbound<'_> {
    /// Whether the application's buffer has no room. A buffer without any length is not full.
    pub(crate) fn is_full(&self) -> bool {
        !self.into.is_empty() && *self.filled == self.into.len()
    }

    fn take(&mut self, bytes: &[u8]) {
        let room = &mut self.into[*self.filled..];
        let (now, later) = bytes.split_at(bytes.len().min(room.len()));
        room[..now.len()].copy_from_slice(now);
        *self.filled += now.len();
        self.plain.extend_from_slice(later);
    }
}

/// Bytes to be encrypted, or a close_notify.
pub(crate) struct Outbound<'a> {
    pub(crate) bytes: Option<&'a [u8]>,
    pub(crate) records: &'a mut Vec<u8>,
}

impl Outbound<'_> {
    fn encrypt<D>(&mut self, mut traffic: WriteTraffic<'_, D>) -> Result<usize, Error> {
        loop {
            let encrypted = match self.bytes {
                Some(bytes) => traffic.encrypt(bytes, self.records),
                None => traffic.queue_close_notify(self.records),
            };
            match encrypted {
                Ok(len) => return Ok(len),
                // Records of TLS itself are sent before.
                Err(EncryptError::InsufficientSize(size)) => {
                    self.records.resize(size.required_size, 0);
                }
                Err(EncryptError::EncryptExhausted) => return Err(Error::EncryptError),
            }
        }
    }
}

/// The outcome of a step.
pub(crate) enum Step {
    /// Further records may be pending.
    Progress,
    /// There is no complete record.
    Blocked,
    /// The outbound bytes have become records of this length.
    Encrypted(usize),
}

fn advance<D>(
    status: UnbufferedStatus<'_, '_, D>,
    inbound: &mut Inbound<'_>,
    outbound: Option<&mut Outbound<'_>>,
) -> (usize, Result<Step, Error>) {
    let UnbufferedStatus { mut discard, state } = status;
    let step = match state {
        Err(error) => Err(error),
        Ok(ConnectionState::ReadTraffic(mut traffic)) => loop {
            match traffic.next_record() {
                None => break Ok(Step::Progress),
                Some(Err(error)) => break Err(error),
                Some(Ok(record)) => {
                    discard += record.discard;
                    inbound.take(record.payload);
                }
            }
        },
        Ok(ConnectionState::EncodeTlsData(mut data)) => {
            let start = inbound.records.len();
            if let Err(EncodeError::InsufficientSize(size)) = data.encode(&mut []) {
                inbound.records.resize(start + size.required_size, 0);
                // It fits now.
                _ = data.encode(&mut inbound.records[start..]);
            }
            Ok(Step::Progress)
        }
        Ok(ConnectionState::TransmitTlsData(data)) => {
            data.done();
            Ok(Step::Progress)
        }
        Ok(ConnectionState::PeerClosed) => {
            inbound.ended = true;
            Ok(Step::Progress)
        }
        Ok(ConnectionState::WriteTraffic(traffic)) => match outbound {
            Some(outbound) => outbound.encrypt(traffic).map(Step::Encrypted),
            None => Ok(Step::Blocked),
        },
        // A handshake in progress, or a connection that both sides have closed. Early data is not enabled.
        Ok(_) => Ok(Step::Blocked),
    };
    (discard, step)
}
