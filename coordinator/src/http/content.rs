//! What an answer sends: bytes that are at hand, or a model that is turned into bytes as they are sent.

use std::{
    io,
    ops::Range,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use axum::{
    body::{Body, Bytes, HttpBody},
    http::StatusCode,
    response::Response,
};
use hyper::body::{Frame, SizeHint};

use super::answers::Cost;
use crate::models::{Form, Published};

/// A model is sent in pieces of so many bytes.
const PIECE: usize = 64 << 10;

/// The bytes of an answer.
#[derive(Clone, Debug)]
pub(super) enum Content {
    Whole(Bytes),
    /// A model in a form that it has, and how long that is.
    Model(Arc<Published>, Form, usize),
}

impl From<Bytes> for Content {
    fn from(bytes: Bytes) -> Self {
        Self::Whole(bytes)
    }
}

impl Content {
    /// A model in a form, if it has it.
    pub fn of(model: &Arc<Published>, form: Form) -> Option<Self> {
        Some(Self::Model(Arc::clone(model), form, model.len(form)?))
    }

    pub fn len(&self) -> u64 {
        match self {
            Self::Whole(bytes) => bytes.len() as u64,
            Self::Model(.., length) => *length as u64,
        }
    }

    /// An answer with some of it, which must be positions in it.
    pub fn response(&self, status: StatusCode, range: Range<u64>) -> Response {
        let range = range.start as usize..range.end as usize;
        let (body, cost) = match self {
            Self::Whole(bytes) => {
                let bytes = bytes.slice(range);
                let cost = bytes.len();
                (Body::from(bytes), cost)
            }
            Self::Model(model, form, _) => {
                // One piece waits in the connection while the next one is made.
                let cost = range.len().min(2 * PIECE);
                let model = Arc::clone(model);
                (Body::new(Pieces { model, form: *form, range }), cost)
            }
        };
        let mut response = Response::new(body);
        *response.status_mut() = status;
        response.extensions_mut().insert(Cost(cost));
        response
    }
}

/// A part of a model on its way.
struct Pieces {
    model: Arc<Published>,
    form: Form,
    range: Range<usize>,
}

impl HttpBody for Pieces {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        if self.range.is_empty() {
            return Poll::Ready(None);
        }
        let end = self.range.end.min(self.range.start + PIECE);
        let piece = self.model.read(self.form, self.range.start..end);
        self.range.start = end;
        let gone = || io::Error::other("the model has given way to others before it was read");
        Poll::Ready(Some(piece.map(Frame::data).ok_or_else(gone)))
    }

    fn is_end_stream(&self) -> bool {
        self.range.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.range.len() as u64)
    }
}
