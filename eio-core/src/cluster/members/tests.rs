use std::vec::Vec;

use super::*;
use crate::buffer::Writer;

const TIMING: Timing = Timing {
    heartbeat_ms: 1_000,
    node_timeout_ms: 5_000,
    link_timeout_ms: 1_000,
    answer_jitter_ms: 100,
    settle_ms: 200,
};

fn at(millis: u64) -> Instant {
    Instant::from_millis(millis)
}

fn identity(tag: &str, incarnation: u64) -> Identity {
    Identity { tag: Tag::new(tag).unwrap(), incarnation, key: [1; 32], links: Links::new() }
}

fn sid(text: &str) -> Sid {
    Sid::new(text).unwrap()
}

/// A node with two slots for others, and what it has said.
struct Here {
    members: Members<[Peer; 2]>,
    events: Vec<Event>,
    actions: Vec<Action>,
}

impl Here {
    /// The node `here` with its bus up since 0, joined at 1 s.
    fn joined() -> Self {
        Self::joined_as(identity("here", 10), TIMING)
    }

    fn joined_as(identity: Identity, timing: Timing) -> Self {
        let members = Members::new(identity, timing, [Peer::default(), Peer::default()], at(0));
        let mut here = Self { members, events: Vec::new(), actions: Vec::new() };
        here.does(0, |members, now| members.handle_bus(true, now));
        here.until(1_000);
        here.events.clear();
        here.actions.clear();
        here
    }

    fn does(
        &mut self,
        millis: u64,
        input: impl FnOnce(&mut Members<[Peer; 2]>, Instant),
    ) -> &mut Self {
        let now = at(millis);
        input(&mut self.members, now);
        self.actions.extend(std::iter::from_fn(|| self.members.poll_action(now)));
        self.events.extend(std::iter::from_fn(|| self.members.poll_event()));
        self
    }

    /// Runs its timers.
    fn until(&mut self, millis: u64) -> &mut Self {
        while let Some(due) = self.members.poll_timeout().filter(|&due| due <= at(millis)) {
            self.does(due.as_millis(), |members, now| members.handle_timeout(now));
        }
        self
    }

    fn hears(&mut self, millis: u64, identity: Identity, state: State) -> &mut Self {
        let hello = Hello::new(identity, state);
        self.until(millis).does(millis, |members, now| members.handle_hello(&hello, 0, now))
    }

    fn hears_count(&mut self, millis: u64, sent_all: u64) -> &mut Self {
        let mut hello = Hello::new(identity("n1", 1), State::Up);
        hello.sent_all = sent_all;
        self.until(millis).does(millis, |members, now| members.handle_hello(&hello, 0, now))
    }

    fn id(&self) -> NodeId {
        self.members.find("n1").unwrap().id()
    }

    fn events(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.events)
    }

    fn route(&self) -> Route {
        self.members.route(&sid("n1.session"))
    }

    /// What it does besides saying hello.
    fn actions(&mut self) -> Vec<Action> {
        self.actions.retain(|action| *action != Action::Hello);
        std::mem::take(&mut self.actions)
    }
}

fn n1() -> Identity {
    identity("n1", 1)
}

#[test]
fn a_sid_goes_to_the_node_of_its_tag() {
    let mut here = Here::joined();
    assert_eq!(here.route(), Route::Unknown);
    here.hears(1_100, n1(), State::Up);
    let node = here.id();
    assert_eq!(here.route(), Route::Node(node));
    assert_eq!(here.events(), [Event::Up(node), Event::BusOpen(node)]);
    assert_eq!(here.members.route(&sid("here.session")), Route::Here);
    assert_eq!(here.members.route(&sid("untagged")), Route::Here);
    assert_eq!(here.members.route(&sid("n2.session")), Route::Unknown);
    here.hears(1_200, n1(), State::Leaving);
    assert_eq!((here.route(), here.events()), (Route::Node(node), [Event::Leaving(node)].into()));
    here.hears(1_300, n1(), State::Left);
    assert_eq!((here.route(), here.events()), (Route::Lost, [Event::Lost(node)].into()));
}

#[test]
fn a_node_says_hello_in_each_heartbeat_and_answers_a_newcomer_alone() {
    let mut here = Here::joined();
    here.until(4_000);
    assert_eq!(here.actions.len(), 3);
    here.actions.clear();
    let mut hello = Hello::new(n1(), State::Joining);
    hello.wants_answer = true;
    here.does(4_001, |members, now| members.handle_hello(&hello, 150, now));
    assert_eq!(here.actions, []);
    here.until(4_051);
    assert_eq!(here.actions, [Action::HelloTo(n1().tag)]);
}

