//! Reaching other sessions: groups, all but some, those of a worker, one on its worker.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::sync::mpsc;

use eio_monoio::{
    ConnectRequest, Handler, Message, OwnedMessage, Refusal, Remote, Sid, Socket, SpawnError, sleep,
};

use crate::support::configs::{default_config, for_each_config};
use crate::support::polling::{Polling, sid_of};
use crate::support::request::WEBSOCKET;
use crate::support::test_server::TestServer;
use crate::support::wait::{TIMEOUT, eventually};
use crate::support::websocket::WebSocket;

/// Executes commands in messages, with sids as arguments.
struct Rooms;

/// A session with its name and the jobs that reached it.
struct Member {
    name: String,
    jobs: Cell<u32>,
}

impl Rooms {
    async fn execute(socket: Socket<Member>, command: String) {
        let mut words = command.split(' ');
        let verb = words.next().expect("a verb");
        let sids: Vec<Sid> = words.map(|sid| sid.parse().expect("a valid sid")).collect();
        let server = socket.server();
        match verb {
            "order" => {
                for n in 0..20 {
                    server.send_many(&sids, format!("{n} many").as_str());
                    sids.iter().for_each(|sid| server.send(sid, format!("{n} one").as_str()));
                    server.broadcast_except(&sids[..1], format!("{n} others").as_str());
                    server.broadcast(format!("{n} all").as_str());
                    socket.try_send(format!("{n} own").as_str()).expect("the queue has room");
                }
            }
            "except" => server.broadcast_except(&sids, "to the others"),
            "sockets" => {
                let names: Vec<_> =
                    server.sockets().map(|other| other.data().name.clone()).collect();
                socket.try_send(names.join(" ").as_str()).expect("the queue has room");
            }
            "sids" => {
                let sids: Vec<_> =
                    server.remote().sids().await.iter().map(ToString::to_string).collect();
                socket.try_send(sids.join(" ").as_str()).expect("the queue has room");
            }
            "job" => sids.iter().for_each(|sid| {
                let from = socket.data().name.clone();
                server.spawn_at(sid, move |other| run_job(other, from));
            }),
            other => panic!("unknown command {other:?}"),
        }
    }
}

/// Awaits and uses the data of the session, which only its worker can.
async fn run_job(socket: Socket<Member>, from: String) {
    sleep(std::time::Duration::from_millis(1)).await;
    let Member { name, jobs } = socket.data();
    jobs.set(jobs.get() + 1);
    let text = format!("{name} {} from {from}", jobs.get());
    socket.send(text.as_str()).await.expect("it is open");
}

impl Handler for Rooms {
    type Session = Member;

    async fn connect(&self, request: &ConnectRequest<'_>) -> Result<Member, Refusal> {
        let name = request.query("name").map_or_else(|| "unnamed".to_owned(), Into::into);
        Ok(Member { name, jobs: Cell::new(0) })
    }

    fn message<'s>(
        &'s self,
        socket: &Socket<Member>,
        message: Message<'_>,
    ) -> impl Future<Output = ()> + use<'s> {
        let (socket, message) = (socket.clone(), OwnedMessage::from(message));
        async move {
            match message {
                OwnedMessage::Text(command) => Self::execute(socket, command).await,
                OwnedMessage::Binary(_) => panic!("no command"),
            }
        }
    }
}

/// WebSocket sessions with the names `0`, `1` and so on.
fn open_members(server: &TestServer, count: usize) -> Vec<(WebSocket, Sid)> {
    let members = (0..count).map(|name| {
        let mut socket = WebSocket::connect(server.addr(), &format!("{WEBSOCKET}&name={name}"));
        let sid = sid_of(&socket.text()).parse().expect("a valid sid");
        (socket, sid)
    });
    members.collect()
}

fn list(sids: &[Sid]) -> String {
    sids.iter().map(|sid| format!(" {sid}")).collect()
}

/// Completes a future on this thread.
fn block_on<F: Future>(future: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(future)
}

#[test]
fn messages_of_one_handler_arrive_in_order_whichever_way_they_are_sent() {
    for_each_config(|config| {
        let server = TestServer::run(config, |_| Rooms);
        let mut members = open_members(&server, 8);
        let mut polling = Polling::open(server.addr());
        let polled: Sid = polling.sid.parse().expect("a valid sid");
        let first = members[0].1.clone();
        let mut group = vec![first, polled];
        group.extend(members[2..6].iter().map(|(_, sid)| sid.clone()));
        members[0].0.send(&format!("4order{}", list(&group)));
        for (index, (socket, sid)) in members.iter_mut().enumerate() {
            for n in 0..20 {
                let in_group = group.contains(sid);
                let expected = [
                    ("many", in_group),
                    ("one", in_group),
                    ("others", index != 0),
                    ("all", true),
                    ("own", index == 0),
                ];
                for (way, _) in expected.iter().filter(|(_, receives)| *receives) {
                    assert_eq!(socket.text(), format!("4{n} {way}"), "session {index}");
                }
            }
        }
        let mut packets = Vec::new();
        while packets.len() < 80 {
            packets.extend(polling.poll().split('\u{1e}').map(str::to_owned));
        }
        let ways = ["many", "one", "others", "all"];
        let expected = (0..20).flat_map(|n| ways.map(|way| format!("4{n} {way}")));
        assert_eq!(packets, expected.collect::<Vec<_>>());
    });
}

