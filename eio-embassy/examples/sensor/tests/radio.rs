//! The supervisor of a radio with a simulated controller that loses its access point, on a virtual clock. It runs without
//! default features, because the clock of Linux is another time driver.
#![cfg(not(feature = "linux"))]

#[path = "../../../tests/host/clock.rs"]
#[allow(dead_code, reason = "the tests of eio-embassy use all of it")]
mod clock;

use std::cell::RefCell;
use std::future::pending;
use std::pin::pin;

use eio_embassy_sensor::health::{FAILURES, Health, PROGRESS, watch};
use eio_embassy_sensor::radio::{JOIN, LONGEST_DELAY, Radio, supervise};
use embassy_time::{Duration, Instant, Timer};

/// An access point and the controller of a radio.
#[derive(Default)]
struct World {
    /// The access point is there.
    up: bool,
    /// The access point knows the station.
    joined: bool,
    /// The controller believes that it has joined.
    believes: bool,
    /// Joining an absent access point does not end.
    hangs: bool,
    /// Attempts to join, and those without `leave` before.
    joins: u32,
    unclean: u32,
    left: bool,
}

struct Controller<'w>(&'w RefCell<World>);

impl Radio for Controller<'_> {
    type Error = &'static str;

    async fn join(&mut self) -> Result<(), &'static str> {
        {
            let mut world = self.0.borrow_mut();
            world.joins += 1;
            if world.joins > 1 && !world.left {
                world.unclean += 1;
            }
            world.left = false;
        }
        Timer::after_secs(2).await;
        if !self.0.borrow().up && self.0.borrow().hangs {
            pending::<()>().await;
        }
        let mut world = self.0.borrow_mut();
        (world.joined, world.believes) = (world.up, world.up);
        if world.up { Ok(()) } else { Err("no access point") }
    }

    /// The controller is asked, as that of a real radio raises an event.
    async fn lost(&mut self) {
        while self.0.borrow().believes {
            Timer::after_millis(100).await;
        }
    }

    async fn leave(&mut self) {
        let mut world = self.0.borrow_mut();
        (world.joined, world.believes, world.left) = (false, false, true);
    }
}

/// An application: a session lasts as long as the access point knows the station. Attempts take 10 s.
async fn application(world: &RefCell<World>, health: &Health, sessions: &RefCell<Vec<Instant>>) {
    loop {
        if world.borrow().joined {
            health.usable();
            sessions.borrow_mut().push(Instant::now());
            while world.borrow().joined {
                // The heartbeat.
                Timer::after_secs(1).await;
                health.progress();
            }
        } else {
            Timer::after_secs(10).await;
            health.failed();
        }
        Timer::after_secs(1).await;
    }
}

#[test]
fn radio_that_loses_its_access_point_ten_times_joins_again_each_time() {
    let world = RefCell::new(World { up: true, ..World::default() });
    let (health, sessions) = (Health::new(), RefCell::new(Vec::new()));
    let mut log = Vec::new();
    {
        let supervisor = pin!(async {
            supervise(Controller(&world), &health, |line| log.push(line.to_string())).await
        });
        let application = pin!(application(&world, &health, &sessions));
        let losses = async {
            Timer::after_secs(30).await;
            for loss in 0..10_u64 {
                let before = sessions.borrow().len();
                {
                    let mut world = world.borrow_mut();
                    // Some radios report a loss, others believe in a link that they do not have. An access point that only drops
                    // the station stays up.
                    world.joined = false;
                    world.up = loss % 5 == 4;
                    world.hangs = loss % 3 == 0;
                    if loss % 2 == 0 {
                        world.believes = false;
                    }
                }
                Timer::after_secs(5 + 37 * loss).await;
                world.borrow_mut().up = true;
                // Three attempts of the application until it gives up on the link, one join that hangs, the longest delay
                // of the supervisor, and one more attempt.
                let limit = Duration::from_secs(11) * (FAILURES + 1) + JOIN + LONGEST_DELAY;
                Timer::after(limit).await;
                assert!(sessions.borrow().len() > before, "loss {loss}: there is no session");
                assert!(world.borrow().joined, "loss {loss}");
            }
        };
        clock::run_with(&mut [pin!(async { supervisor.await }), application], losses);
    }
    assert!(log.iter().any(|line| line == "the link is lost"), "{log:#?}");
    assert!(log.iter().any(|line| line == "the network is not usable"), "{log:#?}");
    assert!(log.iter().any(|line| line == "cannot join: no answer"), "{log:#?}");
    let world = world.borrow();
    assert_eq!(world.unclean, 0, "every attempt begins with a clean station");
    // An access point that is away for six minutes costs a few attempts, not thousands.
    assert!(world.joins < 100, "{} attempts", world.joins);
}

#[test]
fn watchdog_is_fed_as_long_as_the_application_makes_progress() {
    let health = Health::new();
    let fed = RefCell::new(Instant::MIN);
    let watchdog = pin!(async { watch(&health, || *fed.borrow_mut() = Instant::now()).await });
    let application = async {
        for _ in 0..10 {
            health.progress();
            Timer::after(PROGRESS - Duration::from_secs(10)).await;
        }
        assert!(Instant::now() - *fed.borrow() <= Duration::from_secs(1));
        let last = Instant::now();
        Timer::after(PROGRESS * 2).await;
        assert!(*fed.borrow() <= last + PROGRESS, "it is fed without progress");
    };
    clock::run_with(&mut [watchdog], application);
}
