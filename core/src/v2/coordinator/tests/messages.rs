//! What is repeated, what contradicts itself, and what is nothing at all.

use super::fixture::{long, settings, Fixture, LENGTH, MIN};
use super::people::{members, Member, Updater};
use crate::crypto::{Seed, SigningKeyPair};
use crate::v2::coordinator::*;
use crate::v2::{
    Announcement, Blame, Call, DecodeError, InvalidCall, MemberId, Post, RoundTag, UpdateRefusal,
};

const FIRST: MemberId = MemberId::new(0, 0);

fn conflicts(fixture: &Fixture) -> Vec<Conflict> {
    let conflict = |event: &Event| match event {
        Event::Conflict { conflict, .. } => Some(*conflict),
        _ => None,
    };
    fixture.events.iter().filter_map(conflict).collect()
}

/// Sends a message a second time, in this phase and in each that follows while the round goes on.
#[test]
fn repeated_messages_are_answered_the_same_without_a_record() {
    let mut fixture = Fixture::new(long());
    let mut sent: Vec<Call> = Vec::new();
    let mut send = |fixture: &mut Fixture, call: Call| {
        fixture.accepts(call.clone());
        sent.push(call);
        if fixture.machine.round() > 1 {
            return;
        }
        let records = fixture.last_record;
        for call in &sent {
            fixture.accepts(call.clone());
        }
        assert_eq!(fixture.last_record, records, "nothing new is stored");
    };
    let seen = fixture.seen();
    for member in members() {
        send(&mut fixture, Member(member).announce(&seen));
    }
    let seen = fixture.seen();
    let updaters = [1, 2, 3].map(Updater);
    for updater in updaters {
        let masked = updater.masked(&seen);
        let header = updater.header(&seen, &masked);
        send(&mut fixture, updater.send_header(&seen, &header, 0));
        for index in 0..2 {
            send(&mut fixture, updater.send_chunk(&seen, &masked, index, 0));
        }
    }
    fixture.wait(MIN);
    for member in members() {
        send(&mut fixture, Member(member).report(&seen, &[]));
    }
    let seen = fixture.seen();
    for member in members() {
        send(&mut fixture, Member(member).vote(&seen));
    }
    for member in members() {
        let mask = Member(member).mask(&seen, &updaters);
        send(&mut fixture, Member(member).mask_header(&seen, &mask));
        if member.index == 0 {
            for index in 0..2 {
                send(&mut fixture, Member(member).mask_chunk(&seen, &mask, index));
            }
        }
    }
    fixture.check_model(&updaters);
    assert_eq!(conflicts(&fixture), []);
}

#[test]
fn a_second_announcement_is_named_and_blamed() {
    let mut fixture = Fixture::new(settings());
    let seen = fixture.seen();
    let other = SigningKeyPair::from_seed(&Seed::new([77; 32])).public();
    fixture.accepts(Member(FIRST).announce(&seen));
    let rejection = Rejection::Conflict(Conflict::Announcement(FIRST));
    assert_eq!(rejection.blame(), Some(Blame::Member(FIRST)));
    assert_eq!(rejection.problem(Some(1)).status, 409);
    for _ in 0..3 {
        fixture.rejects(Member(FIRST).announce_with(&seen, other), rejection.clone());
    }
    assert_eq!(conflicts(&fixture), [Conflict::Announcement(FIRST)], "told once");
    // The first one stays.
    fixture.announce();
    let list = fixture.seen().announcements.unwrap();
    assert_ne!(list.get(FIRST).unwrap().vote_key, other);
    fixture.rejects(Member(FIRST).announce_with(&seen, other), rejection);
}

#[test]
fn a_second_statement_is_named_and_blamed() {
    let mut fixture = Fixture::new(settings());
    fixture.announce();
    let (seen, updater) = (fixture.seen(), Updater(1));
    let rejection = Rejection::Conflict(Conflict::Statement(updater.key()));
    assert_eq!(rejection.blame(), Some(Blame::Updater(updater.key())));
    let other = updater.masked_with(&seen, 0.75);
    let other = updater.header(&seen, &other);
    let masked = updater.masked(&seen);
    let header = updater.header(&seen, &masked);
    fixture.accepts(updater.send_header(&seen, &header, 0));
    // Before it is complete, and after.
    fixture.rejects(updater.send_header(&seen, &other, 0), rejection.clone());
    fixture.accepts(updater.send_chunk(&seen, &masked, 0, 0));
    fixture.rejects(updater.send_header(&seen, &other, 0), rejection.clone());
    assert_eq!(conflicts(&fixture), [Conflict::Statement(updater.key())]);
    fixture.upload(Updater(2));
    fixture.upload(Updater(3));
    fixture.wait(MIN);
    fixture.rejects(updater.send_header(&seen, &other, 0), rejection);
}

