//! A member against a coordinator of a few lines.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use pet_core::crypto::{EncryptKeyPair, RoundSeed, Seed, SigningKeyPair};
use pet_core::mask::MaskConfig;
use pet_core::round::RoundParameters;
use pet_core::v2::member::{Event, Refusal, Snapshot};
use pet_core::v2::{Admission, Announcement, Group, Phase, Pin, Roster, RoundView, Terms};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{unbounded_channel, UnboundedReceiver};

use super::{Member, MemberConfig};
use crate::Error;

fn keys(byte: u8) -> SigningKeyPair {
    SigningKeyPair::from_seed(&Seed::new([byte; 32]))
}

fn roster() -> Roster {
    let groups =
        vec![Group::new("one", vec![keys(1).public()]), Group::new("two", vec![keys(2).public()])];
    Roster::new(groups, Admission::Authority(keys(3).public())).unwrap()
}

fn terms() -> Terms {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    Terms {
        roster: roster().hash(),
        round: 1,
        parameters: RoundParameters {
            pk: EncryptKeyPair::from_seed(&Seed::new([3; 32])).public(),
            sum: 0.0,
            update: 0.0,
            seed: RoundSeed::new([1; 32]),
            mask_config: "Word32/F32/B0/M3".parse::<MaskConfig>().unwrap().into(),
            model_length: 5,
        },
        // After the member is started: it waits for that.
        opened_at: now.as_secs() + 4,
        model: None,
        n_min: 3,
        noise: None,
    }
}

/// Answers calls; what is posted comes out of the channel.
async fn coordinator(terms: &Terms) -> (String, UnboundedReceiver<Vec<u8>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let view =
        RoundView { phase: Phase::Announce, terms: Some(terms.clone()), ..RoundView::idle() };
    let (sender, posts) = unbounded_channel();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (view, sender) = (view.clone(), sender.clone());
            tokio::spawn(async move {
                let mut stream = BufReader::new(stream);
                while let Some((target, body)) = request(&mut stream).await {
                    let answer = match target.as_str() {
                        "/v2/round" => view.to_bytes(),
                        "/v2/roster" => roster().to_bytes(),
                        _ => {
                            let _ = sender.send(body);
                            Vec::new()
                        }
                    };
                    let head =
                        format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", answer.len());
                    let answer = [head.as_bytes(), &answer].concat();
                    if stream.get_mut().write_all(&answer).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    (url, posts)
}

async fn request(stream: &mut BufReader<TcpStream>) -> Option<(String, Vec<u8>)> {
    let mut line = String::new();
    stream.read_line(&mut line).await.ok().filter(|length| *length > 0)?;
    let target = line.split(' ').nth(1)?.to_owned();
    let mut length = 0;
    loop {
        let mut header = String::new();
        stream.read_line(&mut header).await.ok()?;
        let header = header.trim().to_lowercase();
        if header.is_empty() {
            break;
        }
        if let Some(value) = header.strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    Some((target, body))
}

fn config(url: &str) -> MemberConfig {
    let mut config = MemberConfig::new(url).unwrap();
    config.settings.polling.max = Duration::from_millis(50);
    config
}

/// The next event; in time, as nobody looks after a test that hangs.
async fn next_event(member: &mut Member) -> Result<Event, Error> {
    tokio::time::timeout(Duration::from_secs(60), member.next_event()).await.expect("an event")
}

/// A disk that is full for a moment: nothing leaves before the state is stored, and then it does.
#[tokio::test]
async fn nothing_is_announced_before_the_state_is_stored() {
    let terms = terms();
    let (url, mut posts) = coordinator(&terms).await;
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = calls.clone();
    let store = move |_: &Snapshot| match counted.fetch_add(1, Ordering::SeqCst) {
        1 | 2 => Err(std::io::Error::other("the disk is full")),
        _ => Ok(()),
    };
    let pin = Pin::new(roster().hash(), 3);
    let mut member = Member::new(config(&url), keys(1), pin, store).unwrap();
    let mut failures = 0;
    loop {
        match next_event(&mut member).await {
            Ok(Event::Announced { round: 1 }) => break,
            Ok(_) => {}
            Err(Error::Store(why)) => {
                assert!(why.contains("full") && posts.try_recv().is_err());
                failures += 1;
            }
            Err(error) => panic!("{error}"),
        }
    }
    // The first state, two that failed, and the promise.
    assert_eq!((failures, calls.load(Ordering::SeqCst)), (2, 4));
    let announcement = Announcement::from_bytes(&posts.recv().await.unwrap()).unwrap();
    announcement.verify(&roster(), &terms.context()).unwrap();
    assert!(member.handle().status().takes_part);
}

/// Its disk was lost, and the key was kept: in a round that was opened before, it may have announced itself.
#[tokio::test]
async fn one_that_begins_anew_does_not_announce_itself_in_a_round_that_was_opened_before() {
    let mut terms = terms();
    terms.opened_at -= 10;
    let (url, mut posts) = coordinator(&terms).await;
    let pin = Pin::new(roster().hash(), 3);
    let mut member = Member::new(config(&url), keys(1), pin, |_: &Snapshot| Ok(())).unwrap();
    loop {
        match next_event(&mut member).await {
            Ok(Event::Refused { refusal: Refusal::OpenedBefore, .. }) => break,
            Ok(Event::Announced { .. }) => panic!("it has announced itself"),
            Ok(_) => {}
            Err(error) => panic!("{error}"),
        }
    }
    assert!(posts.try_recv().is_err());
}

#[tokio::test]
async fn a_handle_stops_it() {
    let (url, _posts) = coordinator(&terms()).await;
    let pin = Pin::new(roster().hash(), 3);
    let mut member = Member::new(config(&url), keys(1), pin, |_: &Snapshot| Ok(())).unwrap();
    let handle = member.handle();
    assert_eq!((handle.public_key(), handle.pin()), (keys(1).public(), pin));
    loop {
        match next_event(&mut member).await {
            Ok(Event::Announced { .. }) => break,
            Ok(Event::Refused { refusal, .. }) => panic!("{refusal}"),
            _ => {}
        }
    }
    let stopping = handle.clone();
    tokio::spawn(async move { stopping.stop() });
    loop {
        match next_event(&mut member).await {
            Ok(_) => {}
            Err(error) => break assert_eq!(error, Error::MemberStopped),
        }
    }
    assert!(handle.is_stopped());
}

/// The first state cannot be stored: there is no member.
#[tokio::test]
async fn without_a_place_for_its_state_there_is_no_member() {
    let store = |_: &Snapshot| Err(std::io::Error::other("read only"));
    let pin = Pin::new(roster().hash(), 3);
    let refused = Member::new(config("http://127.0.0.1:1"), keys(1), pin, store).unwrap_err();
    assert!(matches!(refused, Error::Store(_)), "{refused}");
}
