use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use proptest::prelude::*;
use quorate_raft::{Command, StateMachine};

use super::op::COMMAND_BYTES_MAX;
use super::*;

type Naive = BTreeMap<Vec<u8>, Vec<u8>>;

fn text(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

fn set(key: &str, value: &str) -> Op {
    let (condition, previous) = (Condition::Always, Previous::Keep);
    Op::Set { key: text(key), value: text(value), condition, previous }
}

fn filled(keys: impl IntoIterator<Item = String>) -> Store {
    let mut store = Store::default();
    keys.into_iter().for_each(|key| assert_eq!(store.execute(set(&key, "value")), Answer::Done));
    store
}

/// What Redis documents for each command, on a map without any cleverness.
fn naive(map: &mut Naive, op: &Op) -> Answer {
    let number = |map: &Naive, key: &Bytes| map.get(&key[..]).map_or(Some(0), |value| integer(value));
    match op {
        Op::Set { key, value, condition, previous } => {
            let old = map.get(&key[..]).cloned();
            let hold = match condition {
                Condition::Always => true,
                Condition::Absent => old.is_none(),
                Condition::Present => old.is_some(),
            };
            if hold {
                map.insert(key.to_vec(), value.to_vec());
            }
            match (previous, old, hold) {
                (Previous::Tell, Some(old), _) => Answer::Value(old.into()),
                (Previous::Keep, _, true) => Answer::Done,
                _ => Answer::Absent,
            }
        }
        Op::SetMany(pairs) => {
            pairs.iter().for_each(|(key, value)| drop(map.insert(key.to_vec(), value.to_vec())));
            Answer::Done
        }
        Op::Delete(keys) => {
            Answer::Integer(keys.iter().map(|key| i64::from(map.remove(&key[..]).is_some())).sum())
        }
        Op::Add { key, delta } => match number(map, key).map(|number| number.checked_add(*delta)) {
            None => Answer::NotInteger,
            Some(None) => Answer::Overflow,
            Some(Some(sum)) => {
                map.insert(key.to_vec(), sum.to_string().into_bytes());
                Answer::Integer(sum)
            }
        },
        Op::Append { key, value } => {
            let whole = map.entry(key.to_vec()).or_default();
            whole.extend_from_slice(value);
            Answer::Integer(whole.len() as i64)
        }
        Op::Clear => {
            map.clear();
            Answer::Done
        }
    }
}

fn any_key() -> impl Strategy<Value = Bytes> {
    prop_oneof![
        4 => "[a-e]".prop_map(Bytes::from),
        1 => proptest::collection::vec(any::<u8>(), 0..4).prop_map(Bytes::from),
    ]
}

fn any_value() -> impl Strategy<Value = Bytes> {
    prop_oneof![
        any::<i64>().prop_map(|number| Bytes::from(number.to_string())),
        proptest::collection::vec(any::<u8>(), 0..20).prop_map(Bytes::from),
    ]
}

fn any_op() -> impl Strategy<Value = Op> {
    let condition = prop_oneof![Just(Condition::Always), Just(Condition::Absent), Just(Condition::Present)];
    let previous = prop_oneof![Just(Previous::Keep), Just(Previous::Tell)];
    prop_oneof![
        6 => (any_key(), any_value(), condition, previous)
            .prop_map(|(key, value, condition, previous)| Op::Set { key, value, condition, previous }),
        2 => proptest::collection::vec((any_key(), any_value()), 0..4).prop_map(Op::SetMany),
        2 => proptest::collection::vec(any_key(), 0..4).prop_map(Op::Delete),
        4 => (any_key(), any::<i64>()).prop_map(|(key, delta)| Op::Add { key, delta }),
        2 => (any_key(), any_value()).prop_map(|(key, value)| Op::Append { key, value }),
        1 => Just(Op::Clear),
    ]
}

proptest! {
    #[test]
    fn store_agrees_with_a_plain_map(ops in proptest::collection::vec(any_op(), 0..60)) {
        let (mut store, mut map) = (Store::default(), Naive::new());
        for op in ops {
            let expected = naive(&mut map, &op);
            prop_assert_eq!(store.execute(op), expected);
        }
        prop_assert_eq!(store.len(), map.len());
        for (key, value) in &map {
            prop_assert_eq!(store.value(&Bytes::copy_from_slice(key)), Some(Bytes::copy_from_slice(value)));
        }
        let bytes: u64 = map.iter().map(|(key, value)| cost(key.len(), value.len())).sum();
        prop_assert_eq!(store.bytes(), bytes);
        let mut restored = filled(["gone".to_owned()]);
        restored.restore(store.snapshot()).unwrap();
        prop_assert_eq!(restored, store);
    }

    #[test]
    fn a_batch_survives_its_layout(ops in proptest::collection::vec(any_op(), 0..20)) {
        let batch = Batch(ops);
        let bytes = batch.encode().unwrap();
        let len: usize = batch.0.iter().map(Op::encoded_len).sum();
        prop_assert_eq!(bytes.len(), BATCH_HEADER_BYTES + len);
        prop_assert_eq!(Batch::decode(bytes).unwrap(), batch);
    }

    #[test]
    fn arbitrary_bytes_are_a_batch_or_a_typed_error(mut bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
        if let Some(first) = bytes.first_mut() {
            *first %= 3;
        }
        // What is accepted has one form only.
        if let Ok(batch) = Batch::decode(Bytes::from(bytes.clone())) {
            prop_assert_eq!(batch.encode().unwrap(), Bytes::from(bytes));
        }
    }

    #[test]
    fn arbitrary_bytes_are_a_snapshot_or_a_typed_error(
        count in 0u64..4,
        body in proptest::collection::vec(0u8..3, 0..60),
    ) {
        let mut bytes = b"quokv\0\0\x01".to_vec();
        bytes.extend(count.to_le_bytes());
        bytes.extend((body.len() as u64).to_le_bytes());
        bytes.extend(&body);
        let mut store = Store::default();
        if store.restore(Bytes::from(bytes.clone())).is_ok() {
            prop_assert_eq!(store.snapshot(), Bytes::from(bytes));
        }
    }

    #[test]
    fn a_scan_gives_what_stays_exactly_once(
        keys in proptest::collection::btree_set("[a-z]{1,3}", 1..60),
        changes in proptest::collection::vec(("[a-z]{1,3}", any::<bool>()), 0..60),
        count in 1usize..8,
    ) {
        let mut store = filled(keys.iter().cloned());
        let touched: BTreeSet<&String> = changes.iter().map(|(key, _)| key).collect();
        let mut seen = Vec::new();
        let mut cursor = 0;
        let mut changes = changes.iter();
        loop {
            let page = store.scan(cursor, count);
            prop_assert!(page.keys.len() <= count);
            seen.extend(page.keys);
            cursor = page.cursor;
            if cursor == 0 {
                break;
            }
            if let Some((key, insert)) = changes.next() {
                let op = if *insert { set(key, "new") } else { Op::Delete(vec![text(key)]) };
                store.execute(op);
            }
        }
        for key in keys.iter().filter(|key| !touched.contains(key)) {
            prop_assert_eq!(seen.iter().filter(|seen| *seen == key).count(), 1);
        }
        let different: BTreeSet<&Bytes> = seen.iter().collect();
        prop_assert_eq!(different.len(), seen.len());
    }

    #[test]
    fn integers_are_read_as_redis_reads_them(number in any::<i64>()) {
        prop_assert_eq!(integer(number.to_string().as_bytes()), Some(number));
    }

    #[test]
    fn patterns_without_special_bytes_match_themselves(pattern in "[a-z]{0,8}", other in "[a-z]{0,8}") {
        prop_assert_eq!(matches(pattern.as_bytes(), other.as_bytes()), pattern == other);
        let (within, around) = (format!("*{pattern}*"), format!("{other}{pattern}{other}"));
        prop_assert!(matches(within.as_bytes(), around.as_bytes()));
    }
}

#[test]
fn the_layouts_are_frozen() {
    let everything = Batch(vec![
        Op::Set { key: text("k"), value: text("v"), condition: Condition::Present, previous: Previous::Tell },
        Op::SetMany(vec![(text("a"), text("1"))]),
        Op::Delete(vec![text("d")]),
        Op::Add { key: text("n"), delta: -2 },
        Op::Append { key: text("p"), value: text("q") },
        Op::Clear,
    ]);
    let expected: &[&[u8]] = &[
        b"\x01",
        b"\x01\x06\x01\0\0\0k\x01\0\0\0v",
        b"\x02\x01\0\0\0\x01\0\0\0a\x01\0\0\x001",
        b"\x03\x01\0\0\0\x01\0\0\0d",
        b"\x04\x01\0\0\0n\xfe\xff\xff\xff\xff\xff\xff\xff",
        b"\x05\x01\0\0\0p\x01\0\0\0q",
        b"\x06",
    ];
    assert_eq!(everything.encode().unwrap(), expected.concat());
    let store = filled(["key".to_owned()]);
    let expected: &[&[u8]] =
        &[b"quokv\0\0\x01\x01\0\0\0\0\0\0\0\x10\0\0\0\0\0\0\0", b"\x03\0\0\0\x05\0\0\0keyvalue"];
    assert_eq!(store.snapshot(), expected.concat());
}

#[test]
fn a_cut_batch_is_an_error() {
    let bytes = Batch(vec![Op::SetMany(vec![(text("key"), text("value"))])]).encode().unwrap();
    for len in (0..bytes.len()).filter(|len| *len != BATCH_HEADER_BYTES) {
        assert!(Batch::decode(bytes.slice(..len)).is_err(), "cut to {len} bytes");
    }
}

#[test]
fn a_claimed_count_makes_nothing_ready() {
    let mut bytes = vec![1, 3];
    bytes.extend(u32::MAX.to_le_bytes());
    assert!(Batch::decode(bytes.into()).is_err());
}

#[test]
fn a_damaged_snapshot_is_named_and_changes_nothing() {
    let whole = filled(["a".to_owned(), "b".to_owned()]).snapshot();
    let mut store = filled(["kept".to_owned()]);
    let kept = store.clone();
    let mut swapped = whole.to_vec();
    swapped[24..].rotate_left(14);
    let mut longer = whole.to_vec();
    longer.push(0);
    longer[16] += 1;
    for (bytes, text) in [
        (whole[..10].to_vec(), "10 bytes are too few for a header"),
        (vec![0; 40], "it is no snapshot of a store, or of an unknown version"),
        (whole[..whole.len() - 1].to_vec(), "the header states 28 bytes and 27 follow"),
        (swapped, "entry 1 is out of order"),
        (longer, "1 bytes are left over"),
    ] {
        let error = store.restore(bytes.into()).unwrap_err();
        assert_eq!(error.0, text);
        assert_eq!(store, kept);
    }
}

#[test]
fn a_batch_is_answered_operation_by_operation() {
    let batch = Batch(vec![set("n", "41"), Op::Add { key: text("n"), delta: 1 }, set("n", "x")]);
    let again = Batch(vec![Op::Add { key: text("n"), delta: 1 }]);
    let answers = Store::default().apply(vec![batch, again]);
    let first = vec![Answer::Done, Answer::Integer(42), Answer::Done];
    assert_eq!(answers, [first, vec![Answer::NotInteger]]);
}

#[test]
fn an_overflow_changes_nothing() {
    let mut store = Store::default();
    store.execute(set("n", &i64::MAX.to_string()));
    assert_eq!(store.execute(Op::Add { key: text("n"), delta: 1 }), Answer::Overflow);
    assert_eq!(store.value(&text("n")), Some(text(&i64::MAX.to_string())));
}

#[test]
fn a_value_grows_to_its_bound_and_no_further() {
    let mut store = Store::default();
    let grow = |len: usize| Op::Append { key: text("long"), value: vec![b'x'; len].into() };
    assert_eq!(store.execute(grow(VALUE_BYTES_MAX)), Answer::Integer(VALUE_BYTES_MAX as i64));
    assert_eq!(store.execute(grow(1)), Answer::TooLong);
    assert_eq!(store.value(&text("long")).map(|value| value.len()), Some(VALUE_BYTES_MAX));
}

#[test]
fn the_longest_key_and_value_fit_in_a_command() {
    let (key, value) = (vec![0; KEY_BYTES_MAX].into(), vec![0; VALUE_BYTES_MAX].into());
    let op = Op::Set { key, value, condition: Condition::Always, previous: Previous::Keep };
    assert!(Batch(vec![op]).encode().unwrap().len() <= COMMAND_BYTES_MAX);
}

#[test]
fn a_full_store_refuses_growth_and_allows_shrinking() {
    let mut store = Store { bytes: STORE_BYTES_MAX, ..filled(["key".to_owned()]) };
    assert_eq!(store.execute(set("other", "value")), Answer::Full);
    assert_eq!(store.execute(set("key", "longer value")), Answer::Full);
    assert_eq!(store.execute(Op::SetMany(vec![(text("other"), text(""))])), Answer::Full);
    assert_eq!(store.execute(set("key", "short")), Answer::Done);
    assert_eq!(store.execute(Op::Delete(vec![text("key")])), Answer::Integer(1));
    assert_eq!(store.len(), 0);
}

#[test]
fn stored_bytes_do_not_hold_the_command_in_memory() {
    let whole = Bytes::from(vec![b'x'; 4096]);
    let mut store = Store::default();
    let (condition, previous) = (Condition::Always, Previous::Keep);
    store.execute(Op::Set { key: whole.slice(..1), value: whole.slice(1..2), condition, previous });
    assert!(whole.is_unique());
}

#[test]
fn a_page_of_long_keys_is_cut_by_bytes() {
    let store = filled((0..4).map(|n| format!("{n}").repeat(KEY_BYTES_MAX / 2)));
    let page = store.scan(0, SCAN_COUNT_MAX);
    assert_eq!(page.keys.len(), 2);
    assert_ne!(page.cursor, 0);
}

#[test]
fn patterns_match_as_in_redis() {
    for (pattern, text, expected) in [
        ("", "", true),
        ("*", "", true),
        ("h?llo", "hello", true),
        ("h?llo", "hllo", false),
        ("h*llo", "heeeello", true),
        ("h[ae]llo", "hallo", true),
        ("h[ae]llo", "hillo", false),
        ("h[^e]llo", "hallo", true),
        ("h[^e]llo", "hello", false),
        ("h[a-b]llo", "hbllo", true),
        ("h[b-a]llo", "hallo", true),
        ("h\\?llo", "h?llo", true),
        ("h\\?llo", "hello", false),
        ("[\\]]", "]", true),
        ("[]", "a", false),
        ("[]", "", false),
        ("[abc", "c", true),
        ("a\\", "a\\", true),
        ("*a*b*c", "xxaxxbxxc", true),
        ("*a*b*c", "xxaxxcxxb", false),
    ] {
        assert_eq!(matches(pattern.as_bytes(), text.as_bytes()), expected, "{pattern} against {text}");
    }
}

#[test]
fn a_pattern_of_many_stars_is_soon_done() {
    let pattern = "a*".repeat(500) + "b";
    assert!(!matches(pattern.as_bytes(), "a".repeat(60_000).as_bytes()));
}

#[test]
fn odd_integers_are_none() {
    for text in ["", "-", "+1", "01", "-0", "1 ", " 1", "1.0", "9223372036854775808", "-01", "x", "--1"] {
        assert_eq!(integer(text.as_bytes()), None, "{text:?}");
    }
}
