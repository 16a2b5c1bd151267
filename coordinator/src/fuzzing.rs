//! A coordinator without sockets, for fuzzing what answers HTTP.

use std::sync::Arc;

use axum::{
    body::{Body, Bytes},
    http::{Method, Request, Uri},
    Router,
};
use http_body_util::BodyExt;
use hyper::service::Service;
use hyper_util::service::TowerToHyperService;
use pet_core::{
    coordinator::{Coordinator as Machine, Front, GlobalModel},
    crypto::{RootSeed, RoundSeed},
    model::Model,
};
use tokio::{
    runtime::{Builder, Runtime},
    sync::{oneshot, watch},
};

use crate::{
    board::Board,
    driver::{Clock, Driver},
    http::{self, Answers},
    intake::Intake,
    metrics::Counters,
    models::Library,
    panics,
    settings::Settings,
    status, Store, Volatile,
};

/// The length of a model.
const LENGTH: usize = 10;

/// A coordinator in the sum phase of its first round, with a model of a round before it.
pub struct Site {
    runtime: Runtime,
    router: Router,
    _running: (oneshot::Sender<()>, watch::Sender<bool>),
}

/// What came of a request.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// Its headers.
    pub headers: Vec<(String, Vec<u8>)>,
    /// Its body; of a stream that has no end the beginning.
    pub body: Vec<u8>,
}

impl Answer {
    /// The value of a header that is there once.
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        let mut values = self.headers.iter().filter(|(given, _)| given == name);
        let value = values.next()?;
        values.next().is_none().then_some(&value.1)
    }
}

impl Default for Site {
    fn default() -> Self {
        Self::new()
    }
}

impl Site {
    /// Starts one.
    ///
    /// # Panics
    /// If there are no threads to be had.
    pub fn new() -> Self {
        let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
        panics::count();
        let (router, running) = runtime.block_on(async { start() });
        Self { runtime, router, _running: running }
    }

    /// Asks something; nothing comes of what is no request of HTTP.
    pub fn ask(
        &self,
        method: &[u8],
        target: &[u8],
        headers: &[(&[u8], &[u8])],
        body: &[u8],
    ) -> Option<Answer> {
        let method = Method::from_bytes(method).ok()?;
        let target = Uri::try_from(target).ok()?;
        let mut request = Request::builder().method(method).uri(target);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Body::from(body.to_vec())).ok()?;
        Some(self.runtime.block_on(self.answer(request)))
    }

    async fn answer(&self, mut request: Request<Body>) -> Answer {
        request.extensions_mut().insert(http::Address([127, 0, 0, 1].into()));
        let Ok(response) = TowerToHyperService::new(self.router.clone()).call(request).await;
        let (head, mut body) = response.into_parts();
        let headers = head.headers.iter();
        let headers: Vec<_> = headers
            .map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_vec()))
            .collect();
        let is_endless = headers.iter().any(|(_, value)| value.starts_with(b"text/event-stream"));
        let mut bytes = Vec::new();
        while let Some(Ok(frame)) = body.frame().await {
            bytes.extend_from_slice(&frame.into_data().unwrap_or_default());
            if is_endless {
                break;
            }
        }
        Answer { status: head.status.as_u16(), headers, body: bytes }
    }

    /// What is read of the beginning of a proxy's connection: the address that it connects for, and how many bytes.
    pub fn proxy_header(&self, bytes: &[u8]) -> Option<(Option<std::net::IpAddr>, usize)> {
        let mut rest = bytes;
        let address = self.runtime.block_on(http::proxy_header(&mut rest)).ok()?;
        Some((address, bytes.len() - rest.len()))
    }

    /// How many panics there have been in this process.
    pub fn panics(&self) -> u64 {
        panics::total()
    }
}

fn start() -> (Router, (oneshot::Sender<()>, watch::Sender<bool>)) {
    let mut settings = Settings::for_model_length(LENGTH as u64);
    settings.pet.sum.time.max = std::time::Duration::from_secs(1 << 30);
    let clock = Clock::start();
    let machine = Machine::new(settings.protocol(), RootSeed::new([1; 32]), clock.now());
    let machine = machine.expect("valid settings");
    let library = Arc::new(Library::default());
    let mut first = Board::new(1 << 16, Arc::clone(&library));
    first.show(Front::new().with_model(Some(GlobalModel {
        round_id: 1,
        seed: RoundSeed::new([7; 32]),
        models: 3,
        rationals: Bytes::from_static(b"the exact form of a model of ten weights"),
        weights: Some(Arc::new(Model::F32((0..LENGTH).map(|n| n as f32).collect()))),
        optimizer: None,
    })));
    let (board, shown) = watch::channel(first);
    let counters = Arc::new(Counters::default());
    let (stop, stopped) = watch::channel(false);
    let (observer, view, keepers) = status::channel(Arc::clone(&counters), stopped);
    let store = Box::new(Volatile::default());
    let models = store.models();
    let (driver, deliver) =
        Driver::new(machine, clock, board, Arc::clone(&counters), observer, store);
    let (stop_driver, driver_stopped) = oneshot::channel();
    tokio::spawn(driver.run(driver_stopped));
    tokio::spawn(keepers.run());
    // Nobody who waits for news waits for long.
    let (_, hurried) = watch::channel(true);
    let intake = Intake::new(shown, Arc::clone(&counters), deliver, models, library, hurried);
    let router = http::router(intake, crate::coordinator::upload_limits(&settings, 1 << 16));
    let held = counters.histograms.answer_bytes.clone();
    let answers = Answers::new(crate::coordinator::answer_limits(&settings.limits), held);
    let router = http::visible(router, view, answers);
    let trusted = "127.0.0.0/8".parse().expect("a network");
    (panics::caught(http::identified(router, trusted)), (stop_driver, stop))
}
