//! [`supervise`]: keeps a radio joined to its access point.

use core::fmt;
use core::future::Future;

use embassy_futures::select::{Either, select};
use embassy_time::{Duration, Timer, with_timeout};

use crate::health::Health;

/// A radio may wait forever for the answer of an access point that went away.
pub const JOIN: Duration = Duration::from_secs(30);

/// The longest delay between two attempts to join.
pub const LONGEST_DELAY: Duration = Duration::from_secs(60);

/// The station of a Wi-Fi controller. Its futures may be dropped.
pub trait Radio {
    /// Why it could not join.
    type Error: fmt::Debug;

    /// Joins the access point.
    fn join(&mut self) -> impl Future<Output = Result<(), Self::Error>>;

    /// Waits until the radio reports that the link is lost.
    fn lost(&mut self) -> impl Future<Output = ()>;

    /// Leaves the access point, also one that the radio believes to be there, or an attempt to join.
    fn leave(&mut self) -> impl Future<Output = ()>;
}

/// Joins, and joins again whenever the radio reports the loss of its link, or the application cannot open a session for
/// several attempts. The radio is not the only judge, because some do not notice that an access point has dropped them.
pub async fn supervise(
    mut radio: impl Radio,
    health: &Health,
    mut log: impl FnMut(fmt::Arguments<'_>),
) -> ! {
    let mut delay = Duration::from_secs(1);
    loop {
        match with_timeout(JOIN, radio.join()).await {
            Ok(Ok(())) => {
                log(format_args!("joined"));
                health.usable();
                delay = Duration::from_secs(1);
                match select(radio.lost(), health.unusable()).await {
                    Either::First(()) => log(format_args!("the link is lost")),
                    Either::Second(()) => log(format_args!("the network is not usable")),
                }
            }
            Ok(Err(error)) => log(format_args!("cannot join: {error:?}")),
            Err(_) => log(format_args!("cannot join: no answer")),
        }
        let _ = with_timeout(JOIN, radio.leave()).await;
        Timer::after(delay).await;
        delay = (delay * 2).min(LONGEST_DELAY);
    }
}
