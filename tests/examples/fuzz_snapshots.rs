//! Writes snapshots of both machines, from all over some rounds, as a corpus for fuzzing:
//! `cargo run -p pet-tests --example fuzz_snapshots -- fuzz/corpus/snapshots`.

use std::collections::BTreeSet;
use std::path::PathBuf;

use pet_core::mask::MaskConfig;
use pet_core::message::MessageSize;
use pet_core::model::Model;
use pet_core::participant::Settings;
use pet_testing::world::{settings, Calm, World};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = PathBuf::from(std::env::args().nth(1).ok_or("usage: fuzz_snapshots FOLDER")?);
    std::fs::create_dir_all(&folder)?;
    let config: MaskConfig = "Prime/F32/B0/M3".parse()?;
    let mut participants = vec![Settings::default(); 6];
    participants[1].max_message_size = MessageSize::at_most(220)?;
    let mut world = World::new(settings(config.into(), 4), participants, 1, Calm);
    let (mut seen, mut count) = (BTreeSet::new(), 0);
    let train = |client: usize, _| Model::F32(vec![client as f32 / 8.0; 4]);
    world.run_watched(1, train, |world| {
        let phase = world.server.machine.phase().to_string();
        let mut write = |kind: &str, bytes: &[u8]| {
            // One of each length: they differ in what they are doing.
            if seen.insert((kind.to_string(), phase.clone(), bytes.len())) && count < 24 {
                count += 1;
                std::fs::write(folder.join(format!("{kind}-{phase}-{}", bytes.len())), bytes)
            } else {
                Ok(())
            }
        };
        write("coordinator", &world.server.machine.snapshot().to_bytes()).expect("written");
        for client in &world.clients {
            write("participant", &client.machine.snapshot().to_bytes()).expect("written");
        }
    });
    Ok(())
}
