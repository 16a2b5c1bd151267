//! The log.

use bytes::Bytes;

use super::{append, depose, done, ensure, entry, equal, lead, letter, Checked, Factory, Ledgers};
use crate::{
    verify_chain, Append, Appended, EntryHash, Epoch, LedgerError, LetterId, Limits, Position,
    SCHEMA,
};

pub(super) async fn a_new_ledger_is_empty(_: &dyn Factory, [one, ..]: Ledgers) -> Checked {
    let head = one.head().await?;
    equal!((head.epoch, head.position), (Epoch(0), Position(0)), "epoch and position");
    equal!((head.hash, head.before), (EntryHash::default(), EntryHash::default()), "the hashes");
    equal!((head.first, head.schema), (Position(1), SCHEMA), "first entry and version");
    equal!(one.read(Position(0), 10, 1000).await?, vec![], "the entries");
    equal!(one.replicas().await?, vec![], "the replicas");
    Ok(())
}

pub(super) async fn entries_come_back_in_order(
    _: &dyn Factory,
    [one, other, _]: Ledgers,
) -> Checked {
    let epoch = lead(&one, 1).await?;
    let zero = one.head().await?;
    let first = append(epoch, &zero, &["a", "", "c"]);
    let head = done(one.append(first.clone()).await?)?;
    equal!((head.position, head.hash), first.end(), "the head after an append");
    equal!(head, one.head().await?, "the head that is read");
    let next = depose(&one, (1, epoch), 2).await?;
    let second = append(next, &other.head().await?, &["d"]);
    let head = done(other.append(second.clone()).await?)?;
    equal!((head.position, head.hash, head.epoch), (Position(4), second.end().1, next), "the head");
    let read = one.read(Position(0), 10, 1000).await?;
    equal!(read, [first.to_entries(), second.to_entries()].concat(), "the entries");
    verify_chain(Position(0), EntryHash::default(), &read)?;
    equal!(one.read(Position(2), 10, 1000).await?, read[2..].to_vec(), "the later ones");
    equal!(one.read(Position(4), 10, 1000).await?, vec![], "behind the end");
    equal!(one.read(Position(400), 10, 1000).await?, vec![], "far behind the end");
    // Bytes of all kinds.
    let all: Bytes = (0..100_000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let third = Append { entries: vec![all], ..append(next, &head, &[]) };
    done(other.append(third.clone()).await?)?;
    equal!(
        one.read(Position(4), 1, 1).await? == third.to_entries(),
        true,
        "a long entry is the same"
    );
    Ok(())
}

pub(super) async fn an_old_epoch_is_fenced(_: &dyn Factory, [one, other, _]: Ledgers) -> Checked {
    let old = lead(&one, 1).await?;
    let head = done(one.append(append(old, &one.head().await?, &["a"])).await?)?;
    let new = depose(&other, (1, old), 2).await?;
    let head = crate::Head { epoch: new, ..head };
    for (what, after) in [("with", &["b"][..]), ("without", &[])] {
        let late = one.append(append(old, &head, after)).await?;
        equal!(late, Appended::Fenced { epoch: new }, "an append of an old epoch, {what} entries");
    }
    let early = one.append(append(Epoch(new.0 + 1), &head, &["b"])).await?;
    equal!(early, Appended::Fenced { epoch: new }, "an append of an epoch that is yet to come");
    let now = one.head().await?;
    equal!((now.position, now.hash), (head.position, head.hash), "the head, after refusals");
    done(other.append(append(new, &now, &["c"])).await?)?;
    Ok(())
}

pub(super) async fn the_entry_before_must_be_the_one(
    _: &dyn Factory,
    [one, ..]: Ledgers,
) -> Checked {
    let epoch = lead(&one, 1).await?;
    let zero = one.head().await?;
    let head = done(one.append(append(epoch, &zero, &["a", "b"])).await?)?;
    let wrong = [
        ("an earlier one", append(epoch, &zero, &["c"])),
        ("a later one", Append { after: Position(3), ..append(epoch, &head, &["c"]) }),
        ("another one", Append { hash: EntryHash([1; 32]), ..append(epoch, &head, &["c"]) }),
        (
            "another one, with no entries",
            Append { hash: EntryHash([1; 32]), ..append(epoch, &head, &[]) },
        ),
    ];
    for (what, append) in wrong {
        match one.append(append).await? {
            Appended::Conflict(now) => {
                equal!((now.position, now.hash), (head.position, head.hash), "the head for {what}");
            }
            other => return Err(format!("it is not refused behind {what}: {other:?}").into()),
        }
    }
    equal!(one.read(Position(0), 10, 100).await?.len(), 2, "the entries, after refusals");
    done(one.append(append(epoch, &head, &["c"])).await?)?;
    Ok(())
}

pub(super) async fn an_append_is_whole_or_nothing(
    _: &dyn Factory,
    [one, other, _]: Ledgers,
) -> Checked {
    let old = lead(&one, 1).await?;
    let ids = other.post(vec![letter(2, "a", "1"), letter(2, "b", "2")]).await?;
    let answers = vec![(ids[0], entry("yes")), (ids[1], entry("no"))];
    let head = one.head().await?;
    let with_answers = |epoch| Append { answers: answers.clone(), ..append(epoch, &head, &["e"]) };
    let wrong = Append { hash: EntryHash([1; 32]), ..with_answers(old) };
    ensure!(matches!(one.append(wrong).await?, Appended::Conflict(_)), "a wrong hash is taken");
    let new = depose(&one, (1, old), 3).await?;
    let fenced = one.append(with_answers(old)).await?;
    equal!(fenced, Appended::Fenced { epoch: new }, "an append with answers of an old epoch");
    equal!(other.answers(super::replica(2), 10).await?, vec![], "answers of refused appends");
    let letters = one.letters(new, LetterId(0), 10, 1000).await?;
    equal!(letters.len(), 2, "the letters, after refused appends");
    done(one.append(with_answers(new)).await?)?;
    equal!(other.answers(super::replica(2), 10).await?, answers, "the answers");
    Ok(())
}

pub(super) async fn what_is_too_large_is_refused(_: &dyn Factory, [one, ..]: Ledgers) -> Checked {
    let epoch = lead(&one, 1).await?;
    let head = one.head().await?;
    let large = Bytes::from(vec![0; Limits::ALL.entry + 1]);
    let too_large = Append { entries: vec![large.clone()], ..append(epoch, &head, &[]) };
    let many = vec![Bytes::new(); Limits::ALL.entries + 1];
    let too_many = Append { entries: many, ..append(epoch, &head, &[]) };
    for append in [too_large, too_many] {
        let refused = one.append(append).await;
        ensure!(matches!(refused, Err(LedgerError::TooLarge { .. })), "it is taken: {refused:?}");
    }
    let refused = one.post(vec![crate::Letter { body: large.clone(), ..letter(1, "", "") }]).await;
    ensure!(matches!(refused, Err(LedgerError::TooLarge { .. })), "it is taken: {refused:?}");
    let refused = one.beat(crate::Beat { info: large.clone(), ..super::beat(1) }).await;
    ensure!(matches!(refused, Err(LedgerError::TooLarge { .. })), "it is taken: {refused:?}");
    let refused = one.header(large).await;
    ensure!(matches!(refused, Err(LedgerError::TooLarge { .. })), "it is taken: {refused:?}");
    equal!(one.head().await?, head, "the head, after refusals");
    Ok(())
}

pub(super) async fn reading_is_limited(_: &dyn Factory, [one, ..]: Ledgers) -> Checked {
    let epoch = lead(&one, 1).await?;
    let ten = "0123456789";
    done(one.append(append(epoch, &one.head().await?, &[ten, ten, ten, ten])).await?)?;
    for (most, most_bytes, must) in [(2, 100, 2), (4, 29, 2), (4, 30, 3), (4, 1, 1), (0, 100, 0)] {
        let read = one.read(Position(0), most, most_bytes).await?;
        equal!(read.len(), must, "entries, of at most {most} and {most_bytes} bytes");
    }
    Ok(())
}

pub(super) async fn what_is_forgotten_is_named(
    _: &dyn Factory,
    [one, other, _]: Ledgers,
) -> Checked {
    let old = lead(&one, 1).await?;
    let head = done(one.append(append(old, &one.head().await?, &["a", "b", "c", "d"])).await?)?;
    let entries = one.read(Position(0), 10, 100).await?;
    one.forget(old, Position(3)).await?;
    let now = other.head().await?;
    equal!((now.first, now.before), (Position(3), entries[1].hash), "where the log begins");
    equal!((now.position, now.hash), (head.position, head.hash), "where it ends");
    let forgotten = other.read(Position(1), 10, 100).await;
    equal!(forgotten, Err(LedgerError::Forgotten { first: Position(3) }), "a forgotten entry");
    let kept = other.read(Position(2), 10, 100).await?;
    equal!(kept, entries[2..].to_vec(), "the kept entries");
    verify_chain(Position(2), now.before, &kept)?;
    // An earlier place does nothing, one behind the end takes all.
    one.forget(old, Position(2)).await?;
    equal!(other.head().await?.first, Position(3), "where the log begins");
    let new = depose(&one, (1, old), 2).await?;
    let refused = one.forget(old, Position(5)).await;
    equal!(refused, Err(LedgerError::Fenced { epoch: new }), "an old leader that forgets");
    one.forget(new, Position(100)).await?;
    let now = other.head().await?;
    equal!((now.first, now.before, now.hash), (Position(5), head.hash, head.hash), "an empty log");
    done(one.append(append(new, &now, &["e"])).await?)?;
    equal!(one.read(Position(4), 10, 100).await?.len(), 1, "the entries after that");
    Ok(())
}
