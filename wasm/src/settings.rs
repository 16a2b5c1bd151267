//! How a participant behaves, as JavaScript says it.

use std::time::Duration;

use pet_core::message::MessageSize;
use pet_core::model::Scalar;
use pet_core::participant::Settings;
use serde::Deserialize;

use crate::exchange::{Code, Failure};

/// What may be said; what is not said is as it is by default.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Given {
    scalar: Option<GivenScalar>,
    max_message_size: Option<f64>,
    max_model_length: Option<f64>,
    keep_models: Option<bool>,
    polling: Option<GivenPolling>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum GivenScalar {
    Number(f64),
    /// Numerator and denominator.
    Ratio(u64, u64),
}

/// Milliseconds.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct GivenPolling {
    after_progress: Option<f64>,
    initial: Option<f64>,
    factor: Option<f64>,
    max: Option<f64>,
}

/// Reads settings.
pub(crate) fn read(json: &str) -> Result<Settings, Failure> {
    let config = |error: String| Failure::new(Code::Config, error);
    let given: Given = serde_json::from_str(json)
        .map_err(|error| config(format!("the settings cannot be read: {error}")))?;
    let mut settings = Settings::default();
    if let Some(scalar) = given.scalar {
        settings.scalar = match scalar {
            GivenScalar::Number(scalar) => Scalar::from_f64(scalar)
                .map_err(|error| config(format!("the scalar {scalar}: {error}")))?,
            GivenScalar::Ratio(numer, denom) => Scalar::from_ratio(numer.into(), denom.into())
                .map_err(|error| config(format!("the scalar {numer}/{denom}: {error}")))?,
        };
    }
    if let Some(size) = given.max_message_size {
        let size = whole("maxMessageSize", size)?;
        settings.max_message_size =
            MessageSize::at_most(usize::try_from(size).unwrap_or(usize::MAX))
                .map_err(|error| config(error.to_string()))?;
    }
    if let Some(length) = given.max_model_length {
        settings.max_model_length = whole("maxModelLength", length)?;
    }
    if let Some(keep) = given.keep_models {
        settings.keep_models = keep;
    }
    if let Some(given) = given.polling {
        let polling = &mut settings.polling;
        for (name, time, place) in [
            ("polling.afterProgress", given.after_progress, &mut polling.after_progress),
            ("polling.initial", given.initial, &mut polling.initial),
            ("polling.max", given.max, &mut polling.max),
        ] {
            if let Some(time) = time {
                *place = Duration::from_millis(whole(name, time)?);
            }
        }
        if let Some(factor) = given.factor {
            if !factor.is_finite() || factor < 1.0 {
                return Err(config(format!("polling.factor is {factor}: it is 1 or more")));
            }
            polling.factor = factor;
        }
    }
    Ok(settings)
}

/// A number of something.
fn whole(name: &str, number: f64) -> Result<u64, Failure> {
    // What is above 2^53 is not a whole number that JavaScript can name.
    if !(0.0..=9_007_199_254_740_991.0).contains(&number) || number.fract() != 0.0 {
        return Err(Failure::new(
            Code::Config,
            format!("{name} is {number}: it is a whole number, 0 or more"),
        ));
    }
    Ok(number as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_said_is_as_by_default() {
        assert_eq!(read("{}").unwrap(), Settings::default());
    }

    #[test]
    fn what_is_said_is_taken() {
        let settings = read(
            r#"{ "scalar": 0.25, "maxMessageSize": 4096, "maxModelLength": 10, "keepModels": false,
                 "polling": { "afterProgress": 1, "initial": 2, "factor": 1.5, "max": 3000 } }"#,
        )
        .unwrap();
        assert_eq!(settings.scalar, Scalar::from_ratio(1u32.into(), 4u32.into()).unwrap());
        assert_eq!(settings.max_message_size, MessageSize::at_most(4096).unwrap());
        assert_eq!((settings.max_model_length, settings.keep_models), (10, false));
        let polling = settings.polling;
        assert_eq!(polling.after_progress, Duration::from_millis(1));
        assert_eq!(polling.initial, Duration::from_millis(2));
        assert_eq!((polling.factor, polling.max), (1.5, Duration::from_secs(3)));
        let ratio = read(r#"{ "scalar": [1, 3] }"#).unwrap().scalar;
        assert_eq!(ratio, Scalar::from_ratio(1u32.into(), 3u32.into()).unwrap());
    }

    #[test]
    fn what_cannot_be_used_is_refused_with_its_name() {
        for (json, named) in [
            ("", "cannot be read"),
            (r#"{ "scaler": 1 }"#, "scaler"),
            (r#"{ "scalar": -1 }"#, "the scalar -1"),
            (r#"{ "scalar": [1, 0] }"#, "the scalar 1/0"),
            (r#"{ "maxMessageSize": 1 }"#, ""),
            (r#"{ "maxModelLength": 1.5 }"#, "maxModelLength"),
            (r#"{ "maxModelLength": 1e300 }"#, "maxModelLength"),
            (r#"{ "polling": { "max": -1 } }"#, "polling.max"),
            (r#"{ "polling": { "factor": 0.5 } }"#, "polling.factor"),
        ] {
            let failure = read(json).unwrap_err();
            assert_eq!(failure.code, Code::Config, "{json}");
            assert!(failure.message.contains(named), "{json}: {}", failure.message);
        }
    }
}
