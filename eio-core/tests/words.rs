//! The texts of errors: not empty, distinct, and without data of the peer.

use std::fmt::Display;

use eio_core::buffer::Overflow;
use eio_core::http::{self, UrlError, WriteError};
use eio_core::request::Reject;
use eio_core::session::{CloseReason, UpgradeFailure, Violation};
use eio_core::sid::{InvalidSid, Sid};
use eio_core::transport::Transport;
use eio_core::ws::deflate;
use eio_core::ws::handshake::{Mismatch, Refusal};
use eio_core::ws::{self, CloseCode};
use eio_core::{open, packet};

/// Checks that each error has a text of its own.
#[track_caller]
fn differ(errors: &[&dyn Display]) {
    let mut words: Vec<_> = errors.iter().map(|error| error.to_string()).collect();
    assert!(words.iter().all(|words| words.len() > 4 && words.is_ascii()), "{words:?}");
    let count = words.len();
    words.sort();
    words.dedup();
    assert_eq!(words.len(), count, "{words:?}");
}

#[test]
fn texts_of_packet_errors_are_distinct() {
    differ(&[
        &packet::Error::Empty,
        &packet::Error::UnknownType,
        &packet::Error::Utf8,
        &packet::Error::Base64,
    ]);
    differ(&[
        &open::Error::Json,
        &open::Error::Type,
        &open::Error::Number,
        &open::Error::TooDeep,
        &open::Error::Missing("sid"),
        &open::Error::Sid,
    ]);
}

#[test]
fn texts_of_websocket_errors_are_distinct() {
    differ(&[
        &ws::Error::ReservedBits,
        &ws::Error::ReservedOpcode,
        &ws::Error::FragmentedControl,
        &ws::Error::ControlTooLong,
        &ws::Error::Unmasked,
        &ws::Error::Masked,
        &ws::Error::LengthNotMinimal,
        &ws::Error::LengthTopBit,
        &ws::Error::NothingToContinue,
        &ws::Error::MessageUnfinished,
        &ws::Error::TooBig,
        &ws::Error::NotDeflate,
        &ws::Error::TextNotUtf8,
        &ws::Error::CloseTruncated,
        &ws::Error::CloseCodeInvalid,
        &ws::Error::ReasonNotUtf8,
    ]);
    differ(&[
        &Refusal::Method,
        &Refusal::HttpVersion,
        &Refusal::Upgrade,
        &Refusal::Connection,
        &Refusal::Version,
        &Refusal::KeyMissing,
        &Refusal::KeyRepeated,
        &Refusal::KeyInvalid,
    ]);
    differ(&[
        &Mismatch::Status,
        &Mismatch::Upgrade,
        &Mismatch::Connection,
        &Mismatch::Accept,
        &Mismatch::Extension,
        &Mismatch::Protocol,
    ]);
}

#[test]
fn texts_of_http_errors_are_distinct() {
    differ(&[
        &http::Error::HeadTooLarge,
        &http::Error::StartLineTooLarge,
        &http::Error::TooManyHeaders,
        &http::Error::LeadingEmptyLines,
        &http::Error::BareLf,
        &http::Error::BareCr,
        &http::Error::Nul,
        &http::Error::NotOneHead,
        &http::Error::BadRequestLine,
        &http::Error::BadStatusLine,
        &http::Error::UnsupportedVersion,
        &http::Error::BadTarget,
        &http::Error::BadHeaderName,
        &http::Error::SpaceBeforeColon,
        &http::Error::ObsFold,
        &http::Error::BadHeaderValue,
        &http::Error::MissingHost,
        &http::Error::RepeatedHost,
        &http::Error::BadHost,
        &http::Error::BadContentLength,
        &http::Error::RepeatedContentLength,
        &http::Error::LengthAndTransferEncoding,
        &http::Error::TransferEncodingInHttp10,
        &http::Error::UnknownTransferEncoding,
        &http::Error::BodyTooLarge,
        &http::Error::BadChunkLine,
        &http::Error::BadChunkEnd,
        &http::Error::TooMuchFraming,
        &http::Error::BadTrailer,
        &http::Error::Truncated,
    ]);
    differ(&[
        &UrlError::IllegalCharacter,
        &UrlError::Fragment,
        &UrlError::UnknownScheme,
        &UrlError::BadAuthority,
    ]);
    differ(&[&WriteError::Overflow, &WriteError::IllegalValue]);
}

#[test]
fn texts_of_session_errors_are_distinct() {
    differ(&[
        &Reject::UnknownTransport,
        &Reject::UnknownSid,
        &Reject::BadHandshakeMethod,
        &Reject::BadRequest,
        &Reject::Forbidden,
        &Reject::UnsupportedVersion,
        &Reject::MethodNotAllowed,
    ]);
    differ(&[
        &Violation::OverlappingGet,
        &Violation::OverlappingPost,
        &Violation::TransportMismatch,
        &Violation::AlreadyUpgrading,
        &Violation::Ended,
        &Violation::WrongDirection,
        &Violation::UnexpectedPacket,
        &Violation::NotAttached,
        &Violation::NotOpened,
    ]);
    differ(&[&UpgradeFailure::Timeout, &UpgradeFailure::Lost, &UpgradeFailure::UnexpectedPacket]);
    differ(&[
        &CloseReason::ClientDisconnect,
        &CloseReason::ServerDisconnect,
        &CloseReason::PingTimeout,
        &CloseReason::TransportClose,
        &CloseReason::TransportError,
        &CloseReason::ParseError,
        &CloseReason::PayloadTooLarge,
        &CloseReason::HandlerPanicked,
    ]);
    differ(&[&Overflow, &InvalidSid, &deflate::Malformed]);
    differ(&[&Transport::Polling, &Transport::WebSocket]);
}

#[test]
fn values_display_as_they_are_sent() {
    let sid = Sid::new("lv_VI97HAXpY6yYWAAAC").expect("a sid");
    assert_eq!(sid.to_string(), "lv_VI97HAXpY6yYWAAAC");
    assert_eq!(format!("{sid:?}"), "Sid(lv_VI97HAXpY6yYWAAAC)");
    assert_eq!(CloseCode::NORMAL.to_string(), "1000");
    assert_eq!(Transport::WebSocket.to_string(), "websocket");
}
