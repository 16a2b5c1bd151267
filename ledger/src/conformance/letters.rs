//! Letters and their answers.

use super::{
    append, beat, depose, done, ensure, entry, equal, lead, letter, replica, Checked, Factory,
    Ledgers,
};
use crate::{Append, LedgerError, Letter, LetterId, Limits, Posted};

pub(super) async fn letters_are_answered_with_the_entries(
    _: &dyn Factory,
    [one, other, _]: Ledgers,
) -> Checked {
    let epoch = lead(&one, 1).await?;
    let sent = vec![letter(2, "a", "first"), letter(2, "b", "second"), letter(3, "a", "third")];
    let ids = other.post(sent.clone()).await?;
    ensure!(ids[0] > LetterId(0) && ids[0] < ids[1] && ids[1] < ids[2], "the ids are {ids:?}");
    let posted: Vec<_> = ids.iter().copied().zip(sent).collect();
    let posted: Vec<_> = posted.into_iter().map(|(id, letter)| Posted { id, letter }).collect();
    equal!(one.letters(epoch, LetterId(0), 10, 1000).await?, posted, "the letters");
    equal!(one.letters(epoch, ids[1], 10, 1000).await?, posted[2..].to_vec(), "the later ones");
    // Answers alone, and one to a letter that is not there.
    let answers = vec![(ids[1], entry("two")), (LetterId(ids[2].0 + 100), entry("nobody's"))];
    let head = one.head().await?;
    let now = done(one.append(Append { answers, ..append(epoch, &head, &[]) }).await?)?;
    equal!(now, head, "the head, after answers alone");
    let answers = vec![(ids[0], entry("one")), (ids[2], entry(""))];
    done(one.append(Append { answers, ..append(epoch, &head, &["e"]) }).await?)?;
    equal!(one.letters(epoch, LetterId(0), 10, 1000).await?, vec![], "letters, all answered");
    let two = vec![(ids[0], entry("one")), (ids[1], entry("two"))];
    equal!(other.answers(replica(2), 10).await?, two, "the answers");
    equal!(other.answers(replica(2), 1).await?, two[..1].to_vec(), "the first answer");
    equal!(other.answers(replica(3), 10).await?, vec![(ids[2], entry(""))], "an empty answer");
    other.taken(replica(2), vec![ids[0]]).await?;
    equal!(other.answers(replica(2), 10).await?, two[1..].to_vec(), "the answers, one taken");
    other.taken(replica(2), vec![ids[0], ids[1]]).await?;
    equal!(other.answers(replica(2), 10).await?, vec![], "the answers, all taken");
    Ok(())
}

pub(super) async fn a_letter_with_a_key_is_there_once(
    _: &dyn Factory,
    [one, other, _]: Ledgers,
) -> Checked {
    let epoch = lead(&one, 1).await?;
    let first = other.post(vec![letter(2, "key", "first")]).await?;
    let again = other.post(vec![letter(2, "key", "again"), letter(2, "other", "")]).await?;
    equal!(again[0], first[0], "the id of a letter that is posted again");
    ensure!(again[1] > first[0], "another letter has the id {}", again[1]);
    let others = vec![
        letter(3, "key", "another replica's"),
        Letter { kind: 2, ..letter(2, "key", "of another kind") },
        letter(2, "", "without a key"),
        letter(2, "", "without a key"),
        letter(2, "twice", "at once"),
        letter(2, "twice", "at once"),
    ];
    let ids = other.post(others).await?;
    equal!(ids[4], ids[5], "the id of a letter that is posted twice at once");
    let there = one.letters(epoch, LetterId(0), 10, 1000).await?;
    equal!(there.len(), 7, "the number of letters");
    equal!(&there[0].letter, &letter(2, "key", "first"), "the letter that was posted first");
    // Once it is answered, the key is free.
    let answers = vec![(first[0], entry("done"))];
    done(one.append(Append { answers, ..append(epoch, &one.head().await?, &[]) }).await?)?;
    let anew = other.post(vec![letter(2, "key", "anew")]).await?;
    ensure!(anew[0] > ids[5], "a letter after the answer has the id {}", anew[0]);
    Ok(())
}

