//! What is decided about resets, and what their clients are told of it.

use redis_trace_common::decision::{Decision, STAMP_SHIFT};

/// No decision.
const NONE: Decision = Decision(0);

#[test]
fn a_decision_is_taken_once() {
    let told = NONE.with(Decision::new(7, true, 0)).expect("there is room");
    assert!(told.is_of(7) && told.is_told());
    assert!(!told.is_of(8));
    assert_eq!(told.without_one().0, 0);
}

#[test]
fn two_with_the_same_number_are_both_kept() {
    let both = Decision::new(7, true, 0).with(Decision::new(7, false, 0)).expect("there is room");
    assert!(both.is_told());
    let one = both.without_one();
    assert!(one.is_of(7) && !one.is_told());
    assert_eq!(one.without_one().0, 0);
}

#[test]
fn another_number_takes_the_place_only_when_the_decision_is_old() {
    let first = Decision::new(7, false, 5 << STAMP_SHIFT);
    assert!(first.with(Decision::new(8, true, 6 << STAMP_SHIFT)).is_none());
    let later = first.with(Decision::new(8, true, 1_005 << STAMP_SHIFT)).expect("nobody came for the first");
    assert!(later.is_of(8));
}

#[test]
fn who_was_interrupted_does_not_take_the_place_of_who_came_after() {
    let came_after = Decision::new(7, false, 1_004 << STAMP_SHIFT);
    assert!(came_after.with(Decision::new(8, true, 1_000 << STAMP_SHIFT)).is_none());
    let across_the_end = Decision::new(7, false, 2 << STAMP_SHIFT);
    assert!(across_the_end.with(Decision::new(8, true, (1 << 44) - 1)).is_none());
}

#[test]
fn more_than_fifteen_of_a_number_go_elsewhere() {
    let mut full = Decision::new(7, false, 0);
    for _ in 1..15 {
        full = full.with(Decision::new(7, false, 0)).expect("there is room");
    }
    assert!(full.with(Decision::new(7, false, 0)).is_none());
}
