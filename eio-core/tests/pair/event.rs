//! The events of a simulation.

use crate::endpoint::Connection;
use crate::plan::Side;

#[derive(Clone, Debug)]
pub(crate) enum SimEvent {
    Tick(Side),
    Send(Side),
    Close(Side, bool),
    Jump(Side, u64),
    Stall(Side, u64),
    /// A connection breaks.
    Break,
    /// One end notices that.
    Broken(Connection, Side),
    GetArrives(Connection),
    GetWritten(Connection),
    /// The response, `None` if the request was refused.
    GetAnswered(Connection, Option<Vec<u8>>),
    PostHead(Connection),
    PostBody(Connection, Vec<u8>),
    PostAnswered(Connection, bool),
    Dial(Connection),
    Dialed(Connection, bool),
    Bytes(Connection, Side, Vec<u8>),
}

impl SimEvent {
    /// The end that handles the event; a stalled end handles it later.
    pub(crate) fn at(&self) -> Option<Side> {
        match self {
            Self::Break | Self::Jump(..) | Self::Stall(..) => None,
            Self::Tick(side)
            | Self::Send(side)
            | Self::Close(side, _)
            | Self::Broken(_, side)
            | Self::Bytes(_, side, _) => Some(*side),
            Self::GetArrives(_)
            | Self::GetWritten(_)
            | Self::PostHead(_)
            | Self::PostBody(..)
            | Self::Dial(_) => Some(Side::Server),
            Self::GetAnswered(..) | Self::PostAnswered(..) | Self::Dialed(..) => Some(Side::Client),
        }
    }

    /// The connection over which it arrives.
    pub(crate) fn connection(&self) -> Option<Connection> {
        match self {
            Self::GetArrives(id)
            | Self::GetAnswered(id, _)
            | Self::PostHead(id)
            | Self::PostBody(id, _)
            | Self::PostAnswered(id, _)
            | Self::Dial(id)
            | Self::Dialed(id, _)
            | Self::Bytes(id, ..) => Some(*id),
            _ => None,
        }
    }
}
