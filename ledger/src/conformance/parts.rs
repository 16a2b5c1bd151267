//! Large parts.

use std::sync::Arc;

use bytes::Bytes;

use super::{ensure, equal, Checked, Factory};
use crate::{LedgerError, PartName, Parts, StoredPart};

type Stores = [Arc<dyn Parts>; 2];

fn name(kind: &str, number: u8) -> PartName {
    PartName::new(kind, [number; 16]).expect("it is a name")
}

fn names(parts: &[StoredPart]) -> Vec<PartName> {
    parts.iter().map(|part| part.name.clone()).collect()
}

pub(super) async fn parts_come_back(_: &dyn Factory, [one, other]: Stores) -> Checked {
    equal!(one.get(&name("model", 1)).await?, None, "a part that is not there");
    for (number, length) in [0, 1, 1 << 20, (1 << 20) + 1, 3_500_007].into_iter().enumerate() {
        let number = number as u8;
        let bytes: Bytes = (0..length as u32).map(|i| (i ^ (i >> 8)) as u8 ^ number).collect();
        one.put(name("model", number), bytes.clone()).await?;
        let got = other.get(&name("model", number)).await?;
        ensure!(got.as_ref() == Some(&bytes), "a part of {length} bytes does not come back");
    }
    equal!(other.get(&name("other", 1)).await?, None, "a part of another kind");
    Ok(())
}

pub(super) async fn parts_never_change(_: &dyn Factory, [one, other]: Stores) -> Checked {
    let (name, bytes) = (name("model", 1), Bytes::from(vec![7; 1000]));
    one.put(name.clone(), bytes.clone()).await?;
    other.put(name.clone(), bytes.clone()).await?;
    for wrong in [vec![8; 1000], vec![7; 999], vec![]] {
        let refused = other.put(name.clone(), wrong.into()).await;
        equal!(refused, Err(LedgerError::PartDiffers { name: name.clone() }), "other bytes");
    }
    ensure!(one.get(&name).await? == Some(bytes), "the part has changed");
    Ok(())
}

pub(super) async fn parts_are_listed_with_their_age(
    factory: &dyn Factory,
    [one, other]: Stores,
) -> Checked {
    equal!(one.list().await?, vec![], "a new store");
    let time = factory.unit();
    one.put(name("shard", 2), Bytes::from_static(b"x")).await?;
    factory.pass(time).await?;
    one.put(name("model", 9), Bytes::from_static(b"y")).await?;
    one.put(name("shard", 1), Bytes::new()).await?;
    let parts = other.list().await?;
    equal!(names(&parts), vec![name("model", 9), name("shard", 1), name("shard", 2)], "the names");
    // (Some engines tell whole seconds only.)
    let second = std::time::Duration::from_secs(1);
    let (new, old) = (parts[0].age, parts[2].age);
    ensure!(old + second >= time && old < time * 50 + second, "it is {time:?} old, not {old:?}");
    ensure!(new < time + second, "a new one is {new:?} old");
    // More than engines tell at once.
    let many: Vec<_> = (0..40).map(|number| name("many", number)).collect();
    for name in &many {
        one.put(name.clone(), Bytes::from_static(b"z")).await?;
    }
    let mut listed = names(&other.list().await?);
    listed.retain(|name| name.kind() == "many");
    equal!(listed, many, "the names of many");
    Ok(())
}

pub(super) async fn parts_are_removed(_: &dyn Factory, [one, other]: Stores) -> Checked {
    let large = Bytes::from(vec![1; 2_000_000]);
    one.put(name("a", 1), large.clone()).await?;
    one.put(name("a", 2), large.clone()).await?;
    other.remove(&[name("a", 1), name("a", 7)]).await?;
    equal!(one.get(&name("a", 1)).await?, None, "a removed part");
    equal!(names(&one.list().await?), vec![name("a", 2)], "the parts that are left");
    other.remove(&[name("a", 1)]).await?;
    other.remove(&[]).await?;
    // The name is free again.
    one.put(name("a", 1), Bytes::from_static(b"anew")).await?;
    equal!(other.get(&name("a", 1)).await?, Some(Bytes::from_static(b"anew")), "a new part");
    Ok(())
}

pub(super) async fn two_store_the_same_at_once(_: &dyn Factory, [one, other]: Stores) -> Checked {
    for number in 0..4 {
        let (name, bytes) = (name("a", number), Bytes::from(vec![number; 1_500_000]));
        let same = tokio::join!(
            one.put(name.clone(), bytes.clone()),
            other.put(name.clone(), bytes.clone())
        );
        equal!(same, (Ok(()), Ok(())), "two that store the same");
        ensure!(one.get(&name).await? == Some(bytes), "the part is not what both stored");
    }
    Ok(())
}
