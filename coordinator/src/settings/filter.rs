//! What a log filter says about this program.
//!
//! Old settings name the old coordinator's targets (`xaynet=debug,http=warn,info`). Taken as they
//! are they would let through nothing of ours.

/// The target of everything this program logs.
const OURS: &str = "pet_coordinator";

/// What the old coordinator's messages were filtered by.
const OLD: &[&str] = &["xaynet", "xaynet_server"];

/// The filter, and after it what it says of the old targets said of ours. Where it names ours itself
/// it stays as it is.
pub(super) fn with_aliases(filter: &str) -> String {
    let mut all = filter.to_owned();
    if split(filter).any(|directive| target(directive).is_some_and(is_in_ours)) {
        return all;
    }
    for directive in split(filter) {
        let Some(target) = target(directive).filter(|target| is_old(target)) else {
            continue;
        };
        // What the old one's modules were called means nothing here.
        let rest = &directive[target.len()..];
        all.push_str(&format!(",{OURS}{rest}"));
    }
    all
}

/// Libraries that warn of what this program tells itself, once and in its own words: of each connection to a database
/// that is gone.
const ECHOES: &[&str] = &["deadpool"];

/// The filter, without the warnings of those libraries unless it names them.
pub(super) fn without_echoes(filter: &str) -> String {
    let mut all = filter.to_owned();
    let is_named = |echo: &&&str| {
        split(filter)
            .any(|directive| target(directive).is_some_and(|target| target.starts_with(**echo)))
    };
    // With no directive for all others a filter lets nothing of theirs through anyhow; with none at all it has a default.
    let is_for_all = split(filter).any(|directive| target(directive).is_none());
    for echo in ECHOES.iter().filter(|echo| is_for_all && !is_named(echo)) {
        all.push_str(&format!(",{echo}=error"));
    }
    all
}

/// Whether a filter has anything to say of our messages, be it that they are not wanted.
pub(super) fn concerns_us(filter: &str) -> bool {
    // No filter at all lets errors through, as is documented of `EnvFilter`.
    split(filter).next().is_none()
        || split(filter).any(|directive| match target(directive) {
            None => true,
            // A filter's targets are beginnings of targets.
            Some(target) => is_old(target) || is_in_ours(target) || OURS.starts_with(target),
        })
}

fn is_old(target: &str) -> bool {
    OLD.contains(&target.split("::").next().unwrap_or(target))
}

fn is_in_ours(target: &str) -> bool {
    target.split("::").next() == Some(OURS)
}

/// The directives, cut at the same places as `EnvFilter` does.
fn split(filter: &str) -> impl Iterator<Item = &str> {
    filter.split(',').filter(|directive| !directive.is_empty())
}

/// The target that a directive is for; `None` if it is for all.
fn target(directive: &str) -> Option<&str> {
    let end = directive.find(['=', '[']).unwrap_or(directive.len());
    let target = &directive[..end];
    let is_level =
        end == directive.len() && target.parse::<tracing_subscriber::filter::LevelFilter>().is_ok();
    (!target.is_empty() && !is_level).then_some(target)
}

#[cfg(test)]
mod tests {
    use std::{
        io,
        sync::{Arc, Mutex},
    };

    use tracing_subscriber::EnvFilter;

    use super::*;

    #[test]
    fn old_targets_mean_ours() {
        for (filter, expected) in [
            ("info", "info"),
            ("xaynet=debug,http=warn", "xaynet=debug,http=warn,pet_coordinator=debug"),
            (
                "warn,xaynet_server::rest=trace",
                "warn,xaynet_server::rest=trace,pet_coordinator=trace",
            ),
            ("xaynet", "xaynet,pet_coordinator"),
            ("xaynet[a{b=c}]=info", "xaynet[a{b=c}]=info,pet_coordinator[a{b=c}]=info"),
            ("xaynet=debug,pet_coordinator=warn", "xaynet=debug,pet_coordinator=warn"),
            ("xaynet_mobile=debug", "xaynet_mobile=debug"),
            ("", ""),
        ] {
            assert_eq!(with_aliases(filter), expected);
            let parsed = EnvFilter::builder().parse(expected);
            assert!(parsed.is_ok(), "{expected}: {parsed:?}");
        }
    }

    #[test]
    fn what_we_tell_ourselves_is_not_told_by_libraries_as_well() {
        for (filter, expected) in [
            ("info", "info,deadpool=error"),
            ("xaynet=debug,warn", "xaynet=debug,warn,deadpool=error"),
            ("info,deadpool=debug", "info,deadpool=debug"),
            ("pet_coordinator=debug", "pet_coordinator=debug"),
            ("", ""),
        ] {
            assert_eq!(without_echoes(filter), expected);
        }
        let says = |filter: &str, target_: &str| logs(&without_echoes(filter), target_);
        assert!(!says("info", "deadpool.postgres") && says("info", "pet_coordinator::driver"));
        assert!(says("info,deadpool=debug", "deadpool.postgres"));
    }

    /// Logs one line of ours through a filter: what this module says of it must be true.
    fn logs_info(filter: &str) -> bool {
        logs(&with_aliases(filter), "pet_coordinator::driver")
    }

    /// Whether a filter lets something of a target through.
    fn logs(filter: &str, target: &str) -> bool {
        #[derive(Clone, Default)]
        struct Memory(Arc<Mutex<Vec<u8>>>);
        impl io::Write for Memory {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                self.0.lock().unwrap().extend_from_slice(bytes);
                Ok(bytes.len())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let memory = Memory::default();
        let writer = memory.clone();
        let log = tracing_subscriber::fmt()
            .with_env_filter(EnvFilter::builder().parse(filter).unwrap())
            .with_writer(move || writer.clone())
            .finish();
        tracing::subscriber::with_default(log, || match target {
            "deadpool.postgres" => tracing::warn!(target: "deadpool.postgres", "a line"),
            _ => tracing::info!(target: "pet_coordinator::driver", "a line"),
        });
        let logged = memory.0.lock().unwrap();
        !logged.is_empty()
    }

    #[test]
    fn a_filter_that_says_nothing_of_us_is_recognised() {
        for (filter, concerns, logs) in [
            ("info", true, true),
            ("off", true, false),
            ("4", true, true),
            ("http=debug,error", true, false),
            ("xaynet=debug,http=warn", true, true),
            ("xaynet_server::rest=warn", true, false),
            ("pet=info", true, true),
            ("pet_coordinator::driver=info", true, true),
            ("[span]=info", true, false),
            ("http=debug", false, false),
            ("petition", false, false),
            ("hyper=trace,xaynet_mobile=info", false, false),
            ("", true, false),
        ] {
            assert_eq!(concerns_us(filter), concerns, "{filter}");
            assert_eq!(logs_info(filter), logs, "{filter}");
        }
    }
}
