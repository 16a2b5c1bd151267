//! Parts in two places: what is small with the log, what is large elsewhere.
//!
//! A part's name tells where it is, so that nobody has to ask twice, and so that it stays known when the limit between small
//! and large is another one.

use std::sync::Arc;

use bytes::Bytes;
use pet_ledger::{LedgerError, PartName, Parts, Pending, StoredPart};

use crate::key;

/// From so many bytes on a part is elsewhere: see docs/shared-storage.md.
pub(super) const LARGE: usize = 256 << 10;

/// Says in its last bit whether a part of so many bytes is elsewhere.
pub(super) fn place(id: &mut [u8; 16], bytes: usize) {
    id[15] = id[15] & !1 | u8::from(bytes >= LARGE);
}

fn is_elsewhere(name: &PartName) -> bool {
    name.id()[15] & 1 == 1
}

/// Parts with the log, and parts elsewhere.
#[derive(Debug)]
pub(super) struct Tiers {
    near: Arc<dyn Parts>,
    far: Arc<dyn Parts>,
}

impl Tiers {
    /// Of the place with the log, and the other one. Whoever begins with it writes down, in both, that they belong together: the
    /// other place belongs to one database only, as whoever leads removes from it what its own log does not name.
    ///
    /// First the database has a number, then the other place has it, then the database knows that: so it may be broken off.
    pub async fn connect(near: Arc<dyn Parts>, far: Arc<dyn Parts>) -> Result<Self, LedgerError> {
        let number = number(&*near).await?;
        let known = near.get(&joined()).await?.is_some();
        let marked = match far.get(&mark()).await? {
            None if known => {
                let why = format!(
                    "the parts of this federation are in another bucket, or below another name: {} is not there. Give the one \
                     that the other replicas have, or a copy of it with all that is in it",
                    mark()
                );
                return Err(LedgerError::Setting { setting: key!(s3.buckets), why });
            }
            None => {
                match far.put(mark(), number.clone()).await {
                    Err(LedgerError::PartDiffers { .. }) => {}
                    put => put?,
                }
                // Somebody else may have been first.
                far.get(&mark()).await?
            }
            marked => marked,
        };
        if marked != Some(number) {
            let why = format!(
                "another database has its parts there, of a federation of the same name: each would remove those of the other. \
                 Take another bucket, or another name ({}). If that database is gone for good, remove what is below this name, \
                 {} as the last",
                key!(storage.federation),
                mark()
            );
            return Err(LedgerError::Setting { setting: key!(s3.buckets), why });
        }
        if !known {
            near.put(joined(), Bytes::from_static(JOINED)).await?;
        }
        Ok(Self { near, far })
    }
}

/// The number of the database, which a new one is given.
async fn number(near: &dyn Parts) -> Result<Bytes, LedgerError> {
    let known = match near.get(&sign()).await? {
        Some(known) => known,
        None => {
            let mut number = [0; 16];
            crate::process::fill_random(&mut number).map_err(|error| LedgerError::Engine {
                engine: "the operating system",
                why: error.to_string(),
            })?;
            match near.put(sign(), Bytes::copy_from_slice(&number)).await {
                Err(LedgerError::PartDiffers { .. }) => {}
                put => put?,
            }
            // Somebody else may have been first.
            near.get(&sign()).await?.unwrap_or_default()
        }
    };
    match known.len() {
        16 => Ok(known),
        _ => Err(LedgerError::Damaged { what: format!("the part {}", sign()) }),
    }
}

/// Refuses parts with the log alone if there are others elsewhere.
pub(super) async fn check_undivided(parts: &dyn Parts) -> Result<(), LedgerError> {
    match parts.get(&sign()).await? {
        None => Ok(()),
        Some(_) => Err(LedgerError::Setting {
            setting: key!(storage.parts),
            why: "large parts of this federation are in S3: set it to \"s3\", and [s3] as the other replicas have it".into(),
        }),
    }
}

/// With the log: that the other place has the number.
const JOINED: &[u8] = b"parts of this federation are elsewhere, where its number is written down";

/// With the log: its number.
fn sign() -> PartName {
    PartName::new(ELSEWHERE, [0; 16]).expect("a word is a kind")
}

fn joined() -> PartName {
    PartName::new(ELSEWHERE, [1; 16]).expect("a word is a kind")
}

/// In the other place: whose it is. The name is always the same, so that there can be one only.
fn mark() -> PartName {
    PartName::new(HERE, [0; 16]).expect("a word is a kind")
}

/// The kinds of these.
const ELSEWHERE: &str = "elsewhere";
const HERE: &str = "here";

