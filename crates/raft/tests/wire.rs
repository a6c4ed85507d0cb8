//! The layout of messages: every message comes back, nothing else does, and the bytes are frozen.

use std::hash::Hasher;

use bytes::Bytes;
use proptest::prelude::*;
use quorate_core::{BootId, Fingerprint, NodeId, Rng, StoreId};
use quorate_raft::wire::{WireError, decode, encode};
use quorate_raft::{
    Entry, EntryId, EntryPayload, Membership, Message, Payload, SnapshotMeta, SnapshotProgress, Standing,
};

fn bytes_of(message: &Message) -> Bytes {
    let (head, payloads) = encode(message);
    let mut bytes = head.to_vec();
    payloads.iter().for_each(|payload| bytes.extend_from_slice(payload));
    bytes.into()
}

/// One message of each kind in turn, drawn from a seed.
fn message(rng: &mut Rng, kind: u64) -> Message {
    let boot = BootId::new(rng.next_u64());
    let sequence = rng.next_u64();
    let flag = rng.chance(500_000);
    let payload = match kind {
        0 => Payload::PreVote { last: id(rng) },
        1 => Payload::PreVoteReply { round: rng.next_u64(), granted: flag },
        2 => Payload::Vote { last: id(rng) },
        3 => Payload::VoteReply { granted: flag },
        4 => append(rng),
        5 => Payload::AppendAccepted { matched: rng.next_u64() },
        6 => Payload::AppendRejected { previous: rng.next_u64(), hint: id(rng) },
        7 => Payload::Commit { id: id(rng) },
        8 => Payload::Heartbeat { commit: id(rng), round: rng.next_u64() },
        9 => Payload::HeartbeatReply { round: rng.next_u64(), last: rng.next_u64() },
        10 => {
            let meta = SnapshotMeta { last: id(rng), membership: membership(rng) };
            Payload::Snapshot { meta, total: rng.next_u64(), offset: rng.next_u64(), data: blob(rng) }
        }
        11 => {
            let progress = [
                SnapshotProgress::Received(rng.next_u64()),
                SnapshotProgress::Installed,
                SnapshotProgress::Refused,
            ];
            Payload::SnapshotReply { last: id(rng), progress: progress[rng.index(3)] }
        }
        12 => {
            Payload::Forward { boot, sequence, commands: (0..rng.range(0..4)).map(|_| blob(rng)).collect() }
        }
        13 => Payload::Forwarded { boot, sequence, first: flag.then(|| rng.next_u64()) },
        14 => Payload::ReadIndex { boot, sequence },
        _ => Payload::ReadIndexReply { boot, sequence, index: flag.then(|| rng.next_u64()) },
    };
    let standing = if flag { Standing::Voter } else { Standing::Standby };
    Message { term: rng.next_u64(), store: StoreId::new(rng.next_u64().into()), standing, payload }
}

fn append(rng: &mut Rng) -> Payload {
    let previous = EntryId::new(rng.next_u64(), rng.range(0..1 << 60));
    let entries = (1..=rng.range(0..5)).map(|offset| Entry {
        id: EntryId::new(rng.next_u64(), previous.index + offset),
        payload: match rng.index(3) {
            0 => EntryPayload::Blank,
            1 => EntryPayload::Command(blob(rng)),
            _ => EntryPayload::Membership(membership(rng)),
        },
    });
    let entries = entries.collect();
    Payload::Append { previous, commit: rng.next_u64(), entries }
}

fn id(rng: &mut Rng) -> EntryId {
    EntryId::new(rng.next_u64(), rng.next_u64())
}

fn blob(rng: &mut Rng) -> Bytes {
    (0..rng.range(0..40)).map(|_| rng.next_u64() as u8).collect()
}

fn membership(rng: &mut Rng) -> Membership {
    let voters = (0..rng.range(0..4)).map(|_| (NodeId::new(rng.next_u64()), blob(rng))).collect();
    Membership { voters }
}

const KINDS: u64 = 16;

#[test]
fn every_message_comes_back() {
    for seed in 0..4_000 {
        let mut rng = Rng::from_seed(seed);
        let message = message(&mut rng, seed % KINDS);
        assert_eq!(decode(bytes_of(&message)), Ok(message), "seed {seed}");
    }
}

/// Any change to the layout shows here. A change on purpose needs a new version byte.
#[test]
fn the_layout_is_frozen() {
    let mut hash = Fingerprint::default();
    for seed in 0..10_000 {
        hash.write(&bytes_of(&message(&mut Rng::from_seed(seed), seed % KINDS)));
    }
    assert_eq!(hash.finish(), 3_149_897_992_227_268_957, "the encodings of ten thousand messages");
    let vote = Message {
        term: 7,
        store: StoreId::new(0x0102),
        standing: Standing::Voter,
        payload: Payload::Vote { last: EntryId::new(6, 300) },
    };
    let golden = [
        1, 3, 1, 0, // version, kind, standing, reserved
        7, 0, 0, 0, 0, 0, 0, 0, // term
        2, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, // store
        6, 0, 0, 0, 0, 0, 0, 0, 44, 1, 0, 0, 0, 0, 0, 0, // last entry: term and index
    ];
    assert_eq!(bytes_of(&vote), golden.as_slice());
}

#[test]
fn a_message_cut_short_or_with_more_behind_it_is_refused() {
    for kind in 0..KINDS {
        let message = message(&mut Rng::from_seed(kind), kind);
        let whole = bytes_of(&message);
        for end in 0..whole.len() {
            assert!(decode(whole.slice(..end)).is_err(), "{message:?} cut at {end}");
        }
        let mut longer = whole.to_vec();
        longer.push(0);
        assert!(decode(longer.into()).is_err(), "{message:?} with a byte behind it");
    }
}

#[test]
fn a_claimed_length_allocates_nothing() {
    let empty = Payload::Append { previous: EntryId::ZERO, commit: 0, entries: Vec::new() };
    let message = Message { term: 1, store: StoreId::new(1), standing: Standing::Voter, payload: empty };
    let mut bytes = bytes_of(&message).to_vec();
    let count = bytes.len() - 4;
    bytes[count..].copy_from_slice(&u32::MAX.to_le_bytes());
    assert_eq!(decode(bytes.into()), Err(WireError::Short));
}

proptest! {
    #[test]
    fn arbitrary_bytes_are_refused_or_canonical(kind in 0u8..20, tail in prop::collection::vec(any::<u8>(), 0..120)) {
        let mut bytes = vec![1, kind, kind % 2, 0];
        bytes.extend(tail);
        let bytes = Bytes::from(bytes);
        if let Ok(message) = decode(bytes.clone()) {
            prop_assert_eq!(bytes_of(&message), bytes);
        }
    }
}
