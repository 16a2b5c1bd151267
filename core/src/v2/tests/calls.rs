//! A call is understood as it is asked for.

use bytes::Bytes;

use super::fixture::*;
use crate::model::DataType;
use crate::problem::Problem;
use crate::request::{self, RequestLimits};
use crate::v2::*;

fn calls() -> Vec<Call> {
    let updater = Round::updater(1).public();
    let member = MemberId::new(2, 1);
    let data_type = DataType::F32;
    let post = || Post::new(Context::new([0xab; 32]).tag(), "body");
    vec![
        Call::Round,
        Call::Roster,
        Call::Announcements,
        Call::Entries { member, from: 2048 },
        Call::Set,
        Call::Votes,
        Call::Model { round: None, data_type },
        Call::Model { round: Some(7), data_type },
        Call::Certificate { round: None },
        Call::Certificate { round: Some(u64::MAX) },
        Call::Proof { round: 7, updater },
        Call::Statements { round: 7, from: 0 },
        Call::MaskedModel { round: 7, updater },
        Call::GroupMask { round: 7, group: 2 },
        Call::Announce(post()),
        Call::Update(Post { round: None, ..post() }),
        Call::UpdateChunk { updater, index: 3, post: post() },
        Call::Report(post()),
        Call::Vote(post()),
        Call::Mask(post()),
        Call::MaskChunk { member, index: 0, post: post() },
    ]
}

fn parse(method: &str, target: &str) -> Result<Call, InvalidCall> {
    Call::parse(method, target, DataType::F32, Bytes::from_static(b"body"))
}

#[test]
fn what_is_asked_is_understood() {
    for call in calls() {
        assert!(call.path_and_query().starts_with(PREFIX));
        assert_eq!(parse(call.method(), &call.path_and_query()), Ok(call.clone()));
        // As a call of a participant it says the same.
        let carried = request::Call::V2(call.clone());
        assert_eq!(
            (carried.method(), carried.path_and_query(), carried.body()),
            (call.method(), call.path_and_query(), call.body())
        );
        let headers = call.headers().iter().map(|(name, value)| (*name, (*value).into()));
        assert_eq!(carried.headers(), headers.collect::<Vec<_>>());
        assert!(!format!("{carried:?}").contains("body\""), "the body is not shown");
    }
    assert_eq!(parse("HEAD", "/v2/round"), Ok(Call::Round));
}

#[test]
fn what_is_no_call_is_refused_by_name() {
    for (target, error) in [
        ("/v2/", InvalidCall::UnknownPath),
        ("/v2/rounds", InvalidCall::UnknownPath),
        ("/params", InvalidCall::UnknownPath),
        ("/v2/entries?group=1&from=0", InvalidCall::Missing("member")),
        ("/v2/entries?group=1&member=256", InvalidCall::Malformed("member")),
        ("/v2/entries?group=+1&member=2", InvalidCall::Malformed("group")),
        ("/v2/entries?group=&member=2", InvalidCall::Malformed("group")),
        ("/v2/entries?group=1&member=2&from=-1", InvalidCall::Malformed("from")),
        ("/v2/model?round=18446744073709551616", InvalidCall::Malformed("round")),
        ("/v2/proof?round=1", InvalidCall::Missing("pk")),
        ("/v2/proof?round=1&pk=00", InvalidCall::Malformed("pk")),
        ("/v2/audit/mask?group=1", InvalidCall::Missing("round")),
    ] {
        assert_eq!(parse("GET", target), Err(error), "{target}");
    }
    assert_eq!(parse("POST", "/v2/vote?round=7"), Err(InvalidCall::Malformed("round")));
    assert_eq!(parse("GET", "/v2/vote"), Err(InvalidCall::Method { allowed: "POST" }));
    assert_eq!(parse("POST", "/v2/round"), Err(InvalidCall::Method { allowed: "GET" }));
    assert_eq!(parse("DELETE", "/v2/round"), Err(InvalidCall::Method { allowed: "GET" }));
}

#[test]
fn answers_and_bodies_have_limits() {
    let limits = RequestLimits::default();
    for call in calls() {
        let most = limits.max_body_of(&request::Call::V2(call.clone()));
        let grows = matches!(
            call,
            Call::Model { .. }
                | Call::MaskedModel { .. }
                | Call::GroupMask { .. }
                | Call::Roster
                | Call::Set
        );
        assert_eq!(most == limits.max_body, grows, "{call:?}");
        assert!(Call::max_body(call.path()) >= 1 << 16);
    }
    assert_eq!(Call::max_body("/v2/update/chunk"), TREE_LEAF);
    // The largest page, of the largest committee, fits.
    let (most_groups, mut entry) = (MOST_GROUPS, Round::new().entry(0, MemberId::new(0, 0)));
    entry.commitments = vec![entry.commitments[0]; most_groups];
    let largest = MOST_ENTRIES * entry.to_bytes().len();
    assert!(
        (largest as u64)
            < Call::Entries { member: MemberId::new(0, 0), from: 0 }.max_answer().unwrap()
    );
}

#[test]
fn whoever_posts_is_told_why_not() {
    for call in calls().iter().filter(|call| call.post().is_some()) {
        assert!(call.headers().contains(&("accept", Problem::MEDIA_TYPE)), "{call:?}");
    }
}

/// A coordinator of version 1 says what it is, and a participant of version 2 can tell that from a fault.
#[test]
fn a_coordinator_of_version_1_says_so() {
    let front = crate::coordinator::Front::new();
    let response = front.answer(&request::Call::V2(Call::Round)).unwrap();
    let problem = Problem::of(&response).unwrap();
    assert_eq!((problem.status, problem.name.as_ref()), (404, "version_1_only"));
}
