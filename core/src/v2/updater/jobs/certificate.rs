//! Checking a certificate.

use std::sync::Arc;

use bytes::Bytes;

use super::super::Refusal;
use super::{done, Done, Flaw, Outcome};
use crate::job::{JobKind, Progress, Work};
use crate::v2::{Certificate, CertificateError, Context, Decision, Pin, PinError, Roster};

/// A certificate that holds.
#[derive(Debug, Clone, Copy)]
pub(in super::super) struct Checked {
    pub(in super::super) round: u64,
    pub(in super::super) context: Context,
    pub(in super::super) decision: Decision,
}

/// Reads and checks a certificate: the roster, and how many updates were added up. What the terms had asked for does not
/// matter any more, nor does the pin's budget, since the round is over: otherwise whoever raises its pin could go on from no model
/// that was made before.
pub(in super::super) struct CheckCertificate {
    bytes: Bytes,
    roster: Arc<Roster>,
    pin: Pin,
    checked: Option<Result<Checked, Flaw>>,
}

impl CheckCertificate {
    pub(in super::super) fn new(bytes: Bytes, roster: Arc<Roster>, pin: Pin) -> Self {
        Self { bytes, roster, pin, checked: None }
    }

    fn check(&self) -> Result<Checked, Flaw> {
        let certificate = Certificate::from_bytes(&self.bytes).map_err(Flaw::Malformed)?;
        let in_pin = |error: PinError| Refusal::from(CertificateError::from(error));
        self.pin.check().map_err(in_pin)?;
        self.pin.check_roster(&self.roster).map_err(in_pin)?;
        certificate.verify_without_pin(&self.roster, self.pin.n_min)?;
        let Certificate { terms, decision, .. } = certificate;
        Ok(Checked { round: terms.round, context: decision.context, decision })
    }
}

impl Work<Outcome> for CheckCertificate {
    fn kind(&self) -> JobKind {
        JobKind::CheckCertificate
    }

    fn step(&mut self) -> bool {
        if self.checked.is_none() {
            self.checked = Some(self.check());
        }
        true
    }

    fn progress(&self) -> Progress {
        Progress { done: self.checked.is_some().into(), total: 1 }
    }

    fn finish(mut self: Box<Self>) -> Outcome {
        self.step();
        let unchecked = || unreachable!("a step checks it");
        done(Done::Certificate(self.checked.unwrap_or_else(unchecked)))
    }
}
