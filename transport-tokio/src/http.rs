//! Calls over HTTP.

use bytes::{Bytes, BytesMut};
use pet_core::participant::TransportFault;
use pet_core::request::{Call, CoordinatorUrl, RequestLimits, Response};

use crate::Error;

/// Sends calls to one coordinator. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    client: reqwest::Client,
    url: CoordinatorUrl,
    limits: RequestLimits,
}

impl Client {
    pub(crate) fn new(
        client: Option<reqwest::Client>,
        url: CoordinatorUrl,
        limits: RequestLimits,
    ) -> Result<Self, Error> {
        let client = match client {
            Some(client) => client,
            None => reqwest::Client::builder()
                .connect_timeout(limits.connect)
                // A message that is redirected would become a GET without it, and count as delivered.
                .redirect(reqwest::redirect::Policy::none())
                .user_agent(concat!("pet-transport-tokio/", env!("CARGO_PKG_VERSION")))
                .build()
                .map_err(|error| Error::Client(error.to_string()))?,
        };
        Ok(Self { client, url, limits })
    }

    /// Sends a call and reads the answer, whatever its status.
    pub(crate) async fn send(&self, call: Call) -> Result<Response, TransportFault> {
        let until_answer = self.limits.until_answer(&call);
        let limit = self.limits.max_body_of(&call);
        let url = self.url.of(&call);
        let headers = call.headers();
        let request = match call {
            Call::Message(body) => self.client.post(url).body(body),
            _ => self.client.get(url),
        };
        let request =
            headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        let exchange = async {
            let answer = tokio::time::timeout(until_answer, request.send())
                .await
                .map_err(|_| TransportFault::TimedOut)?
                .map_err(|error| fault(&error))?;
            let status = answer.status().as_u16();
            let headers = answer.headers().clone();
            let body = read(answer, limit).await?;
            let header = |name| headers.get(name).and_then(|value| value.to_str().ok());
            Ok(Response::new(status, body).headers(header("retry-after"), header("content-type")))
        };
        tokio::time::timeout(self.limits.total, exchange)
            .await
            .unwrap_or(Err(TransportFault::TimedOut))
    }
}

async fn read(mut answer: reqwest::Response, limit: u64) -> Result<Bytes, TransportFault> {
    let announced = answer.content_length();
    if announced.is_some_and(|length| length > limit) {
        return Err(TransportFault::TooLarge);
    }
    // A lying length does no harm: memory is taken as the bytes come.
    let expected = announced.unwrap_or(0).min(1 << 20);
    let mut bytes = BytesMut::with_capacity(usize::try_from(expected).unwrap_or(0));
    while let Some(chunk) = answer.chunk().await.map_err(|error| fault(&error))? {
        if (bytes.len() + chunk.len()) as u64 > limit {
            return Err(TransportFault::TooLarge);
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes.freeze())
}

fn fault(error: &reqwest::Error) -> TransportFault {
    if error.is_timeout() {
        return TransportFault::TimedOut;
    }
    // The error's own text names only the outermost cause.
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    TransportFault::Unreachable(text)
}
