//! Lives of idempotency keys, by table and at random.

use proptest::prelude::*;

use super::super::answer::Media;
use super::*;

const BOUNDS: Bounds = Bounds { window: Duration::from_millis(100), keys_max: 3, bytes_max: 10 };

fn key(name: &str) -> Key {
    Key { tenant: TenantId(1), owner: None, agent: "web-1".to_owned(), key: name.as_bytes().to_vec() }
}

fn answer(text: &str) -> Answer {
    Answer::new(200, Media::Json, text.to_owned())
}

/// Begins a call that must be new.
fn first(store: &mut Idempotency<u8>, now: u64, name: &str) -> Seat {
    match store.begin(Now(now), BOUNDS, key(name), [1; 32], 0) {
        Begun::First(seat) => seat,
        other => panic!("{name}: {other:?}"),
    }
}

fn again(store: &mut Idempotency<u8>, now: u64, name: &str) -> Begun {
    store.begin(Now(now), BOUNDS, key(name), [1; 32], 9)
}

fn run(store: &mut Idempotency<u8>, now: u64, name: &str, text: &str) {
    let seat = first(store, now, name);
    let woken = store.finish(Now(now), BOUNDS, &seat, &answer(text), Again::Answered);
    assert_eq!(woken, [0]);
}

#[test]
fn a_repeat_in_flight_waits_for_the_same_answer() {
    let mut store = Idempotency::new();
    let seat = first(&mut store, 0, "k");
    assert!(matches!(again(&mut store, 1, "k"), Begun::Joined(_)));
    let woken = store.finish(Now(2), BOUNDS, &seat, &answer("a"), Again::Answered);
    assert_eq!(woken, [0, 9]);
    assert_eq!(again(&mut store, 3, "k"), Begun::Answered(answer("a")));
}

#[test]
fn a_key_is_remembered_for_its_window_after_the_end() {
    let mut store = Idempotency::new();
    let seat = first(&mut store, 0, "k");
    let _ = store.finish(Now(500), BOUNDS, &seat, &answer("a"), Again::Answered);
    assert_eq!(again(&mut store, 599, "k"), Begun::Answered(answer("a")));
    assert!(matches!(again(&mut store, 600, "k"), Begun::First(_)));
}

#[test]
fn what_is_safe_to_repeat_is_not_remembered() {
    let mut store = Idempotency::new();
    let seat = first(&mut store, 0, "k");
    let woken = store.finish(Now(0), BOUNDS, &seat, &answer("a"), Again::Safe);
    assert_eq!(woken, [0]);
    assert!(matches!(again(&mut store, 0, "k"), Begun::First(_)));
}

#[test]
fn another_body_is_a_mistake_in_flight_and_after() {
    let mut store = Idempotency::new();
    let seat = first(&mut store, 0, "k");
    let other = |store: &mut Idempotency<u8>| store.begin(Now(0), BOUNDS, key("k"), [2; 32], 5);
    assert_eq!(other(&mut store), Begun::OtherBody);
    let woken = store.finish(Now(0), BOUNDS, &seat, &answer("a"), Again::Answered);
    assert_eq!(woken, [0], "who made the mistake does not wait");
    assert_eq!(other(&mut store), Begun::OtherBody);
}

#[test]
fn keys_of_tenants_and_agents_are_strangers() {
    let mut store = Idempotency::new();
    let _ = first(&mut store, 0, "k");
    let mut other = key("k");
    other.tenant = TenantId(2);
    let begun = store.begin(Now(0), BOUNDS, other, [2; 32], 0);
    assert!(matches!(begun, Begun::First(_)));
    let mut other = key("k");
    other.agent = "web-2".to_owned();
    let begun = store.begin(Now(0), BOUNDS, other, [2; 32], 0);
    assert!(matches!(begun, Begun::First(_)));
}

#[test]
fn only_the_last_who_leaves_cancels() {
    let mut store = Idempotency::new();
    let seat = first(&mut store, 0, "k");
    store.sent(&seat, CallId(7));
    let Begun::Joined(second) = again(&mut store, 0, "k") else {
        panic!("it is in flight");
    };
    assert_eq!(store.leave(&seat), None);
    assert_eq!(store.leave(&second), Some(CallId(7)));
    // Who comes now still waits for this call, and hears how it ended.
    assert!(matches!(again(&mut store, 0, "k"), Begun::Joined(_)));
    let woken = store.finish(Now(0), BOUNDS, &seat, &answer("c"), Again::Answered);
    assert_eq!(woken, [9]);
    assert_eq!(store.leave(&second), None, "it has ended");
}

#[test]
fn a_call_that_ends_before_it_is_sent_leaves_nothing_open() {
    let mut store = Idempotency::new();
    let seat = first(&mut store, 0, "k");
    let _ = store.finish(Now(0), BOUNDS, &seat, &answer("a"), Again::Safe);
    store.sent(&seat, CallId(7));
    assert_eq!(store.leave(&seat), None);
    assert_eq!(store.len(), 0);
}