#[test]
fn a_killed_node_is_lost_when_the_bus_and_its_host_say_so() {
    let mut here = Here::joined();
    here.hears(1_100, n1(), State::Up);
    let node = here.id();
    here.events();
    here.does(1_500, |members, now| members.handle_link_broken(node, now));
    assert_eq!(here.actions(), [Action::Ask(node), Action::Ping(node)]);
    here.does(1_501, |members, now| members.handle_link_failed(node, now));
    assert_eq!((here.route(), here.events()), (Route::Node(node), [].into()));
    here.does(1_502, |members, now| members.handle_no_responders(node, now));
    assert_eq!((here.route(), here.events()), (Route::Lost, [Event::Lost(node)].into()));
}

#[test]
fn a_node_without_subscriptions_whose_link_works_is_kept() {
    let mut here = Here::joined();
    here.hears(1_100, n1(), State::Up);
    let node = here.id();
    here.does(1_500, |members, now| members.handle_link_broken(node, now));
    here.does(1_501, |members, now| members.handle_no_responders(node, now));
    here.does(1_502, |members, now| members.handle_link_alive(node, now));
    here.until(4_000);
    assert_eq!(here.route(), Route::Node(node));
}

#[test]
fn a_silent_node_is_pinged_after_node_timeout_and_lost_after_link_timeout() {
    let mut here = Here::joined();
    here.hears(1_100, n1(), State::Up);
    let node = here.id();
    here.events();
    here.until(6_099);
    assert_eq!(here.actions(), []);
    here.until(6_100);
    assert_eq!(here.actions(), [Action::Ping(node)]);
    here.until(7_099);
    assert_eq!(here.route(), Route::Node(node));
    here.until(7_100);
    assert_eq!((here.route(), here.events()), (Route::Lost, [Event::Lost(node)].into()));
    // It comes back under the same id.
    here.hears(8_000, n1(), State::Up);
    assert_eq!(here.route(), Route::Node(node));
    assert_eq!(here.events(), [Event::Up(node)]);
}

#[test]
fn a_lost_node_is_pinged_for_a_while_and_then_forgotten() {
    let mut here = Here::joined();
    here.hears(1_100, n1(), State::Up);
    let node = here.id();
    here.until(67_099);
    let pings = here.actions();
    assert!(
        (10..=12).contains(&pings.len()) && pings.iter().all(|ping| *ping == Action::Ping(node))
    );
    assert_eq!(here.route(), Route::Lost);
    here.until(67_100);
    assert_eq!((here.route(), here.members.node(node).is_none()), (Route::Unknown, true));
}

#[test]
fn a_node_that_cannot_be_dialled_is_unreachable_while_it_says_hello() {
    let mut here = Here::joined();
    here.hears(1_100, n1(), State::Up);
    let node = here.id();
    here.events();
    here.does(1_500, |members, now| members.handle_link_failed(node, now));
    assert_eq!(here.actions(), [Action::Ask(node)]);
    let hello = Hello::new(n1(), State::Up);
    here.does(1_510, |members, now| members.handle_reply(node, &hello, now));
    assert_eq!(
        (here.route(), here.events()),
        (Route::Unreachable(node), [Event::Unreachable(node)].into())
    );
    assert_eq!(here.members.successor(7), None);
    here.until(2_500);
    assert_eq!(here.actions(), [Action::Ping(node)]);
    here.does(2_510, |members, now| members.handle_link_alive(node, now));
    assert_eq!((here.route(), here.events()), (Route::Node(node), [Event::Up(node)].into()));
}

#[test]
fn without_the_bus_a_node_is_never_lost() {
    let mut here = Here::joined();
    here.hears(1_100, n1(), State::Up);
    let node = here.id();
    here.events();
    here.does(1_200, |members, now| members.handle_bus(false, now));
    here.until(60_000);
    assert_eq!((here.route(), here.actions()), (Route::Node(node), [].into()));
    here.does(60_000, |members, now| members.handle_link_broken(node, now));
    here.does(60_001, |members, now| members.handle_link_failed(node, now));
    assert_eq!(
        (here.route(), here.events()),
        (Route::Unreachable(node), [Event::Unreachable(node)].into())
    );
    assert!(here.members.is_ready() && !here.members.is_bus_up());
    // The bus is back, and knows that it has ended.
    here.actions();
    here.does(61_000, |members, now| members.handle_bus(true, now));
    assert_eq!(here.actions(), [Action::Ask(node)]);
    here.does(61_001, |members, now| members.handle_no_responders(node, now));
    assert_eq!(here.actions(), [Action::Ping(node)]);
    here.does(61_002, |members, now| members.handle_link_failed(node, now));
    assert_eq!(here.route(), Route::Lost);
}