#[test]
fn broadcast_except_skips_only_those() {
    for_each_config(|config| {
        let server = TestServer::run(config, |_| Rooms);
        let mut members = open_members(&server, 6);
        let skipped = [members[1].1.clone(), members[0].1.clone(), members[4].1.clone()];
        members[0].0.send(&format!("4except{}", list(&skipped)));
        for (socket, sid) in &mut members {
            if !skipped.contains(sid) {
                assert_eq!(socket.text(), "4to the others");
            }
        }
        let remote = server.remote();
        assert_eq!(remote.broadcast_except(&skipped[..1], "from a thread"), Ok(()));
        for (socket, sid) in members.iter_mut().filter(|(_, sid)| *sid != skipped[0]) {
            assert_eq!(socket.text(), "4from a thread", "{sid}");
        }
        assert_eq!(remote.send_many([&skipped[0]], "the last"), Ok(()));
        assert_eq!(members[1].0.text(), "4the last");
    });
}

#[test]
fn sockets_of_a_worker_and_sids_of_all_are_listed() {
    for_each_config(|config| {
        let server = TestServer::run(config, |_| Rooms);
        let mut members = open_members(&server, 12);
        let mut lists = BTreeSet::new();
        for (index, (socket, _)) in members.iter_mut().enumerate() {
            socket.send("4sockets");
            let text = socket.text();
            let names: BTreeSet<usize> =
                text[1..].split(' ').map(|name| name.parse().expect("a number")).collect();
            assert!(names.contains(&index), "session {index} in {text}");
            lists.insert(names);
        }
        let listed: Vec<_> = lists.iter().flatten().copied().collect();
        assert_eq!(listed.len(), 12, "each session is on one worker: {lists:?}");

        let all: BTreeSet<_> = members.iter().map(|(_, sid)| sid.clone()).collect();
        members[0].0.send("4sids");
        let text = members[0].0.text();
        let from_handler = text[1..].split(' ').map(|sid| sid.parse().expect("a valid sid"));
        assert_eq!(from_handler.collect::<BTreeSet<Sid>>(), all);
        assert_eq!(block_on(server.remote().sids()).into_iter().collect::<BTreeSet<_>>(), all);
    });
}

#[test]
fn sids_complete_after_the_end_of_the_server() {
    let server = TestServer::run(default_config(), |_| Rooms);
    let remote = server.remote();
    drop(server);
    assert_eq!(block_on(remote.sids()), []);
}

#[test]
fn job_runs_at_the_worker_of_its_session() {
    for_each_config(|config| {
        let server = TestServer::run(config, |_| Rooms);
        let mut members = open_members(&server, 8);
        let all: Vec<_> = members.iter().map(|(_, sid)| sid.clone()).collect();
        members[0].0.send(&format!("4job{}", list(&all)));
        for (name, (socket, _)) in members.iter_mut().enumerate() {
            assert_eq!(socket.text(), format!("4{name} 1 from 0"));
        }
        for sid in &all {
            let job = |socket: Socket<Member>| run_job(socket, "a thread".to_owned());
            assert_eq!(server.remote().spawn_at(sid, job), Ok(()));
        }
        for (name, (socket, _)) in members.iter_mut().enumerate() {
            assert_eq!(socket.text(), format!("4{name} 2 from a thread"));
        }
    });
}

/// Sends a job that reports through a channel, whose sender it owns.
fn report(remote: &Remote, sid: &Sid) -> mpsc::Receiver<&'static str> {
    let (tx, rx) = mpsc::channel();
    let job = move |_: Socket<Member>| async move { tx.send("run").expect("the test waits") };
    remote.spawn_at(sid, job).expect("the sid is one of this server");
    rx
}

#[test]
fn job_for_another_type_or_an_ended_session_does_not_run() {
    for_each_config(|config| {
        let server = TestServer::run(config, |_| Rooms);
        let (remote, mut members) = (server.remote(), open_members(&server, 1));
        let (mut socket, sid) = members.remove(0);
        let error = remote.spawn_at(&sid, |_: Socket<String>| async {}).expect_err("another type");
        let expected = concat!(
            "the handler has sessions of type server::reach::Member, ",
            "the job takes Socket<alloc::string::String>"
        );
        assert_eq!(error.to_string(), expected);
        let unknown = Sid::new("unknown").expect("a valid sid");
        let closed = remote.spawn_at(&unknown, |_: Socket<Member>| async {});
        assert_eq!(closed, Err(SpawnError::Closed));
        assert_eq!(report(&remote, &sid).recv_timeout(TIMEOUT), Ok("run"));
        let panics = |_: Socket<Member>| -> std::future::Ready<()> { panic!("expected: a job") };
        assert_eq!(remote.spawn_at(&sid, panics), Ok(()));
        socket.send("1");
        eventually("the end of the session", || remote.sessions() == 0);
        let dropped = report(&remote, &sid).recv_timeout(TIMEOUT);
        assert_eq!(dropped, Err(mpsc::RecvTimeoutError::Disconnected));
    });
}