#[test]
fn an_old_seat_does_not_touch_a_newer_call_of_its_key() {
    let mut store = Idempotency::new();
    let old = first(&mut store, 0, "k");
    let _ = store.finish(Now(0), BOUNDS, &old, &answer("a"), Again::Safe);
    let new = first(&mut store, 1, "k");
    store.sent(&new, CallId(8));
    assert_eq!(store.leave(&old), None);
    let woken = store.finish(Now(1), BOUNDS, &old, &answer("x"), Again::Answered);
    assert!(woken.is_empty());
    assert_eq!(store.leave(&new), Some(CallId(8)));
}

#[test]
fn ending_twice_changes_nothing() {
    let mut store = Idempotency::new();
    let seat = first(&mut store, 0, "k");
    let _ = store.finish(Now(0), BOUNDS, &seat, &answer("a"), Again::Answered);
    let woken = store.finish(Now(1), BOUNDS, &seat, &answer("b"), Again::Answered);
    assert!(woken.is_empty());
    assert_eq!(again(&mut store, 2, "k"), Begun::Answered(answer("a")));
}

#[test]
fn a_full_store_refuses_new_keys_and_forgets_none() {
    let mut store = Idempotency::new();
    run(&mut store, 0, "a", "1");
    run(&mut store, 0, "b", "2");
    let _ = first(&mut store, 0, "c");
    assert_eq!(again(&mut store, 99, "d"), Begun::Full);
    assert_eq!(again(&mut store, 99, "a"), Begun::Answered(answer("1")));
    assert!(matches!(again(&mut store, 99, "c"), Begun::Joined(_)));
    assert!(matches!(again(&mut store, 100, "d"), Begun::First(_)));
}

#[test]
fn old_answers_make_room_and_their_keys_stay() {
    let mut store = Idempotency::new();
    run(&mut store, 0, "a", "12345");
    run(&mut store, 1, "b", "12345");
    run(&mut store, 2, "c", "1");
    assert_eq!(again(&mut store, 3, "a"), Begun::AnswerDropped);
    assert_eq!(again(&mut store, 3, "b"), Begun::Answered(answer("12345")));
    assert_eq!(again(&mut store, 3, "c"), Begun::Answered(answer("1")));
}

#[test]
fn an_answer_over_the_limit_is_dropped_and_drops_no_other() {
    let mut store = Idempotency::new();
    run(&mut store, 0, "a", "1");
    run(&mut store, 0, "b", "12345678901");
    assert_eq!(again(&mut store, 0, "a"), Begun::Answered(answer("1")));
    assert_eq!(again(&mut store, 0, "b"), Begun::AnswerDropped);
}

/// One step of a life of the store: which key, which deed, how many bytes, how long after the step before.
type Step = (u8, u8, usize, u64);

proptest! {
    /// Whatever happens, the bounds hold, the bytes are counted right, and a key that ended within its window never begins anew.
    #[test]
    fn bounds_hold_and_no_key_runs_twice(
        steps in proptest::collection::vec((0u8..5, 0u8..4, 0usize..8, 0u64..60), 0..200),
    ) {
        let mut store = Idempotency::new();
        let mut seats: HashMap<u8, Seat> = HashMap::new();
        let mut ended: HashMap<u8, u64> = HashMap::new();
        let mut now = 0;
        let steps: Vec<Step> = steps;
        for (name, deed, bytes, pause) in steps {
            now += pause;
            if deed < 2 {
                let begun = store.begin(Now(now), BOUNDS, key(&name.to_string()), [0; 32], 0u8);
                if let Begun::First(seat) = begun {
                    prop_assert!(!seats.contains_key(&name));
                    prop_assert!(ended.get(&name).is_none_or(|end| now >= end + 100));
                    ended.remove(&name);
                    seats.insert(name, seat);
                }
            } else if let Some(seat) = seats.remove(&name) {
                let safe = deed == 2;
                let again = if safe { Again::Safe } else { Again::Answered };
                let _ = store.finish(Now(now), BOUNDS, &seat, &answer(&"x".repeat(bytes)), again);
                if !safe {
                    ended.insert(name, now);
                }
            }
            let kept: usize = store.entries.values().map(|entry| match &entry.state {
                State::Ended { answer: Some(answer), .. } => answer.body.len(),
                _ => 0,
            }).sum();
            prop_assert_eq!(kept, store.answer_bytes);
            prop_assert!(kept <= BOUNDS.bytes_max);
            prop_assert!(store.len() <= BOUNDS.keys_max);
            prop_assert!(store.ended.len() <= BOUNDS.keys_max);
            prop_assert!(store.answers.len() <= BOUNDS.keys_max);
        }
    }
}
