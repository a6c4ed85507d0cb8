//! What holds for every moment, identity, range and seed.

use core::hash::{Hash, Hasher};
use core::time::Duration;
use std::collections::BTreeSet;

use proptest::prelude::*;
use quorate_core::{BootId, ClusterId, Core, Fingerprint, NodeId, Outcome, Rng, StoreId, Time};

/// Moments at both ends as often as in the middle, because that is where arithmetic breaks.
fn moment() -> impl Strategy<Value = Time> {
    prop_oneof![0..1_000_u64, (u64::MAX - 1_000)..=u64::MAX, any::<u64>()].prop_map(Time::from_nanos)
}

/// Durations up to the longest that std holds, which is far longer than time lasts.
fn span() -> impl Strategy<Value = Duration> {
    prop_oneof![
        (0..1_000_u64).prop_map(Duration::from_nanos),
        any::<u64>().prop_map(Duration::from_nanos),
        (any::<u64>(), 0..1_000_000_000_u32).prop_map(|(secs, nanos)| Duration::new(secs, nanos)),
    ]
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Whether a draw lies in its range, or at the start of an empty one.
fn fits(start: u64, end: u64, drawn: u64) -> bool {
    if start < end { (start..end).contains(&drawn) } else { drawn == start }
}

proptest! {
    #[test]
    fn a_deadline_never_lies_in_the_past(now in moment(), after in span()) {
        let deadline = now + after;
        prop_assert!(deadline >= now);
        prop_assert_eq!(u128::from(deadline.as_nanos()),
            (u128::from(now.as_nanos()) + after.as_nanos()).min(u128::from(u64::MAX)));
        let mut moved = now;
        moved += after;
        prop_assert_eq!(moved, deadline);
    }

    #[test]
    fn subtraction_undoes_addition_short_of_the_end(now in moment(), after in span()) {
        let room = u64::MAX - now.as_nanos();
        prop_assert_eq!(nanos((now + after) - now), nanos(after).min(room));
    }

    #[test]
    fn since_is_zero_unless_later(a in moment(), b in moment()) {
        prop_assert_eq!(a - b, a.since(b));
        prop_assert_eq!(a.since(b).is_zero(), a <= b);
        prop_assert!(a.since(b).is_zero() || b + a.since(b) == a);
    }

    #[test]
    fn moments_order_and_print_as_their_numbers(a in any::<u64>(), b in any::<u64>()) {
        prop_assert_eq!(Time::from_nanos(a).cmp(&Time::from_nanos(b)), a.cmp(&b));
        let (seconds, micros) = (a / 1_000_000_000, a % 1_000_000_000 / 1_000);
        prop_assert_eq!(Time::from_nanos(a).to_string(), format!("{seconds}.{micros:06}s"));
    }

    #[test]
    fn milliseconds_saturate(millis in any::<u64>()) {
        let expected = (u128::from(millis) * 1_000_000).min(u128::from(u64::MAX));
        prop_assert_eq!(u128::from(Time::from_millis(millis).as_nanos()), expected);
    }

    #[test]
    fn identities_keep_their_number_and_order(a in any::<u128>(), b in any::<u128>()) {
        prop_assert_eq!(StoreId::new(a).get(), a);
        prop_assert_eq!(StoreId::from(a), StoreId::new(a));
        prop_assert_eq!(StoreId::new(a).cmp(&StoreId::new(b)), a.cmp(&b));
        prop_assert_eq!(StoreId::new(a).to_string().len(), 32);
        prop_assert_eq!(u128::from_str_radix(&StoreId::new(a).to_string(), 16), Ok(a));
    }

    #[test]
    fn draws_stay_in_range(seed in any::<u64>(), start in any::<u64>(), end in any::<u64>()) {
        let mut rng = Rng::from_seed(seed);
        for _ in 0..8 {
            let drawn = rng.range(start..end);
            prop_assert!(fits(start, end, drawn), "drew {}", drawn);
        }
    }

    #[test]
    fn an_index_is_below_its_length(seed in any::<u64>(), len in 0..100_usize) {
        let mut rng = Rng::from_seed(seed);
        prop_assert!((0..8).all(|_| rng.index(len) < len.max(1)));
    }

    #[test]
    fn drawn_durations_stay_in_range(seed in any::<u64>(), start in span(), end in span()) {
        let drawn = nanos(Rng::from_seed(seed).duration(start..end));
        prop_assert!(fits(nanos(start), nanos(end), drawn), "drew {}", drawn);
    }

    #[test]
    fn extreme_chances_are_certain(seed in any::<u64>(), beyond in 1_000_000..=u32::MAX) {
        let mut rng = Rng::from_seed(seed);
        prop_assert!((0..64).all(|_| !rng.chance(0) && rng.chance(beyond)));
    }

    #[test]
    fn a_clone_draws_the_same_and_a_fork_does_not_look_back(seed in any::<u64>(), later in 0..64_usize) {
        let mut rng = Rng::from_seed(seed);
        let mut again = rng.clone();
        let (mut fork, mut same) = (rng.fork(), again.fork());
        for _ in 0..later {
            rng.next_u64();
        }
        prop_assert!((0..16).all(|_| fork.next_u64() == same.next_u64()));
        for _ in 0..later {
            again.next_u64();
        }
        prop_assert_eq!(rng.next_u64(), again.next_u64());
    }

    #[test]
    fn splitting_a_write_of_bytes_changes_nothing(bytes in prop::collection::vec(any::<u8>(), 0..64), cut in 0..64_usize) {
        let (mut whole, mut parts) = (Fingerprint::default(), Fingerprint::default());
        whole.write(&bytes);
        let (head, tail) = bytes.split_at(cut.min(bytes.len()));
        parts.write(head);
        parts.write(tail);
        prop_assert_eq!(whole.finish(), parts.finish());
    }
}

#[test]
fn draws_spread_evenly() {
    let mut rng = Rng::from_seed(1);
    let mut hits = [0_u32; 10];
    for _ in 0..100_000 {
        hits[rng.index(10)] += 1;
    }
    assert!(hits.iter().all(|&hits| (9_600..=10_400).contains(&hits)), "{hits:?}");
    let hits = (0..100_000).filter(|_| rng.chance(250_000)).count();
    assert!((24_500..=25_500).contains(&hits), "{hits} of 100,000 at a chance of a quarter");
}

#[test]
fn neighbouring_seeds_draw_apart() {
    let firsts: BTreeSet<u64> = (0..10_000).map(|seed| Rng::from_seed(seed).next_u64()).collect();
    assert_eq!(firsts.len(), 10_000);
}

/// States of a protocol are small numbers next to each other; exploration is blind where two of them share a
/// fingerprint.
#[test]
fn small_states_and_flipped_bits_have_their_own_fingerprints() {
    let grid = (0..40_u64).flat_map(|a| {
        (0..40_u64).flat_map(move |b| (0..40_u64).map(move |c| (a, u128::from(b) << 64 | u128::from(c))))
    });
    let flips = (0..128).flat_map(|high| (0..high).map(move |low| (99, 1_u128 << high | 1 << low)));
    let states: BTreeSet<(u64, u128)> = grid.chain([(99, 0)]).chain(flips).collect();
    let fingerprints: BTreeSet<u64> = states
        .iter()
        .map(|state| {
            let mut fingerprint = Fingerprint::default();
            state.hash(&mut fingerprint);
            fingerprint.finish()
        })
        .collect();
    assert_eq!(fingerprints.len(), states.len());
}

#[test]
fn names_print_as_people_and_logs_write_them() {
    assert_eq!(NodeId::new(3).to_string(), "3");
    assert_eq!(format!("{:?}", NodeId::new(3)), "NodeId(3)");
    assert_eq!(ClusterId::new(0xbeef).to_string(), "000000000000beef");
    assert_eq!(BootId::new(1).to_string(), "0000000000000001");
    assert_eq!(format!("{:?}", BootId::new(1)), "BootId(0000000000000001)");
    assert_eq!(StoreId::new(1).to_string(), "00000000000000000000000000000001");
    assert_eq!(Time::from_millis(1_250).to_string(), "1.250000s");
    assert_eq!(format!("{:?}", Time::MAX), "18446744073.709551s");
    let outcomes = [Outcome::Done, Outcome::NotDone, Outcome::Unknown].map(|outcome| outcome.to_string());
    assert_eq!(outcomes, ["done", "not done", "unknown"]);
}

/// The smallest protocol: it rings at a deadline. It shows that the trait's duties suffice to drive one.
#[derive(Clone, Default)]
struct Alarm {
    due: Option<Time>,
    ringing: Option<Time>,
}

impl Core for Alarm {
    type Input = Option<Duration>;
    type Output = Time;

    fn handle(&mut self, now: Time, input: Option<Duration>) {
        match input {
            Some(after) => self.due = Some(now + after),
            None if self.due.is_some_and(|due| due <= now) => self.ringing = self.due.take(),
            None => {}
        }
    }

    fn poll(&mut self) -> Option<Time> {
        self.ringing.take()
    }

    fn deadline(&self) -> Option<Time> {
        self.due
    }

    fn fingerprint(&self) -> u64 {
        let mut fingerprint = Fingerprint::default();
        (self.due.is_some(), self.ringing.is_some()).hash(&mut fingerprint);
        fingerprint.finish()
    }
}

#[test]
fn a_core_is_driven_by_its_deadline_alone() {
    let mut alarm = Alarm::default();
    let idle = alarm.fingerprint();
    alarm.handle(Time::ZERO, Some(Duration::from_millis(5)));
    assert_ne!(alarm.fingerprint(), idle);
    alarm.handle(Time::from_millis(4), None);
    assert_eq!(alarm.poll(), None, "an early call does no harm");
    alarm.handle(Time::from_millis(9), None);
    assert_eq!(alarm.poll(), Some(Time::from_millis(5)), "a late call does no harm");
    assert_eq!((alarm.poll(), alarm.deadline(), alarm.fingerprint()), (None, None, idle));
}
