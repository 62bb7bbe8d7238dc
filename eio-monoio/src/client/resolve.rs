//! Names into addresses, on threads of their own: the system's resolver blocks.

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use crate::client::error::Fault;
use crate::worker::mailbox::{Bell, Mailbox};

/// Every address of `host`, in the order they are to be tried (RFC 8305 section 4: the resolver's order, the
/// two families taking turns).
pub(crate) async fn resolve(host: &str, port: u16) -> Result<Vec<SocketAddr>, Fault> {
    if let Ok(address) = host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(address, port)]);
    }
    let failed = |error: io::Error| Fault::Resolve(error.to_string());
    let (mailbox, ear) = Mailbox::new().map_err(failed)?;
    let (mailbox, bell) = (Arc::new(mailbox), Bell::new(ear).map_err(failed)?);
    ask(Question { host: host.into(), port, answer: mailbox.clone() }).map_err(failed)?;
    let mut answers = Vec::new();
    mailbox.recv(&bell, &mut answers).await.map_err(failed)?;
    let addresses = answers.pop().unwrap_or_else(|| Err("no answer".into()));
    match addresses.map(take_turns) {
        Ok(addresses) if addresses.is_empty() => Err(Fault::Resolve("no address".into())),
        Ok(addresses) => Ok(addresses),
        Err(why) => Err(Fault::Resolve(why)),
    }
}

fn take_turns(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let first = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let (mut one, mut other): (VecDeque<_>, VecDeque<_>) =
        addresses.into_iter().partition(|address| address.is_ipv6() == first);
    let mut order = Vec::with_capacity(one.len() + other.len());
    while !one.is_empty() || !other.is_empty() {
        order.extend(one.pop_front());
        order.extend(other.pop_front());
    }
    order
}

type Answer = Result<Vec<SocketAddr>, String>;

struct Question {
    host: String,
    port: u16,
    answer: Arc<Mailbox<Answer>>,
}

/// A resolver that does not answer holds up a thread for half a minute: this many names may do that before
/// others have to wait.
const MOST_THREADS: usize = 8;
/// How long a thread waits for another question.
const REST: Duration = Duration::from_secs(5);

#[derive(Default)]
struct Desk {
    questions: VecDeque<Question>,
    threads: usize,
    resting: usize,
}

static DESK: Mutex<Desk> = Mutex::new(Desk { questions: VecDeque::new(), threads: 0, resting: 0 });
static ASKED: Condvar = Condvar::new();

fn ask(question: Question) -> io::Result<()> {
    let mut desk = DESK.lock().unwrap_or_else(PoisonError::into_inner);
    desk.questions.push_back(question);
    if desk.resting < desk.questions.len() && desk.threads < MOST_THREADS {
        match std::thread::Builder::new().name("eio-resolver".into()).spawn(answer_all) {
            Ok(_) => desk.threads += 1,
            Err(error) if desk.threads == 0 => {
                desk.questions.pop_back();
                return Err(error);
            }
            // Another thread will come to it.
            Err(_) => {}
        }
    }
    ASKED.notify_one();
    Ok(())
}

fn answer_all() {
    let mut desk = DESK.lock().unwrap_or_else(PoisonError::into_inner);
    loop {
        while let Some(question) = desk.questions.pop_front() {
            drop(desk);
            answer(&question);
            drop(question);
            desk = DESK.lock().unwrap_or_else(PoisonError::into_inner);
        }
        desk.resting += 1;
        let (woken, timeout) =
            ASKED.wait_timeout(desk, REST).unwrap_or_else(PoisonError::into_inner);
        desk = woken;
        desk.resting -= 1;
        if timeout.timed_out() && desk.questions.is_empty() {
            desk.threads -= 1;
            return;
        }
    }
}

fn answer(question: &Question) {
    // Whoever asked may have given up.
    if Arc::strong_count(&question.answer) > 1 {
        let addresses = (question.host.as_str(), question.port).to_socket_addrs();
        question.answer.send(addresses.map(Iterator::collect).map_err(|error| error.to_string()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_families_take_turns_and_the_resolvers_first_stays_first() {
        let all = |list: &[&str]| -> Vec<SocketAddr> {
            list.iter().map(|address| address.parse().unwrap()).collect()
        };
        let order = take_turns(all(&["[::1]:1", "[::2]:1", "[::3]:1", "1.1.1.1:1", "2.2.2.2:1"]));
        assert_eq!(order, all(&["[::1]:1", "1.1.1.1:1", "[::2]:1", "2.2.2.2:1", "[::3]:1"]));
        assert_eq!(take_turns(all(&["1.1.1.1:1", "[::1]:1"])), all(&["1.1.1.1:1", "[::1]:1"]));
        assert_eq!(take_turns(Vec::new()), []);
    }
}
