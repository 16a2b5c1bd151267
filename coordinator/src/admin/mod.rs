//! What the operator can do to a running coordinator, on a listener of its own.
//!
//! Every call needs the token. Actions answer with the state that they lead to.

mod listen;
mod token;

use std::{future::Future, sync::Arc};

use axum::{
    extract::{Request, State},
    http::{header, StatusCode},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{get, post},
    Json, Router,
};
use serde::Serialize;
use serde_json::{Map, Value};
use tokio::sync::{mpsc, oneshot, Mutex};
use tracing::{error, info, warn, Instrument};

pub use self::listen::AdminError;
pub(crate) use self::{listen::Listeners, token::Token};
use crate::{
    driver::{Action, Command, Refused, Situation},
    key,
    settings::{self, Settings},
};

struct Desk {
    commands: mpsc::Sender<Command>,
    token: Token,
    /// What holds from the next round on. Locked while an action is under way: they are done one after another, so
    /// that no two changes undo each other.
    settings: Mutex<Settings>,
}

/// The state, as it is told.
#[derive(Serialize)]
struct Answer {
    round_id: u64,
    phase: String,
    paused: bool,
    /// The settings of the phases, from the next round on.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_settings: Option<Map<String, Value>>,
}

/// The routes of the operator's listener.
pub(crate) fn router(commands: mpsc::Sender<Command>, token: Token, settings: Settings) -> Router {
    let desk = Arc::new(Desk { commands, token, settings: Mutex::new(settings) });
    let act = |name, action: fn() -> Action| {
        post(move |State(desk): State<Arc<Desk>>| {
            to_its_end(async move { desk.act(name, action()).await })
        })
    };
    Router::new()
        .route("/admin/pause", act("pause", || Action::Pause))
        .route("/admin/resume", act("resume", || Action::Resume))
        .route("/admin/skip", act("skip", || Action::Skip))
        .route("/admin/settings", get(show).post(change))
        .layer(middleware::from_fn_with_state(Arc::clone(&desk), authenticate))
        .with_state(desk)
}

async fn authenticate(State(desk): State<Arc<Desk>>, request: Request, next: Next) -> Response {
    let given = request.headers().get(header::AUTHORIZATION);
    let given = given.and_then(|value| value.as_bytes().strip_prefix(b"Bearer "));
    if given.is_some_and(|given| desk.token.is(given)) {
        return next.run(request).await;
    }
    warn!(
        path = request.uri().path(),
        "an admin action with a wrong token, or without one, was refused"
    );
    let challenge = [(header::WWW_AUTHENTICATE, "Bearer")];
    let reason = format!(
        "this needs the token of {}, as Authorization: Bearer ...\n",
        key!(admin.token_file)
    );
    (StatusCode::UNAUTHORIZED, challenge, reason).into_response()
}

/// The settings of the phases as they will be.
async fn show(State(desk): State<Arc<Desk>>) -> Response {
    let settings = desk.settings.lock().await;
    Json(phases(&settings)).into_response()
}

/// Does something as a whole, also if whoever has asked for it hangs up meanwhile: or the machine would have done it,
/// and nobody would know.
async fn to_its_end(action: impl Future<Output = Response> + Send + 'static) -> Response {
    match tokio::spawn(action.in_current_span()).await {
        Ok(response) => response,
        Err(error) => {
            error!(%error, "an action of the operator was lost");
            let reason = "the action has failed: the coordinator's log says why\n";
            (StatusCode::INTERNAL_SERVER_ERROR, reason).into_response()
        }
    }
}

/// Takes an object of keys and values.
async fn change(
    State(desk): State<Arc<Desk>>,
    Json(changes): Json<Map<String, Value>>,
) -> Response {
    to_its_end(async move { desk.change(changes).await }).await
}

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

fn answer(situation: Situation, next_settings: Option<Map<String, Value>>) -> Answer {
    let Situation { round_id, phase, paused } = situation;
    Answer { round_id, phase, paused, next_settings }
}

