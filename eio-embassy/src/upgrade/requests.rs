//! [`Requests`]: the polling of a session during its upgrade, on one connection.

use core::mem::take;

use eio_core::session::Lane;
use eio_core::session::client::ClientSession;
use eio_core::sid::Sid;
use eio_core::time::Instant;

use crate::config::Config;
use crate::early::Early;
use crate::error::Error;
use crate::polling::http::Exchange;
use crate::upgrade::opening::pack_body;

/// The requests of a session during its upgrade, on one connection. A GET is in flight, except while a POST answers a
/// ping. After a response with messages no GET is started until the upgrade is complete or has failed, because the
/// messages occupy the receive buffer.
#[derive(Debug)]
pub(crate) struct Requests<'b> {
    pub(crate) exchange: Exchange<'b>,
    pub(crate) early: Early<'b>,
    sid: Sid,
    /// The session expects a GET.
    get_due: bool,
    /// The session expects a POST.
    post_due: bool,
    /// The request in flight is a POST.
    posting: bool,
}

impl<'b> Requests<'b> {
    pub(crate) fn new(exchange: Exchange<'b>, early: Early<'b>, sid: Sid) -> Self {
        Self { exchange, early, sid, get_due: false, post_due: false, posting: false }
    }

    pub(crate) const fn is_posting(&self) -> bool {
        self.posting
    }

    /// Processes received bytes and starts the next request.
    pub(crate) fn advance(
        &mut self,
        session: &mut ClientSession,
        config: &Config<'_>,
        now: Instant,
    ) -> Result<(), Error> {
        loop {
            self.receive(session, config, now)?;
            if self.early.is_empty() {
                while let Some(lane) = session.poll_lane(false) {
                    self.get_due |= lane == Lane::Get;
                    self.post_due |= lane == Lane::Post;
                }
            }
            if !self.exchange.is_idle() {
                return Ok(());
            }
            let sid = Some(&self.sid);
            if take(&mut self.post_due) {
                self.posting = true;
                let cookies = self.exchange.cookies.value();
                self.exchange.start_post(config, sid, cookies, session, None, now)?;
            } else if take(&mut self.get_due) {
                self.exchange.start_get(config, sid, now)?;
            } else {
                return Ok(());
            }
        }
    }

    /// Processes a complete response.
    fn receive(
        &mut self,
        session: &mut ClientSession,
        config: &Config<'_>,
        now: Instant,
    ) -> Result<(), Error> {
        if self.posting {
            if self.exchange.poll_ok(now)? {
                self.exchange.finish();
                self.posting = false;
                session.detach(Lane::Post);
            }
        } else if self.exchange.poll_get(config, Some(&self.sid), now)? {
            self.early = pack_body(&mut self.exchange, session, 0, now)?;
        }
        Ok(())
    }
}
