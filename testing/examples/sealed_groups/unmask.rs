//! What a coalition makes of an updater's masked model.

use std::path::Path;

use pet_core::mask::derive_mask;
use pet_core::v2::{stream_seed, Call, Certificate};
use pet_testing::v2::words;

use crate::http::Client;
use crate::{print, seeds, Failure};

/// Takes the streams of these groups off a masked model as the coordinator has it, with the seeds in a file that their members
/// have opened. Prints how many boxes there were, `boxes N`, and what is left, `left NUMBER...`.
pub fn run(
    url: &str,
    round: &str,
    updater: &str,
    file: &Path,
    groups: &[&str],
) -> Result<(), Failure> {
    let (client, round, updater) = (Client::new(url)?, round.parse()?, updater.parse()?);
    let certificate =
        Certificate::from_bytes(&client.done(&Call::Certificate { round: Some(round) })?)?;
    let config = certificate.terms.parameters.mask_config;
    let (context, list) = (certificate.terms.context(), certificate.announcements.digest());
    let mut left = words::vector(&client.done(&Call::MaskedModel { round, updater })?);
    let mut boxes = 0;
    for group in groups {
        let group = group.parse()?;
        let (seed, members) = seeds::find(file, round, group, &updater)?;
        boxes += members;
        let stream = stream_seed(&context, &list, &updater, group, &seed);
        left = words::sub(&left, &words::of(&derive_mask(&stream, config, left.len())));
    }
    print("boxes", [boxes]);
    print("left", left);
    Ok(())
}
