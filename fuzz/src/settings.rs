//! The coordinator's settings: a TOML document and environment variables.

use pet_coordinator::settings::{Loader, Settings};
use pet_core::coordinator::Coordinator;
use pet_core::crypto::RootSeed;
use pet_core::time::Timestamp;
use tracing_subscriber::EnvFilter;

/// The part before the first zero byte is a TOML document; what follows are environment variables, with a
/// zero byte after each. What is loaded is valid in every respect, and what is not says why.
pub fn settings(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match load(text) {
        Err(error) => assert!(!error.is_empty()),
        Ok(settings) => {
            settings.validate().expect("loaded settings are valid");
            let filter = settings.log.directives();
            assert!(EnvFilter::builder().parse(&filter).is_ok(), "log filter {filter}");
            let machine =
                Coordinator::new(settings.protocol(), RootSeed::new([1; 32]), Timestamp::ZERO);
            machine.expect("valid settings make a coordinator");
        }
    }
}

fn load(text: &str) -> Result<Settings, String> {
    let mut parts = text.split('\0');
    let document = parts.next().unwrap_or_default();
    let variables = parts.filter_map(|variable| variable.split_once('='));
    let loader = Loader::new()
        .document("fuzzed.toml", document)
        .env(variables.map(|(name, value)| (name.into(), value.into())));
    match loader.load() {
        Ok(loaded) => {
            // Telling about them must not fail either.
            loaded.warnings.iter().for_each(|warning| assert!(!warning.to_string().is_empty()));
            Ok(loaded.settings)
        }
        Err(error) => Err(error.to_string()),
    }
}

/// Inputs for a corpus.
pub fn examples() -> [(&'static str, &'static str); 6] {
    [
        ("least", "model.length = 1"),
        (
            "all",
            "[api]\nbind_address = \"127.0.0.1:0\"\n[pet.sum]\nprob = 0.5\ncount = { min = 1, max = 100 }\n\
             time = { min = 5, max = 3600.5 }\n[pet.update]\nprob = 0.9\ncount.min = 3\ncount.max = 10000\n\
             time.min = 10\ntime.max = 3600\n[pet.sum2]\ncount = { min = 1, max = 100 }\n[pet.sum2.time]\n\
             min = 5\nmax = 3600\n[mask]\ngroup_type = \"Prime\"\ndata_type = \"F64\"\nbound_type = \"Bmax\"\n\
             model_type = \"M3\"\n[model]\nlength = 4\n[log]\nfilter = \"xaynet=debug,http=warn,info\"\n\
             format = \"json\"\n",
        ),
        (
            "old",
            "[redis]\nurl = \"redis://127.0.0.1\"\n[s3]\naccess_key = \"minio\"\nregion = [\"minio\", \"url\"]\n\
             [s3.buckets]\nglobal_models = \"global-models\"\n[restore]\nenable = true\n[model]\nlength = 0x10\n\
             [metrics.influxdb]\nurl = \"x\"\ndb = \"metrics\"\n[api]\ntls_certificate = \"a.pem\"\n",
        ),
        ("environment", "\0XAYNET__MODEL__LENGTH=4\0xaynet__pet__sum__count__min=2\0XAYNET__LOG__FILTER=xaynet\0"),
        ("wrong", "[model]\nlength = 0\n[pet.sum]\nprob = nan\ntime = { min = -1, max = 1e300 }\nmodle = 1979-05-27\n"),
        ("filter", "model.length = 1\nlog.filter = \"xaynet[span{field=1}]=trace,off\""),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_sources_are_read() {
        let settings = load("[model]\nlength = 4\0XAYNET__PET__SUM__PROB=0.25").unwrap();
        assert_eq!((settings.model.length, settings.pet.sum.prob), (4, 0.25));
        assert!(load("[model]\nlength = 0").is_err());
        assert!(load("= 0").is_err());
    }
}