#[test]
fn a_second_report_and_a_second_mask_are_named_and_blamed() {
    let mut fixture = Fixture::new(settings());
    fixture.announce();
    let updaters = fixture.update(4);
    let seen = fixture.seen();
    fixture.accepts(Member(FIRST).report(&seen, &[]));
    let rejection = Rejection::Conflict(Conflict::Report(FIRST));
    fixture.rejects(Member(FIRST).report(&seen, &[updaters[0].key()]), rejection);
    fixture.check_rest();
    fixture.agree();
    let seen = fixture.seen();
    let (mask, other) =
        (Member(FIRST).mask(&seen, &updaters), Member(FIRST).mask(&seen, &updaters[1..]));
    fixture.accepts(Member(FIRST).mask_header(&seen, &mask));
    let rejection = Rejection::Conflict(Conflict::Mask(FIRST));
    fixture.rejects(Member(FIRST).mask_header(&seen, &other), rejection);
    assert_eq!(conflicts(&fixture), [Conflict::Report(FIRST), Conflict::Mask(FIRST)]);
}

#[test]
fn a_vote_for_something_else_does_not_count() {
    let mut fixture = Fixture::new(settings());
    fixture.announce();
    fixture.update(4);
    fixture.check();
    let mut seen = fixture.seen();
    seen.set.as_mut().unwrap().decision.count -= 1;
    let rejection = Rejection::OtherVote(FIRST);
    assert_eq!(rejection.label(), "bad_signature");
    fixture.rejects(Member(FIRST).vote(&seen), rejection);
    assert_eq!(fixture.machine.accepted(), 0);
}

#[test]
fn what_is_for_another_round_is_named() {
    let mut fixture = Fixture::new(settings());
    let late = fixture.seen();
    fixture.input(Input::Skip).unwrap();
    let current = fixture.seen().context.tag();
    let rejection = Rejection::OtherRound { found: late.context.tag(), current };
    assert_eq!(rejection.label(), "other_round");
    fixture.rejects(Member(FIRST).announce(&late), rejection);
    // Also one that was opened before.
    let (seen, mut fixture) = (late, Fixture::new(settings()));
    let message = fixture.front.open(Member(FIRST).announce(&seen)).unwrap();
    fixture.input(Input::Skip).unwrap();
    fixture.input(Input::Message { ticket: Ticket(1), message }).unwrap();
    let (_, outcome) = fixture.replies.last().unwrap();
    assert!(matches!(outcome, Err(Rejection::OtherRound { .. })));
}

#[test]
fn what_comes_in_another_phase_is_named() {
    let mut fixture = Fixture::new(settings());
    let seen = fixture.seen();
    let updater = Updater(1);
    let masked = updater.masked(&seen);
    let header = updater.header(&seen, &masked);
    let wrong = |message, phase| Rejection::WrongPhase { message, phase };
    let early = |message| wrong(message, Phase::Announce);
    fixture.rejects(updater.send_header(&seen, &header, 0), early(MessageKind::Header));
    fixture.rejects(updater.send_chunk(&seen, &masked, 0, 0), early(MessageKind::Chunk));
    fixture.rejects(Member(FIRST).report(&seen, &[]), early(MessageKind::Report));
    fixture.announce();
    fixture.update(3);
    let seen = fixture.seen();
    let late = Updater(9);
    let masked = late.masked(&seen);
    let header = late.header(&seen, &masked);
    let late_header = wrong(MessageKind::Header, Phase::Check);
    fixture.rejects(late.send_header(&seen, &header, 0), late_header);
    let late_chunk = wrong(MessageKind::Chunk, Phase::Check);
    fixture.rejects(late.send_chunk(&seen, &masked, 0, 0), late_chunk);
}

#[test]
fn a_report_that_comes_while_it_is_decided_is_late() {
    let mut fixture = Fixture::new(settings());
    fixture.announce();
    fixture.update(3);
    let seen = fixture.seen();
    fixture.working = false;
    for member in members().filter(|member| *member != FIRST) {
        fixture.accepts(Member(member).report(&seen, &[]));
    }
    fixture.wait(MIN);
    fixture.rejects(Member(FIRST).report(&seen, &[]), Rejection::TooLate(Phase::Check));
}

