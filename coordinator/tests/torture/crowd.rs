//! Participants that take part in round after round.

use std::{sync::Arc, time::Duration};

use pet_core::{
    crypto::{RootSeed, RoundSeed, Seed, SigningKeyPair},
    message::{MessageSize, Tag},
    model::Model,
    participant::Event,
};
use pet_transport_tokio::{Config, Participant};

use crate::books::Books;

/// How a participant goes about it.
#[derive(Clone, Copy)]
pub struct Manners {
    /// Its messages are sent in about five parts.
    pub in_parts: bool,
    /// It lets answers be held back until there is news.
    pub is_patient: bool,
    /// The longest time until it hands its model in.
    pub hesitates: Duration,
}

impl Manners {
    /// All that there are, in turns.
    pub fn of(index: usize) -> Self {
        Self {
            in_parts: index.is_multiple_of(3),
            is_patient: index.is_multiple_of(2),
            hesitates: Duration::ZERO,
        }
    }

    /// How long it takes in a round until its model is there: some time, and another one in each.
    fn pause(self, index: usize, round: Option<&[u8; 32]>) -> Duration {
        let random = round.map_or(0, |seed| seed[index % 32]);
        self.hesitates * u32::from(random) / 255
    }
}

/// Takes part in round after round.
pub async fn take_part(
    index: usize,
    length: usize,
    url: String,
    manners: Manners,
    books: Arc<Books>,
) {
    let mut config = Config::new(&url).unwrap();
    config.settings.polling.max = Duration::from_millis(40);
    config.settings.polling.initial = Duration::from_millis(10);
    config.settings.polling.after_progress = Duration::from_millis(1);
    if manners.in_parts {
        let bytes = MessageSize::MIN.max(length * 6 / 5 + 300);
        config.settings.max_message_size = MessageSize::at_most(bytes).unwrap();
    }
    if !manners.is_patient {
        // Whoever waits for less than a second lets nothing be held back.
        config.limits.answer = Duration::from_millis(950);
    }
    let keys = SigningKeyPair::from_seed(&Seed::new([index as u8 + 1; 32]));
    let public = keys.public();
    let seed = RootSeed::new([index as u8 + 101; 32]);
    let mut participant = Participant::with_keys(config, keys, seed).unwrap();
    let handle = participant.handle();
    let mut round: Option<RoundSeed> = None;
    loop {
        let event = participant.next_event().await.unwrap();
        books.happened(index, format!("{event:?}"));
        let seed = round.as_ref().map(RoundSeed::as_bytes);
        match event {
            Event::NewRound { parameters, .. } => round = Some(parameters.seed),
            Event::ModelNeeded { .. } => {
                let mut weights = vec![0.0; length];
                weights[index] = 1.0;
                // (Should the round be over by then: the model of the next one is the same.)
                let (handle, pause) = (handle.clone(), manners.pause(index, seed));
                tokio::spawn(async move {
                    tokio::time::sleep(pause).await;
                    let _ = handle.set_model(Model::F32(weights));
                });
            }
            Event::ModelMasked(_) => books.begun(seed.unwrap(), index),
            Event::Sent(Tag::Update) => books.update_acknowledged(seed.unwrap(), index),
            Event::Sent(Tag::Sum) => books.sum_acknowledged(seed.unwrap(), public),
            Event::Sent(Tag::Sum2) => books.acknowledged(),
            _ => {}
        }
    }
}
