//! What the operator can do to a running coordinator, on a listener of its own.
//!
//! Every call needs the token. Actions answer with the state that they lead to.

mod listen;
mod office;
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
use tracing::{error, warn, Instrument};

pub use self::listen::AdminError;
#[cfg(feature = "replicas")]
pub(crate) use self::office::Request as Passed;
pub(crate) use self::{
    listen::Listeners,
    office::{Addressee, Ask, Denied, Office, Told},
    token::Token,
};
use crate::{driver::Situation, key};

struct Desk {
    addressee: Addressee,
    token: Token,
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
pub(crate) fn router(addressee: Addressee, token: Token) -> Router {
    let desk = Arc::new(Desk { addressee, token });
    let act = |ask: Ask| {
        post(move |State(desk): State<Arc<Desk>>| {
            let ask = ask.clone();
            to_its_end(async move { desk.act(ask).await })
        })
    };
    Router::new()
        .route("/admin/pause", act(Ask::Pause))
        .route("/admin/resume", act(Ask::Resume))
        .route("/admin/skip", act(Ask::Skip))
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
    desk.act(Ask::Show).await
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
    let changes = changes.into_iter().map(|(key, value)| match value {
        Value::String(text) => (key, text),
        value => (key, value.to_string()),
    });
    let ask = Ask::Change(changes.collect());
    to_its_end(async move { desk.act(ask).await }).await
}

impl Desk {
    async fn act(&self, ask: Ask) -> Response {
        let (status, why) = match self.addressee.ask(ask).await {
            Ok(Told { situation: None, settings }) => return Json(settings).into_response(),
            Ok(Told { situation: Some(situation), settings: next_settings }) => {
                let Situation { round_id, phase, paused } = situation;
                return Json(Answer { round_id, phase, paused, next_settings }).into_response();
            }
            Err(Denied::Stopped) => {
                let why = "the coordinator is shutting down".to_owned();
                (StatusCode::SERVICE_UNAVAILABLE, why)
            }
            Err(Denied::Invalid(why)) => (StatusCode::BAD_REQUEST, why),
            Err(Denied::Because(why)) => (StatusCode::CONFLICT, why),
            Err(Denied::Nobody(why)) => (StatusCode::SERVICE_UNAVAILABLE, why),
            Err(Denied::Unknown(why)) => (StatusCode::GATEWAY_TIMEOUT, why),
        };
        (status, format!("{why}\n")).into_response()
    }
}

#[cfg(test)]
mod tests {
    use axum::{body::Body, http::Request as HttpRequest};
    use hyper::service::Service;
    use hyper_util::service::TowerToHyperService;

    use super::*;
    use crate::{
        driver::{Action, Command},
        settings::Settings,
    };

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
        let office = Office::new(commands, Settings::for_model_length(4));
        let router = router(Addressee::Here(Box::new(office)), token);
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
