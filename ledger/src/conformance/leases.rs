//! Who leads.

use super::{append, ask, ensure, equal, lead, lead_for, replica, Checked, Factory, Ledgers};
use crate::{Appended, Ask, Elapsed, Epoch, Lease, LedgerError, Position};

pub(super) async fn a_lease_is_taken_renewed_and_runs_out(
    factory: &dyn Factory,
    [one, other, _]: Ledgers,
) -> Checked {
    let ttl = factory.unit();
    equal!(lead_for(&one, 1, ttl).await?, Epoch(1), "the first epoch");
    let Lease::HeldBy { replica: by, name, epoch, left } = other.lease(ask(2, ttl)).await? else {
        return Err("two hold the lease".to_string().into());
    };
    equal!((by, epoch), (replica(1), Epoch(1)), "who holds the lease");
    equal!(name, "replica 1", "the name of who holds the lease");
    ensure!(left <= ttl, "the lease lasts longer than it was asked for: {left:?}");
    let renewed = one.lease(ask(1, ttl * 2)).await?;
    ensure!(
        matches!(renewed, Lease::Held { epoch: Epoch(1), left } if left > ttl && left <= ttl * 2),
        "it is not renewed: {renewed:?}"
    );
    factory.pass(ttl * 2 + ttl / 4).await?;
    equal!(lead_for(&other, 2, ttl).await?, Epoch(2), "the epoch, once the lease has run out");
    let old = one.lease(ask(1, ttl)).await?;
    ensure!(
        matches!(old, Lease::HeldBy { epoch: Epoch(2), replica: by, .. } if by == replica(2)),
        "who held it before still does: {old:?}"
    );
    equal!(one.head().await?.epoch, Epoch(2), "the epoch in the head");
    Ok(())
}

pub(super) async fn giving_a_lease_up_is_a_fence(
    _: &dyn Factory,
    [one, other, _]: Ledgers,
) -> Checked {
    let epoch = lead(&one, 1).await?;
    // Not theirs, and not of this epoch.
    other.release(replica(2), epoch).await?;
    other.release(replica(1), Epoch(epoch.0 + 1)).await?;
    let held = other.lease(ask(2, std::time::Duration::from_secs(60))).await?;
    ensure!(matches!(held, Lease::HeldBy { .. }), "somebody else can give a lease up: {held:?}");
    one.release(replica(1), epoch).await?;
    let late = one.append(append(epoch, &one.head().await?, &["late"])).await?;
    ensure!(
        matches!(late, Appended::Fenced { epoch: now } if now > epoch),
        "who has given up the lease still appends: {late:?}"
    );
    let next = lead(&other, 2).await?;
    ensure!(next > epoch, "epoch {next} follows epoch {epoch}");
    // Given up again, much later: it is not theirs any more.
    one.release(replica(1), epoch).await?;
    equal!(lead(&other, 2).await?, next, "the epoch, renewed");
    Ok(())
}

/// What a process has asked for that has given up the lease and is gone may still arrive.
pub(super) async fn a_late_renewal_takes_nothing(
    factory: &dyn Factory,
    [one, other, _]: Ledgers,
) -> Checked {
    let ttl = std::time::Duration::from_secs(3600);
    let epoch = lead(&one, 1).await?;
    let renewal = |epoch| Ask { renews: Some(epoch), ..ask(1, ttl) };
    let renewed = one.lease(renewal(epoch)).await?;
    ensure!(
        matches!(renewed, Lease::Held { epoch: now, .. } if now == epoch),
        "it is not renewed: {renewed:?}"
    );
    one.release(replica(1), epoch).await?;
    let late = one.lease(renewal(epoch)).await;
    ensure!(
        matches!(late, Err(LedgerError::Fenced { epoch: now }) if now > epoch),
        "a late renewal takes the lease again: {late:?}"
    );
    let short = factory.unit();
    let next = lead_for(&other, 2, short).await?;
    let late = one.lease(renewal(epoch)).await?;
    ensure!(matches!(late, Lease::HeldBy { .. }), "two hold the lease: {late:?}");
    // One that has run out is not taken, either; but renewed.
    factory.pass(short + short / 4).await?;
    let late = one.lease(renewal(epoch)).await;
    ensure!(
        !matches!(late, Ok(Lease::Held { .. })),
        "a late renewal takes a lease that has run out: {late:?}"
    );
    let late = other.lease(Ask { renews: Some(next), ..ask(2, ttl) }).await?;
    ensure!(
        matches!(late, Lease::Held { epoch: now, .. } if now == next),
        "it is not renewed late: {late:?}"
    );
    Ok(())
}

pub(super) async fn a_lease_that_ran_out_is_renewed_if_nobody_took_it(
    factory: &dyn Factory,
    [one, other, _]: Ledgers,
) -> Checked {
    let ttl = factory.unit() / 2;
    let epoch = lead_for(&one, 1, ttl).await?;
    factory.pass(ttl + ttl / 2).await?;
    // Nobody has noticed, so that nothing forbids it.
    let appended = one.append(append(epoch, &one.head().await?, &["entry"])).await?;
    ensure!(matches!(appended, Appended::Done(_)), "nobody else leads, but: {appended:?}");
    equal!(lead_for(&one, 1, factory.unit()).await?, epoch, "the epoch, renewed late");
    let held = other.lease(ask(2, ttl)).await?;
    ensure!(matches!(held, Lease::HeldBy { .. }), "the renewed lease is free: {held:?}");
    Ok(())
}

pub(super) async fn the_phase_goes_on_by_the_engines_clock(
    factory: &dyn Factory,
    [one, other, _]: Ledgers,
) -> Checked {
    let unit = factory.unit();
    let said = Elapsed { at: Position(0), time: unit * 100 };
    equal!(one.head().await?.elapsed, None, "how long the phase has gone on that nobody knows of");
    let epoch = lead(&one, 1).await?;
    one.lease(Ask { elapsed: Some(said), ..ask(1, unit * 100) }).await?;
    // Who does not lead is not heard.
    let wrong = Elapsed { time: unit * 1000, ..said };
    other.lease(Ask { elapsed: Some(wrong), ..ask(2, unit) }).await?;
    factory.pass(unit).await?;
    let head = other.head().await?;
    let elapsed = head.elapsed.ok_or_else(|| "nothing about the phase".to_string())?;
    equal!(elapsed.at, said.at, "where the phase began");
    ensure!(
        elapsed.time >= said.time + unit && elapsed.time < said.time + unit * 50,
        "the phase has gone on for {:?} after {unit:?}, and for {:?} before",
        elapsed.time,
        said.time
    );
    // A renewal that does not know leaves it as it is; an append that begins a phase says so.
    one.lease(ask(1, unit * 100)).await?;
    ensure!(one.head().await?.elapsed.is_some_and(|now| now.time >= elapsed.time), "it is lost");
    let mut begin = append(epoch, &head, &["begins"]);
    begin.elapsed = Some(unit * 3);
    one.append(begin).await?;
    let elapsed = other.head().await?.elapsed.ok_or_else(|| "nothing about it".to_string())?;
    equal!(elapsed.at, Position(1), "where the new phase began");
    ensure!(elapsed.time >= unit * 3 && elapsed.time < unit * 50, "{:?}", elapsed.time);
    Ok(())
}
