//! The handshake of a link between nodes, and the preamble of a request.

use eio_core::buffer::Overflow;
use eio_core::cluster::hello::Identity;
use eio_core::cluster::link::{
    Accept, CHALLENGE_LEN, Dial, GREETING_LEN, Greeting, LinkError, PREAMBLE_MAX, PROOF_LEN,
    Preamble,
};
use eio_core::sid::Tag;

use super::out::Out;

pub(crate) fn run(data: &[u8]) {
    preamble(data);
    greeting(data);
    proofs(data);
}

fn preamble(data: &[u8]) {
    let Ok(parsed) = Preamble::parse(data) else {
        // More bytes do not make it legal.
        assert_eq!(Preamble::parse(&[data, &[0; 64]].concat()), Err(LinkError::Malformed));
        return;
    };
    let Some((preamble, len)) = parsed else {
        assert!(data.len() < PREAMBLE_MAX);
        return;
    };
    let mut out = Out::new();
    preamble.write(&mut out).expect("room without end");
    assert_eq!(out.bytes, data[..len], "a preamble has one form");
    assert_eq!(preamble.write(&mut Out::with_room(len - 1)), Err(Overflow));
    for cut in 0..len {
        assert_eq!(Preamble::parse(&data[..cut]), Ok(None), "{cut} of {len} bytes");
    }
}

fn node(tag: Tag, incarnation: u64, byte: u8) -> Identity {
    Identity { tag, incarnation, key: [byte; 32], links: Default::default() }
}

fn greeting(data: &[u8]) {
    let Some(bytes) = data.first_chunk::<GREETING_LEN>() else { return };
    let Ok(greeting) = Greeting::parse(bytes) else { return };
    // The node that it names could have written it.
    let here = node(greeting.from.clone(), greeting.from_incarnation, 1);
    let there = node(greeting.to.clone(), greeting.to_incarnation, 2);
    let nonce = bytes.last_chunk().expect("it ends with a nonce");
    let dial = Dial::new(&here, &there, *nonce);
    assert_eq!(dial.greeting(), bytes, "a greeting has one form");
    let accept = Accept::new(&there, &greeting, &here.key, [3; 16]).expect("it is for this node");
    let proof = dial.handle_challenge(accept.challenge()).expect("the keys are right");
    assert_eq!(accept.verify(&proof), Ok(()));
    let wrong = Accept::new(&there, &greeting, &[9; 32], [3; 16]).expect("it is for this node");
    assert_eq!(dial.handle_challenge(wrong.challenge()), Err(LinkError::Proof));
    assert_eq!(wrong.verify(&proof), Err(LinkError::Proof));
}

/// No bytes that were made without the keys are a proof.
fn proofs(data: &[u8]) {
    let tag = |tag| Tag::new(tag).expect("legal");
    let (here, there) = (node(tag("n1"), 1, 1), node(tag("n2"), 2, 2));
    let dial = Dial::new(&here, &there, [1; 16]);
    if let Some(challenge) = data.first_chunk::<CHALLENGE_LEN>() {
        assert!(dial.handle_challenge(challenge).is_err());
    }
    if let Some(proof) = data.first_chunk::<PROOF_LEN>() {
        let greeting = Greeting::parse(dial.greeting()).expect("a greeting");
        let accept =
            Accept::new(&there, &greeting, &here.key, [3; 16]).expect("it is for this node");
        assert_eq!(accept.verify(proof), Err(LinkError::Proof));
    }
}