impl Parts for Tiers {
    fn put(&self, name: PartName, bytes: Bytes) -> Pending<'_, ()> {
        match is_elsewhere(&name) {
            true => self.far.put(name, bytes),
            false => self.near.put(name, bytes),
        }
    }

    fn get<'a>(&'a self, name: &'a PartName) -> Pending<'a, Option<Bytes>> {
        Box::pin(async move {
            if is_elsewhere(name) {
                if let Some(bytes) = self.far.get(name).await? {
                    return Ok(Some(bytes));
                }
            }
            // Also what was stored before there was another place.
            self.near.get(name).await
        })
    }

    fn list(&self) -> Pending<'_, Vec<StoredPart>> {
        Box::pin(async {
            let mut parts = self.near.list().await?;
            parts.extend(self.far.list().await?);
            parts.retain(|part| ![ELSEWHERE, HERE].contains(&part.name.kind()));
            parts.sort_by(|one, other| one.name.cmp(&other.name));
            parts.dedup_by(|one, other| one.name == other.name);
            Ok(parts)
        })
    }

    fn remove<'a>(&'a self, names: &'a [PartName]) -> Pending<'a, ()> {
        Box::pin(async move {
            self.near.remove(names).await?;
            let far: Vec<PartName> =
                names.iter().filter(|name| is_elsewhere(name)).cloned().collect();
            match far.is_empty() {
                true => Ok(()),
                false => self.far.remove(&far).await,
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use pet_ledger::memory::{Fault, MemoryEngine};

    use super::*;

    fn parts(engine: &MemoryEngine) -> Arc<dyn Parts> {
        Arc::new(engine.parts())
    }

    fn name(kind: &str, first: u8, bytes: usize) -> PartName {
        let mut id = [first; 16];
        place(&mut id, bytes);
        PartName::new(kind, id).unwrap()
    }

    #[tokio::test]
    async fn large_parts_are_elsewhere_and_small_ones_are_not() {
        let (near, far) = (MemoryEngine::new(), MemoryEngine::new());
        let tiers = Tiers::connect(parts(&near), parts(&far)).await.unwrap();
        let (small, large) = (name("a", 8, LARGE - 1), name("a", 8, LARGE));
        assert_ne!(small, large);
        for name in [&small, &large] {
            tiers.put(name.clone(), Bytes::from_static(b"x")).await.unwrap();
            assert_eq!(tiers.get(name).await.unwrap().unwrap(), "x");
            let other = tiers.put(name.clone(), Bytes::from_static(b"y")).await.unwrap_err();
            assert_eq!(other, LedgerError::PartDiffers { name: name.clone() });
        }
        assert!(near.parts().get(&large).await.unwrap().is_none());
        assert!(far.parts().get(&small).await.unwrap().is_none());
        let listed: Vec<_> =
            tiers.list().await.unwrap().into_iter().map(|part| part.name).collect();
        assert_eq!(listed, [small.clone(), large.clone()]);
        tiers.remove(&[small, large]).await.unwrap();
        assert_eq!(tiers.list().await.unwrap(), []);
    }

    /// A federation moves to two places while it has parts in one.
    #[tokio::test]
    async fn what_was_there_before_is_found() {
        let (near, far) = (MemoryEngine::new(), MemoryEngine::new());
        let before = name("a", 3, LARGE);
        near.parts().put(before.clone(), Bytes::from_static(b"x")).await.unwrap();
        let tiers = Tiers::connect(parts(&near), parts(&far)).await.unwrap();
        assert_eq!(tiers.get(&before).await.unwrap().unwrap(), "x");
        tiers.remove(std::slice::from_ref(&before)).await.unwrap();
        assert_eq!(tiers.get(&before).await.unwrap(), None);
    }

    #[tokio::test]
    async fn another_place_or_none_is_refused() {
        let (near, far) = (MemoryEngine::new(), MemoryEngine::new());
        check_undivided(&near.parts()).await.unwrap();
        for _ in 0..2 {
            Tiers::connect(parts(&near), parts(&far)).await.unwrap();
        }
        let error = Tiers::connect(parts(&near), parts(&MemoryEngine::new())).await.unwrap_err();
        assert!(error.to_string().contains("in another bucket"), "{error}");
        let error = check_undivided(&near.parts()).await.unwrap_err();
        assert!(error.to_string().contains("storage.parts"), "{error}");
    }

    /// Each would remove what the other one's log names.
    #[tokio::test]
    async fn a_place_belongs_to_one_database_only() {
        let (one, other, far) = (MemoryEngine::new(), MemoryEngine::new(), MemoryEngine::new());
        Tiers::connect(parts(&one), parts(&far)).await.unwrap();
        for _ in 0..2 {
            let error = Tiers::connect(parts(&other), parts(&far)).await.unwrap_err();
            assert!(error.to_string().contains("another database has its parts there"), "{error}");
        }
        let tiers = Tiers::connect(parts(&one), parts(&far)).await.unwrap();
        // What tells whose they are is never taken for a part that nobody needs.
        assert_eq!(tiers.list().await.unwrap(), []);
        // It may still have a place of its own.
        Tiers::connect(parts(&other), parts(&MemoryEngine::new())).await.unwrap();
    }

    /// Wherever it is: the next try ends well, and a third place is refused from then on.
    #[tokio::test]
    async fn a_beginning_that_is_broken_off_is_begun_again() {
        for fault in [Fault::LostBefore, Fault::LostAfter] {
            let mut broken_off = 0;
            for most in 0.. {
                let (near, far) = (MemoryEngine::new(), MemoryEngine::new());
                let calls = Arc::new(AtomicUsize::new(0));
                let broken = |engine: &MemoryEngine| -> Arc<dyn Parts> {
                    let (parts, calls, fault) = (engine.parts(), Arc::clone(&calls), fault.clone());
                    parts.set_faults(move |_| match calls.fetch_add(1, Ordering::SeqCst) {
                        call if call < most => Fault::None,
                        _ => fault.clone(),
                    });
                    Arc::new(parts)
                };
                let done = Tiers::connect(broken(&near), broken(&far)).await;
                Tiers::connect(parts(&near), parts(&far)).await.unwrap();
                let third = Tiers::connect(parts(&near), parts(&MemoryEngine::new())).await;
                let error = third.unwrap_err().to_string();
                assert!(error.contains("in another bucket"), "{error}");
                if done.is_ok() {
                    break;
                }
                broken_off += 1;
            }
            assert!(broken_off > 5, "{broken_off}");
        }
    }
}