impl Desk {
    async fn change(&self, changes: Map<String, Value>) -> Response {
        let changes = changes.into_iter().map(|(key, value)| match value {
            Value::String(text) => (key, text),
            value => (key, value.to_string()),
        });
        let changes: Vec<(String, String)> = changes.collect();
        let mut settings = self.settings.lock().await;
        let changed = match settings::change(&settings, &changes) {
            Ok(changed) => changed,
            Err(error) => return (StatusCode::BAD_REQUEST, format!("{error}\n")).into_response(),
        };
        let action = Action::ChangeSettings(Box::new(changed.clone()));
        match self.tell("change settings", action).await {
            Ok(situation) => {
                *settings = changed;
                for (key, value) in &changes {
                    info!(key, value, "a setting is changed from the next round on");
                }
                Json(answer(situation, Some(phases(&settings)))).into_response()
            }
            Err(refused) => refused,
        }
    }

    async fn act(&self, name: &'static str, action: Action) -> Response {
        let _in_turn = self.settings.lock().await;
        match self.tell(name, action).await {
            Ok(situation) => Json(answer(situation, None)).into_response(),
            Err(refused) => refused,
        }
    }

    async fn tell(&self, name: &'static str, action: Action) -> Result<Situation, Response> {
        let (reply, outcome) = oneshot::channel();
        let stopped = || {
            let reason = "the coordinator is shutting down\n";
            (StatusCode::SERVICE_UNAVAILABLE, reason).into_response()
        };
        self.commands.send(Command { action, reply }).await.map_err(|_| stopped())?;
        match outcome.await.map_err(|_| stopped())? {
            Ok(situation) => {
                info!(action = name, round = situation.round_id, "an action of the operator");
                Ok(situation)
            }
            Err(Refused::Stopped) => Err(stopped()),
            Err(Refused::Because(why)) => {
                Err((StatusCode::CONFLICT, format!("{why}\n")).into_response())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::{body::Body, http::Request as HttpRequest};
    use hyper::service::Service;
    use hyper_util::service::TowerToHyperService;

    use super::*;

    const TOKEN: &str = "a-token-of-the-test";

    async fn change(router: Router, changes: &'static str) -> StatusCode {
        let request = HttpRequest::post("/admin/settings")
            .header(header::AUTHORIZATION, format!("Bearer {TOKEN}"))
            .header(header::CONTENT_TYPE, "application/json")
            .body(Body::from(changes))
            .unwrap();
        TowerToHyperService::new(router).call(request).await.unwrap().status()
    }

    /// What was changed before must hold for the next change, or the machine forgets it again.
    #[tokio::test]
    async fn a_change_whose_client_leaves_is_not_lost_for_the_next() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), TOKEN).unwrap();
        let token = Token::read(file.path()).unwrap();
        let (commands, mut machine) = Command::channel();
        let router = router(commands, token, Settings::for_model_length(4));
        let leaving = tokio::spawn(change(router.clone(), r#"{"pet.sum.prob": 0.125}"#));
        let Command { reply, .. } = machine.recv().await.unwrap();
        leaving.abort();
        assert!(leaving.await.unwrap_err().is_cancelled());
        // The next one waits for its turn.
        let next = tokio::spawn(change(router, r#"{"pet.sum.count.min": 7}"#));
        tokio::task::yield_now().await;
        assert!(machine.try_recv().is_err());
        let situation = Situation { round_id: 1, phase: "sum".to_owned(), paused: false };
        reply.send(Ok(situation.clone())).expect("somebody still wants to know");
        let Command { action, reply } = machine.recv().await.unwrap();
        let Action::ChangeSettings(settings) = action else { panic!("{action:?}") };
        let sum = settings.pet.sum;
        assert_eq!((sum.prob, sum.count.min), (0.125, 7));
        reply.send(Ok(situation)).unwrap();
        assert_eq!(next.await.unwrap(), StatusCode::OK);
    }
}
