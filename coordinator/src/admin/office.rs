//! What the operator asks for, and where it is done: at the machine in this process, or at the replica that leads.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tokio::sync::{mpsc, oneshot, Mutex};
use tracing::info;

use crate::{
    driver::{Action, Command, Refused, Situation},
    process::time::Instant,
    settings::{self, Settings},
};

/// How many requests of the operator may wait for their turn.
#[cfg_attr(not(feature = "replicas"), allow(dead_code))]
const WAITING: usize = 16;
const STOPS: &str =
    "this replica stops: it may have been done or not, /status of another replica says what is so";

/// What the operator can ask for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Ask {
    Pause,
    Resume,
    Skip,
    /// The settings of the phases, as they will be from the next round on.
    Show,
    /// Keys and values of settings, from the next round on.
    Change(Vec<(String, String)>),
}

impl Ask {
    fn name(&self) -> &'static str {
        match self {
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Skip => "skip",
            Self::Show => "show settings",
            Self::Change(_) => "change settings",
        }
    }
}

/// What has come of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Told {
    /// Where the coordinator is then, if something was done.
    pub situation: Option<Situation>,
    /// The settings of the phases, from the next round on.
    pub settings: Option<Map<String, Value>>,
}

/// Why nothing was done, or nobody knows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Denied {
    /// The coordinator was stopped.
    Stopped,
    /// It makes no sense.
    Invalid(String),
    /// Not now.
    Because(String),
    /// There is nobody who could do it.
    #[cfg_attr(not(feature = "replicas"), allow(dead_code))]
    Nobody(String),
    /// It was passed on, and whether it was done is not known.
    #[cfg_attr(not(feature = "replicas"), allow(dead_code))]
    Unknown(String),
}

/// A request of the operator, and the way back for what comes of it.
#[cfg_attr(not(feature = "replicas"), allow(dead_code))]
#[derive(Debug)]
pub(crate) struct Request {
    pub ask: Ask,
    /// When the operator asked.
    pub asked: Instant,
    pub reply: oneshot::Sender<Result<Told, Denied>>,
}

#[cfg_attr(not(feature = "replicas"), allow(dead_code))]
impl Request {
    pub fn channel() -> (mpsc::Sender<Self>, mpsc::Receiver<Self>) {
        mpsc::channel(WAITING)
    }
}

/// Where requests of the operator go.
pub(crate) enum Addressee {
    /// To the machine in this process.
    Here(Box<Office>),
    /// To whichever replica leads.
    #[cfg_attr(not(feature = "replicas"), allow(dead_code))]
    Leader(mpsc::Sender<Request>),
}

impl Addressee {
    pub async fn ask(&self, ask: Ask) -> Result<Told, Denied> {
        match self {
            Self::Here(office) => office.ask(ask).await,
            Self::Leader(requests) => {
                let (reply, outcome) = oneshot::channel();
                let request = Request { ask, asked: Instant::now(), reply };
                requests.send(request).await.map_err(|_| Denied::Stopped)?;
                // It may be on its way to whoever leads.
                outcome.await.unwrap_or_else(|_| Err(Denied::Unknown(STOPS.into())))
            }
        }
    }
}

/// Does what the operator asks for.
#[derive(Debug)]
pub(crate) struct Office {
    commands: mpsc::Sender<Command>,
    /// What holds from the next round on. Locked while an action is under way: they are done one after another, so
    /// that no two changes undo each other.
    settings: Mutex<Settings>,
}

impl Office {
    /// The office of a machine that runs with these settings.
    pub fn new(commands: mpsc::Sender<Command>, settings: Settings) -> Self {
        Self { commands, settings: Mutex::new(settings) }
    }

    /// Does it, before anything that is asked for later.
    pub async fn ask(&self, ask: Ask) -> Result<Told, Denied> {
        let mut settings = self.settings.lock().await;
        let name = ask.name();
        let action = match ask {
            Ask::Pause => Action::Pause,
            Ask::Resume => Action::Resume,
            Ask::Skip => Action::Skip,
            Ask::Show => {
                return Ok(Told { situation: None, settings: Some(phases(&settings)) });
            }
            Ask::Change(changes) => {
                let changed = settings::change(&settings, &changes);
                let changed = changed.map_err(|error| Denied::Invalid(error.to_string()))?;
                let action = Action::ChangeSettings(Box::new(changed.clone()));
                let situation = self.tell(name, action).await?;
                *settings = changed;
                for (key, value) in &changes {
                    info!(key, value, "a setting is changed from the next round on");
                }
                return Ok(Told { situation: Some(situation), settings: Some(phases(&settings)) });
            }
        };
        let situation = Some(self.tell(name, action).await?);
        Ok(Told { situation, settings: None })
    }

    async fn tell(&self, name: &'static str, action: Action) -> Result<Situation, Denied> {
        let (reply, outcome) = oneshot::channel();
        let sent = self.commands.send(Command { action, reply }).await;
        sent.map_err(|_| Denied::Stopped)?;
        match outcome.await.map_err(|_| Denied::Stopped)? {
            Ok(situation) => {
                info!(action = name, round = situation.round_id, "an action of the operator");
                Ok(situation)
            }
            Err(Refused::Stopped) => Err(Denied::Stopped),
            Err(Refused::Because(why)) => Err(Denied::Because(why)),
        }
    }
}

/// The settings of the phases.
fn phases(settings: &Settings) -> Map<String, Value> {
    settings::effective(settings)
        .into_iter()
        .filter(|setting| setting.key.starts_with("pet."))
        .map(|setting| (setting.key, setting.value.map_or(Value::Null, json)))
        .collect()
}

/// Numbers and strings of TOML are JSON as they are.
fn json(value: String) -> Value {
    serde_json::from_str(&value).unwrap_or(Value::String(value))
}