#[test]
fn messages_wait_for_the_hello_of_their_receiver_after_the_bus_returns() {
    let mut here = Here::joined();
    here.hears(1_100, n1(), State::Up).hears(1_100, identity("n2", 2), State::Up);
    let (one, two) = (here.id(), here.members.find("n2").unwrap().id());
    here.events();
    here.does(1_200, |members, now| members.handle_bus(false, now));
    assert!(!here.members.may_publish_to(one) && !here.members.may_publish_all());
    here.does(3_000, |members, now| members.handle_bus(true, now));
    assert!(!here.members.may_publish_to(one) && !here.members.may_publish_all());
    here.hears(3_100, n1(), State::Up);
    assert_eq!(here.events(), [Event::BusOpen(one)]);
    assert!(here.members.may_publish_to(one) && !here.members.may_publish_to(two));
    assert!(!here.members.may_publish_all());
    here.hears(3_200, identity("n2", 2), State::Up);
    assert_eq!(here.events(), [Event::BusOpenAll, Event::BusOpen(two)]);
    assert!(here.members.may_publish_all());
    // Or for node_timeout.
    here.does(4_000, |members, now| members.handle_bus(false, now));
    here.does(5_000, |members, now| members.handle_bus(true, now));
    here.until(9_999);
    assert!(!here.members.may_publish_all());
    here.until(10_000);
    assert!(here.members.may_publish_all());
}

#[test]
fn a_new_incarnation_replaces_the_old_one_when_it_has_joined() {
    let mut here = Here::joined();
    here.hears(1_100, n1(), State::Up);
    let old = here.id();
    here.events();
    here.hears(1_200, identity("n1", 2), State::Joining);
    assert_eq!((here.route(), here.events()), (Route::Node(old), [].into()));
    here.hears(2_200, identity("n1", 2), State::Up);
    let new = here.id();
    assert_eq!(here.events(), [Event::Lost(old), Event::Up(new), Event::BusOpen(new)]);
    assert_eq!((here.route(), here.members.node(old).is_none()), (Route::Node(new), true));
    // The last hello of the old one changes nothing.
    here.hears(2_300, n1(), State::Left);
    assert_eq!((here.route(), here.events()), (Route::Node(new), [].into()));
}

#[test]
fn of_two_nodes_with_one_tag_the_one_that_has_joined_keeps_it() {
    let mut here = Here::joined();
    here.does(1_100, |members, now| {
        members.handle_hello(&Hello::new(identity("here", 1), State::Joining), 0, now);
    });
    assert_eq!((here.events(), &here.actions[..]), ([].into(), &[Action::Hello][..]));
    // Both have joined, on two sides of a bus that was split: the lower incarnation keeps the tag.
    here.hears(1_200, identity("here", 11), State::Up);
    assert_eq!(here.events(), []);
    here.hears(1_300, identity("here", 9), State::Up);
    assert_eq!(here.events(), [Event::TagTaken]);

    let mut newcomer = Members::new(identity("here", 1), TIMING, [Peer::default()], at(0));
    newcomer.handle_bus(true, at(0));
    newcomer.handle_hello(&Hello::new(identity("here", 11), State::Up), 0, at(10));
    newcomer.handle_timeout(at(1_000));
    assert_eq!((newcomer.poll_event(), newcomer.is_ready()), (Some(Event::TagTaken), false));
}

#[test]
fn a_node_without_a_slot_is_unknown_and_takes_that_of_a_lost_one() {
    let mut here = Here::joined();
    here.hears(1_100, n1(), State::Up).hears(1_100, identity("n2", 2), State::Up);
    here.events();
    here.hears(1_200, identity("n3", 3), State::Up).hears(1_300, identity("n3", 3), State::Up);
    assert_eq!(here.events(), [Event::Full]);
    assert_eq!(here.members.route(&sid("n3.session")), Route::Unknown);
    here.hears(1_400, n1(), State::Left).hears(1_500, identity("n3", 3), State::Up);
    assert!(matches!(here.members.route(&sid("n3.session")), Route::Node(_)));
    assert_eq!(here.route(), Route::Unknown);
}