#[test]
fn nonsense_and_strangers_are_refused_by_name() {
    let mut fixture = Fixture::new(settings());
    let seen = fixture.seen();
    let truncated = DecodeError::Truncated { what: "announcement", field: "version" };
    fixture.rejects(Call::Announce(seen.post("")), truncated.into());
    let version = DecodeError::UnknownVersion { what: "announcement", found: 3, known: 2 };
    let version = Rejection::from(version);
    assert_eq!(version.label(), "unknown_version");
    fixture.rejects(Call::Announce(seen.post(&[3][..])), version);
    let call = Rejection::Call(InvalidCall::Method { allowed: "GET" });
    assert_eq!(call.problem(None).status, 405);
    fixture.rejects(Call::Round, call);
    let too_long = Call::Announce(seen.post(vec![2; 5000]));
    let message = MessageKind::Announcement;
    fixture.rejects(too_long, Rejection::TooLong { message, most: 1024, actual: 5000 });
    // Signed with another member's key.
    let Call::Announce(post) = Member(FIRST).announce(&seen) else { panic!() };
    let forged = Announcement {
        member: MemberId::new(1, 0),
        ..Announcement::from_bytes(&post.body).unwrap()
    };
    let forged = fixture.send(Call::Announce(seen.post(forged.to_bytes())));
    assert_eq!(forged.unwrap().unwrap_err().label(), "bad_signature");
    let nobody = Member(MemberId::new(0, 30)).announce(&seen);
    assert_eq!(fixture.send(nobody).unwrap().unwrap_err().label(), "unknown_member");
    let other = Call::Announce(Post::new(RoundTag::new([7; 8]), post.body));
    assert_eq!(fixture.send(other).unwrap().unwrap_err().label(), "other_round");

    // Updates.
    fixture.announce();
    let (seen, updater) = (fixture.seen(), Updater(1));
    fixture.rejects(Call::Update(seen.post(vec![7; 200])), Rejection::DoesNotOpen);
    let masked = updater.masked(&seen);
    let mut header = updater.header(&seen, &masked);
    header.credential = None;
    let refused = fixture.send(updater.send_header(&seen, &header, 0)).unwrap().unwrap_err();
    assert_eq!(refused.label(), "not_admitted");
    let mut header = updater.header(&seen, &masked);
    header.leaves[0] = crate::crypto::Digest::new([1; 32]);
    let statement = UpdateRefusal::Statement { updater: updater.key() };
    fixture.rejects(updater.send_header(&seen, &header, 0), statement.into());
    let unknown = Rejection::UnknownUpload(updater.key());
    fixture.rejects(updater.send_chunk(&seen, &masked, 0, 0), unknown);
    let header = updater.header(&seen, &masked);
    fixture.accepts(updater.send_header(&seen, &header, 0));
    let other = updater.masked_with(&seen, 0.75);
    fixture.rejects(updater.send_chunk(&seen, &other, 0, 0), Rejection::OtherChunk(0));
    let no_such = Rejection::NoSuchChunk { index: 1, last: 0 };
    fixture.rejects(updater.send_chunk(&seen, &masked, 1, 0), no_such);
    // With the key of another sealing.
    fixture.rejects(updater.send_chunk(&seen, &masked, 0, 1), Rejection::OtherChunk(0));
}

/// An updater may sign whatever it likes: what is no masked model of the round is not taken.
#[test]
fn objects_of_another_shape_are_refused_chunk_by_chunk() {
    let last = crate::v2::TREE_LEAF - 1;
    for (length, chunk, at) in
        [(LENGTH, 0, 1), (LENGTH, 0, 7), (LENGTH, 0, last), (LENGTH + 1, 1, 3)]
    {
        let mut fixture = Fixture::new(Settings { model_length: length, ..settings() });
        fixture.announce();
        let (seen, updater) = (fixture.seen(), Updater(1));
        let mut masked = updater.masked(&seen).to_vec();
        masked[chunk as usize * crate::v2::TREE_LEAF + at] ^= 1;
        let header = updater.header(&seen, &masked);
        fixture.accepts(updater.send_header(&seen, &header, 0));
        fixture.rejects(updater.send_chunk(&seen, &masked, chunk, 0), Rejection::OtherShape);
        fixture.accepts(updater.send_chunk(&seen, &masked, 1 - chunk, 0));
        assert_eq!(fixture.machine.accepted(), 0);
    }
}