pub(super) async fn letters_are_limited(_: &dyn Factory, [one, ..]: Ledgers) -> Checked {
    let epoch = lead(&one, 1).await?;
    let ten = |key| letter(1, key, "01234567");
    one.post(vec![ten("aa"), ten("bb"), ten("cc"), ten("dd")]).await?;
    for (most, most_bytes, must) in [(2, 100, 2), (4, 29, 2), (4, 30, 3), (4, 1, 1), (0, 100, 0)] {
        let read = one.letters(epoch, LetterId(0), most, most_bytes).await?;
        equal!(read.len(), must, "letters, of at most {most} and {most_bytes} bytes");
    }
    equal!(one.post(vec![]).await?, vec![], "the ids of no letters");
    Ok(())
}

pub(super) async fn too_many_letters_are_refused(
    _: &dyn Factory,
    [one, other, _]: Ledgers,
) -> Checked {
    let epoch = lead(&one, 1).await?;
    let of = |from| vec![letter(from, "", "x"); Limits::ALL.letters];
    let most = Limits::ALL.waiting_of_one / Limits::ALL.letters;
    for _ in 0..most {
        other.post(of(2)).await?;
    }
    let refused = other.post(vec![letter(2, "", "x")]).await;
    ensure!(matches!(refused, Err(LedgerError::Full { .. })), "too many of one: {refused:?}");
    for from in 3..6 {
        for _ in 0..most {
            other.post(of(from)).await?;
        }
    }
    let refused = other.post(vec![letter(9, "", "x")]).await;
    ensure!(matches!(refused, Err(LedgerError::Full { .. })), "too many in all: {refused:?}");
    // Room is made by answers; a batch that does not fit is not posted at all.
    let letters = one.letters(epoch, LetterId(0), 1, 100).await?;
    let answers = vec![(letters[0].id, entry("done"))];
    done(one.append(Append { answers, ..append(epoch, &one.head().await?, &[]) }).await?)?;
    let refused = other.post(vec![letter(2, "", "x"), letter(2, "", "y")]).await;
    ensure!(matches!(refused, Err(LedgerError::Full { .. })), "two where one fits: {refused:?}");
    other.post(vec![letter(2, "", "x")]).await?;
    Ok(())
}

pub(super) async fn answers_are_for_the_writer(
    _: &dyn Factory,
    [one, other, third]: Ledgers,
) -> Checked {
    let epoch = lead(&one, 1).await?;
    let ids = other.post(vec![letter(2, "a", ""), letter(3, "a", "")]).await?;
    let answers = vec![(ids[0], entry("for two")), (ids[1], entry("for three"))];
    done(one.append(Append { answers, ..append(epoch, &one.head().await?, &["e"]) }).await?)?;
    equal!(third.answers(replica(3), 10).await?, vec![(ids[1], entry("for three"))], "the answers");
    third.taken(replica(3), ids.clone()).await?;
    equal!(third.answers(replica(3), 10).await?, vec![], "answers, taken");
    equal!(other.answers(replica(2), 10).await?, vec![(ids[0], entry("for two"))], "another's");
    equal!(other.answers(replica(9), 10).await?, vec![], "answers for somebody who wrote nothing");
    Ok(())
}

pub(super) async fn only_the_leader_reads_letters(
    _: &dyn Factory,
    [one, other, _]: Ledgers,
) -> Checked {
    let old = lead(&one, 1).await?;
    other.beat(beat(2)).await?;
    other.post(vec![letter(2, "a", "")]).await?;
    let new = depose(&one, (1, old), 2).await?;
    let refused = one.letters(old, LetterId(0), 10, 100).await;
    equal!(refused, Err(LedgerError::Fenced { epoch: new }), "letters for an old leader");
    // What nobody has answered waits for the next leader.
    equal!(other.letters(new, LetterId(0), 10, 100).await?.len(), 1, "letters for the new one");
    Ok(())
}
