//! A member without a coordinator; with one it is tested as `pet-coordinator member`.

use pet_core::crypto::Seed;
use pet_core::v2::member::Why;
use pet_core::v2::RosterHash;

use super::*;

fn member(store: impl MemberStore + 'static) -> Result<Member, Error> {
    // Nobody listens there.
    let mut config = MemberConfig::new("http://127.0.0.1:1")?;
    config.environment = Environment::default();
    let keys = SigningKeyPair::from_seed(&Seed::new([1; 32]));
    Member::new(config, keys, Pin::new(RosterHash::new([1; 32]), 3), store)
}

#[test]
fn it_says_that_nobody_answers_and_goes_on() {
    let mut member = member(|_: &Snapshot| Ok(())).unwrap();
    let handle = member.handle();
    for _ in 0..2 {
        let event = member.next_event(None).unwrap();
        assert!(matches!(event, Some(Event::Trouble(_))), "{event:?}");
    }
    let status = handle.status();
    assert_eq!((status.waits_for, status.misses), (Why::Coordinator, 2));
    let failure = status.failure.unwrap();
    assert!(failure.contains("cannot be reached"), "{failure}");
    // (On a slow machine it is time to ask again.)
    let next = member.next_event(Some(Duration::ZERO)).unwrap();
    assert!(matches!(next, None | Some(Event::Trouble(_))), "{next:?}");
}

#[test]
fn a_handle_stops_it_from_another_thread() {
    let mut member = member(|_: &Snapshot| Ok(())).unwrap();
    let handle = member.handle();
    let stopping = std::thread::spawn(move || handle.stop());
    let error = loop {
        match member.next_event(None) {
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    stopping.join().unwrap();
    assert_eq!(error, Error::MemberStopped);
    assert!(member.handle().is_stopped());
}

#[test]
fn without_a_place_for_its_state_there_is_no_member() {
    let refused = member(|_: &Snapshot| Err(io::Error::other("read only"))).unwrap_err();
    assert!(matches!(refused, Error::Store(why) if why.contains("read only")));
}
