//! Beats, sweeping, waiting, header and clock.

use std::time::Duration;

use super::{
    append, beat, depose, done, ensure, entry, equal, lead, letter, replica, Checked, Factory,
    Ledgers,
};
use crate::{Append, Beat, Known, LedgerError, LetterId};

pub(super) async fn beats_are_seen_with_their_age(
    factory: &dyn Factory,
    [one, other, _]: Ledgers,
) -> Checked {
    let time = factory.unit();
    one.beat(beat(1)).await?;
    factory.pass(time).await?;
    let again = Beat { info: entry("changed"), ..beat(2) };
    other.beat(beat(2)).await?;
    other.beat(again.clone()).await?;
    let mut seen = one.replicas().await?;
    seen.sort_by_key(|seen| seen.beat.replica);
    equal!(seen.len(), 2, "the number of replicas");
    equal!((&seen[0].beat, &seen[1].beat), (&beat(1), &again), "what they said last");
    ensure!(
        seen[0].age >= time && seen[0].age < time * 50 && seen[1].age < time,
        "one beat {time:?} ago and one now have the ages {:?} and {:?}",
        seen[0].age,
        seen[1].age
    );
    Ok(())
}

pub(super) async fn replicas_that_are_silent_are_swept(
    factory: &dyn Factory,
    [one, other, _]: Ledgers,
) -> Checked {
    let (epoch, time) = (lead(&one, 1).await?, factory.unit());
    other.beat(beat(2)).await?;
    one.beat(beat(1)).await?;
    let ids = other.post(vec![letter(2, "a", ""), letter(2, "b", ""), letter(1, "c", "")]).await?;
    // Somebody who never said that they are there.
    other.post(vec![letter(7, "d", "")]).await?;
    let answers = vec![(ids[0], entry("answered"))];
    done(one.append(Append { answers, ..append(epoch, &one.head().await?, &["e"]) }).await?)?;
    equal!(one.sweep(epoch, time * 50).await?, vec![replica(7)], "who is silent for long");
    factory.pass(time).await?;
    one.beat(beat(1)).await?;
    equal!(one.sweep(epoch, time - time / 10).await?, vec![replica(2)], "who is silent");
    let left = one.letters(epoch, LetterId(0), 10, 100).await?;
    let left: Vec<_> = left.into_iter().map(|posted| posted.letter).collect();
    equal!(left, vec![letter(1, "c", "")], "the letters that are left");
    equal!(other.answers(replica(2), 10).await?, vec![], "answers for who was swept");
    let seen = one.replicas().await?;
    equal!(seen.iter().map(|seen| seen.beat.clone()).collect::<Vec<_>>(), vec![beat(1)], "beats");
    equal!(one.sweep(epoch, time * 50).await?, vec![], "who is silent, swept again");
    // They come back.
    other.beat(beat(2)).await?;
    let anew = other.post(vec![letter(2, "a", "")]).await?;
    ensure!(anew[0] > ids[2], "an id is used again: {}", anew[0]);
    Ok(())
}

pub(super) async fn only_the_leader_sweeps(_: &dyn Factory, [one, ..]: Ledgers) -> Checked {
    let old = lead(&one, 1).await?;
    one.post(vec![letter(2, "a", "")]).await?;
    let new = depose(&one, (1, old), 2).await?;
    let refused = one.sweep(old, Duration::ZERO).await;
    equal!(refused, Err(LedgerError::Fenced { epoch: new }), "an old leader that sweeps");
    equal!(one.letters(new, LetterId(0), 10, 100).await?.len(), 1, "the letters");
    Ok(())
}

pub(super) async fn waiting_ends_when_something_comes(
    factory: &dyn Factory,
    [one, other, _]: Ledgers,
) -> Checked {
    let epoch = lead(&one, 1).await?;
    let head = one.head().await?;
    let known = Known { epoch, position: head.position, letters: None, answers: None };
    let (short, long) = (factory.unit() / 10, Duration::from_secs(3600));
    let waiting = tokio::spawn({
        let one = one.clone();
        async move { one.changed(known, short).await }
    });
    tokio::task::yield_now().await;
    factory.pass(short * 2).await?;
    ensure!(!ended(waiting).await?, "something is said to have changed");

    let wait_for = |known| {
        let one = one.clone();
        tokio::spawn(async move { one.changed(known, long).await })
    };
    let waiting = wait_for(known);
    let head = done(other.append(append(epoch, &head, &["e"])).await?)?;
    ensure!(ended(waiting).await?, "nothing is said to have changed, after an entry");

    let known = Known { position: head.position, letters: Some(LetterId(0)), ..known };
    let waiting = wait_for(known);
    let ids = other.post(vec![letter(2, "a", "")]).await?;
    ensure!(ended(waiting).await?, "nothing is said to have changed, after a letter");

    let known = Known { letters: None, answers: Some(replica(2)), ..known };
    let waiting = wait_for(known);
    let answers = vec![(ids[0], entry("answer"))];
    done(other.append(Append { answers, ..append(epoch, &head, &[]) }).await?)?;
    ensure!(ended(waiting).await?, "nothing is said to have changed, after an answer");

    let waiting = wait_for(Known { answers: None, ..known });
    other.release(replica(1), epoch).await?;
    ensure!(ended(waiting).await?, "nothing is said to have changed, after another epoch");
    // What has changed before is noticed at once.
    ensure!(one.changed(known, long).await?, "nothing is said to have changed before");
    Ok(())
}

async fn ended(
    waiting: tokio::task::JoinHandle<Result<bool, LedgerError>>,
) -> Result<bool, super::Wrong> {
    match tokio::time::timeout(Duration::from_secs(20), waiting).await {
        Ok(Ok(changed)) => Ok(changed?),
        Ok(Err(error)) => Err(format!("waiting panics: {error}").into()),
        Err(_) => Err("waiting does not end".to_string().into()),
    }
}

pub(super) async fn the_header_is_that_of_the_first(
    _: &dyn Factory,
    [one, other, _]: Ledgers,
) -> Checked {
    let (first, second) = tokio::join!(one.header(entry("one")), other.header(entry("two")));
    let (first, second) = (first?, second?);
    equal!(first, second, "two headers, written at once");
    equal!(one.header(entry("three")).await?, first, "the header, later");
    Ok(())
}

pub(super) async fn the_clock_goes_on(factory: &dyn Factory, [one, other, _]: Ledgers) -> Checked {
    let before = one.now().await?;
    factory.pass(factory.unit()).await?;
    let after = other.now().await?;
    let passed = after.saturating_sub(before);
    ensure!(passed >= factory.unit(), "{passed:?} have passed in {:?}", factory.unit());
    Ok(())
}
