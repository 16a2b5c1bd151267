//! Who leads.

use pet_ledger::{Ask, Epoch, Lease, LedgerError, ReplicaId};

use crate::{
    error::Does,
    reply::{damaged, micros, number, Reply},
    scripts::{LEASE, RELEASE},
    server::{Args, Lane, Server},
};

pub(super) async fn lease(server: &Server, ask: Ask) -> Result<Lease, LedgerError> {
    server.check_durability().await?;
    let (at, elapsed) = match ask.elapsed {
        Some(elapsed) => (number(elapsed.at.0), micros(elapsed.time)),
        None => (Vec::new(), Vec::new()),
    };
    let (replica, name) = (&ask.replica.0[..], ask.name.as_bytes());
    let renews = ask.renews.map(|epoch| number(epoch.0)).unwrap_or_default();
    let args = Args::new().bytes(replica).bytes(name).bytes(micros(ask.ttl));
    let args = args.bytes(at).bytes(elapsed).bytes(renews);
    let said = server.run(Lane::Quick, Does::Write, &LEASE, &[], args).await?;
    let mut said = Reply::of(said)?;
    match &said.bytes()?[..] {
        b"held" => Ok(Lease::Held { epoch: said.epoch()?, left: ask.ttl }),
        b"by" => Ok(Lease::HeldBy {
            replica: ReplicaId(said.fixed("who holds the lease")?),
            name: said.text()?,
            epoch: said.epoch()?,
            left: said.micros()?,
        }),
        b"fenced" => Err(LedgerError::Fenced { epoch: said.epoch()? }),
        _ => Err(damaged("the lease")),
    }
}

pub(super) async fn release(
    server: &Server,
    replica: ReplicaId,
    epoch: Epoch,
) -> Result<(), LedgerError> {
    let args = Args::new().bytes(&replica.0[..]).number(epoch.0);
    server.run(Lane::Quick, Does::Write, &RELEASE, &[], args).await.map(drop)
}
