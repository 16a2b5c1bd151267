//! Letters between replicas, as they are in the engine: sealed.

use bytes::Bytes;
use pet_core::coordinator::{
    relay::{read_answer, write_answer, Letter, LetterNumber, Piece},
    Rejection, Shard,
};
use pet_ledger::{Letter as Sealed, LetterId, PartName, Place, Posted, ReplicaId, Vault};

use super::kept::part_name;

/// The kind of letters from a relay. There is no other.
const RELAYED: u8 = 1;

/// What tells a letter from all others of a replica: a relay's first shard, which nobody else ever had, and its number.
pub(super) fn key(origin: Shard, number: LetterNumber) -> Bytes {
    [&origin.as_bytes()[..], &number.0.to_le_bytes()].concat().into()
}

/// Seals a letter.
pub(super) fn seal(vault: &Vault, from: ReplicaId, key: Bytes, letter: &Letter) -> Sealed {
    let place = Place::Letter { from, kind: RELAYED, key: &key };
    let body = vault.close(place, &letter.to_bytes());
    Sealed { from, kind: RELAYED, key, body }
}

/// Opens a letter; nothing if no replica has written it, or a newer one.
pub(super) fn open(vault: &Vault, posted: &Posted) -> Option<Letter> {
    let Sealed { from, kind, key, body } = &posted.letter;
    let place = Place::Letter { from: *from, kind: *kind, key };
    let opened = vault.open_at(place, body).ok().filter(|_| *kind == RELAYED)?;
    Letter::from_bytes(&opened).ok()
}

/// Seals an answer.
pub(super) fn seal_answer(
    vault: &Vault,
    to: ReplicaId,
    letter: LetterId,
    key: &[u8],
    outcome: &Result<(), Rejection>,
) -> Bytes {
    vault.close(Place::Answer { to, letter, kind: RELAYED, key }, &write_answer(outcome))
}

/// Opens an answer; nothing if it is not the one to this letter.
pub(super) fn open_answer(
    vault: &Vault,
    to: ReplicaId,
    letter: LetterId,
    key: &[u8],
    answer: &[u8],
) -> Option<Result<(), Rejection>> {
    let opened = vault.open_at(Place::Answer { to, letter, kind: RELAYED, key }, answer);
    read_answer(&opened.ok()?).ok()
}

/// The name of a letter's large piece in the store. That of a mask is not shown to whoever reads the engine.
pub(super) fn piece_name(vault: &Vault, piece: &Piece) -> PartName {
    match piece.is_shared {
        true => part_name("vote", vault.tag("a mask that letters name", piece.part.as_bytes())),
        false => part_name("piece", *piece.part.as_bytes()),
    }
}