#[test]
fn a_handshake_while_leaving_goes_to_one_of_two_nodes_with_fewer_sessions() {
    let mut here = Here::joined();
    assert_eq!(here.members.successor(0), None);
    for (tag, incarnation, sessions) in [("n1", 1, 500), ("n2", 2, 20)] {
        let mut hello = Hello::new(identity(tag, incarnation), State::Up);
        hello.sessions = sessions;
        here.does(1_100, |members, now| members.handle_hello(&hello, 0, now));
    }
    let two = here.members.find("n2").unwrap().id();
    assert_eq!(here.members.successor(0x0001_0000), Some(two));
    here.members.leave();
    here.does(1_200, |_, _| {});
    assert_eq!((here.members.state(), here.members.is_ready()), (State::Leaving, false));
    assert_eq!(here.actions.last(), Some(&Action::Hello));
    here.members.finish();
    here.does(1_300, |_, _| {});
    assert_eq!(here.actions.last(), Some(&Action::Hello));
    here.actions.clear();
    here.until(5_000);
    assert!(!here.actions.contains(&Action::Hello), "it has left");
}

#[test]
fn lost_messages_are_counted_at_the_next_message_or_hello() {
    let mut here = Here::joined();
    here.hears_count(1_100, 3).hears_count(2_100, 3);
    let node = here.id();
    here.events();
    let mut stamp = Stamp { tag: n1().tag, incarnation: 1, number: 4 };
    assert!(here.members.handle_stamp(Channel::All, &stamp));
    stamp.number = 7;
    here.does(2_200, |members, _| _ = members.handle_stamp(Channel::All, &stamp));
    assert_eq!(here.events(), [Event::MessagesLost { node, count: 2 }]);
    // Two more were published and have not arrived within settle_ms.
    here.hears_count(3_100, 9);
    here.until(3_299);
    assert_eq!(here.events(), []);
    here.until(3_300);
    assert_eq!(here.events(), [Event::MessagesLost { node, count: 2 }]);
    assert_eq!(here.members.node(node).unwrap().messages_lost(), 4);
    // Of a sender that is not known nothing is counted.
    stamp.incarnation = 2;
    assert!(!here.members.handle_stamp(Channel::All, &stamp));
}

#[test]
fn numbers_for_one_receiver_never_go_back() {
    let mut here = Here::joined();
    here.hears(1_100, n1(), State::Up);
    let old = here.id();
    let numbers: Vec<_> = (0..3).map(|_| here.members.stamp_to(old).unwrap().number).collect();
    assert_eq!(numbers, [1, 2, 3]);
    here.hears(1_200, identity("n1", 2), State::Up);
    assert_eq!(here.members.stamp_to(old), None);
    let new = here.id();
    assert_eq!(here.members.stamp_to(new).unwrap().number, 4);
    let mut memory = [0; 256];
    let mut out = Writer::new(&mut memory);
    here.members.write_hello(&mut out).unwrap();
    let hello = Hello::parse(out.written()).unwrap();
    assert_eq!((hello.sent_to(2), hello.sent_to(1), hello.sent_all), (Some(4), None, 0));
    assert_eq!(here.members.stamp_all().number, 1);
}

#[test]
fn a_node_that_was_stopped_pings_again_before_it_gives_up_another() {
    let mut here = Here::joined();
    here.hears(1_100, n1(), State::Up);
    let node = here.id();
    here.until(6_100);
    assert_eq!(here.actions(), [Action::Ping(node)]);
    // It was stopped: the answer to the ping may wait in its socket.
    here.does(20_000, |members, now| members.handle_timeout(now));
    assert_eq!((here.actions(), here.route()), ([Action::Ping(node)].into(), Route::Node(node)));
}

/// A stopped process keeps its sockets: pings are sent and not answered.
#[test]
fn by_default_a_stopped_node_is_lost_within_6_s_and_up_within_2_s_of_its_return() {
    let joined = |identity| Here::joined_as(identity, Timing::default());
    // Of a hello, in the network.
    const DELAY: u64 = 3;
    for (phase, pause) in (0..=1_000).step_by(25).zip([7_000, 10_000, 50_000].into_iter().cycle()) {
        let (mut here, mut there) = (joined(identity("here", 10)), joined(n1()));
        let says_hello = |there: &mut Here, now| {
            there.until(now);
            there.actions.drain(..).any(|action| action == Action::Hello)
        };
        here.hears(1_000 + DELAY, n1(), State::Up);
        let stop = 5_000 + phase;
        for now in 1_001..=stop {
            if says_hello(&mut there, now) {
                here.hears(now + DELAY, n1(), State::Up);
            }
        }
        let continues = stop + pause;
        let lost = (stop + DELAY..continues).find(|&now| here.until(now).route() == Route::Lost);
        let after = lost.expect("it is lost") - stop;
        assert!((4_500..5_600).contains(&after), "lost {after} ms after the stop");
        let hello = (continues..continues + 2_000).find(|&now| says_hello(&mut there, now));
        here.hears(hello.expect("a hello") + DELAY, n1(), State::Up);
        assert_eq!(here.route(), Route::Node(here.id()));
    }
}
