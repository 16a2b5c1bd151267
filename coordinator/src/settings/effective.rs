//! The settings in effect, one by one, and where each came from.

use std::{fmt, net::SocketAddr, path::PathBuf, time::Duration};

use pet_core::{
    coordinator::{LearningRate, OptimizerKind, Quorum},
    mask::{BoundType, DataType, GroupType, ModelType},
};

use super::{
    EngineUrl, LogFormat, Networks, Origin, Origins, PartsIn, S3Region, S3Secret, StorageEngine,
};

/// A setting in effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Effective {
    /// The dotted key.
    pub key: String,
    /// Its value as in a TOML file; `None` if it has none.
    pub value: Option<String>,
    /// Where the value came from.
    pub origin: Origin,
}

impl fmt::Display for Effective {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.value {
            Some(value) => write!(f, "{} = {value}", self.key),
            // Still valid TOML.
            None => write!(f, "# {} is not set", self.key),
        }
    }
}

/// A value that a setting can have. Implement it for a type that holds a secret so that it hides it.
pub(super) trait Value {
    /// As it is written in a TOML file; `None` for nothing.
    fn written(&self) -> Option<String>;
}

impl<T: Value> Value for Option<T> {
    fn written(&self) -> Option<String> {
        self.as_ref().and_then(Value::written)
    }
}

macro_rules! plain {
    ($($type:ty),*) => {
        $(impl Value for $type {
            fn written(&self) -> Option<String> {
                Some(self.to_string())
            }
        })*
    };
}

plain!(bool, u16, u32, u64, usize);

impl Value for f64 {
    fn written(&self) -> Option<String> {
        // With a point, so that it is read as a float again.
        Some(format!("{self:?}"))
    }
}

impl Value for Duration {
    /// Seconds, as in files.
    fn written(&self) -> Option<String> {
        Some(match self.subsec_nanos() {
            0 => self.as_secs().to_string(),
            _ => format!("{:?}", self.as_secs_f64()),
        })
    }
}

macro_rules! text {
    ($($type:ty: $text:expr;)*) => {
        $(impl Value for $type {
            fn written(&self) -> Option<String> {
                let text: fn(&$type) -> String = $text;
                Some(quoted(&text(self)))
            }
        })*
    };
}

text! {
    String: Clone::clone;
    PathBuf: |path| path.display().to_string();
    SocketAddr: ToString::to_string;
    Networks: ToString::to_string;
    Origins: ToString::to_string;
    GroupType: |group| group.name().to_owned();
    DataType: |data| data.name().to_owned();
    BoundType: |bound| bound.name().to_owned();
    ModelType: |model| model.name().to_owned();
    OptimizerKind: ToString::to_string;
    StorageEngine: |engine| engine.name().to_owned();
    EngineUrl: ToString::to_string;
    PartsIn: |parts| parts.name().to_owned();
    S3Secret: |_| "(hidden)".to_owned();
    LogFormat: |format| match format {
        LogFormat::Text => "text".to_owned(),
        LogFormat::Json => "json".to_owned(),
    };
}

impl Value for S3Region {
    fn written(&self) -> Option<String> {
        Some(serde_json::Value::from(self.texts()).to_string())
    }
}

impl Value for Quorum {
    fn written(&self) -> Option<String> {
        match self {
            Self::Share(share) => share.written(),
            _ => Some(quoted("majority")),
        }
    }
}

impl Value for LearningRate {
    /// A number where one will do.
    fn written(&self) -> Option<String> {
        let text = self.to_string();
        Some(if text.parse::<f64>().is_ok() { text } else { quoted(&text) })
    }
}

/// A string of JSON is one of TOML as well.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
