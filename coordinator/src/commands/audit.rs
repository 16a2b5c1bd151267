//! `audit`: recomputing a round from what is published about it.

use std::{thread::sleep, time::Duration};

use indicatif::{ProgressBar, ProgressStyle};
use pet_coordinator::roster::RosterFile;
use pet_core::{
    model::{array::ArrayDecoder, DataType, Model},
    problem::Problem,
    request::Response as Answer,
    v2::{Audit, AuditError, Blame, Call, Certificate, DecodeError, Needs, Roster, StatementsPage},
};

use super::{
    client::Client,
    exit::{print, Exit, Failed},
};
use crate::cli::{self, Pinned};

/// How often something is asked for again that is not to be had now.
const TRIES: u32 = 30;
const PAUSE: Duration = Duration::from_secs(1);

/// No answer but a model or an object is longer.
const SHORT: u64 = 64 << 20;

pub fn audit(args: &cli::Audit) -> Result<(), Failed> {
    let mut remote = args.coordinator.clone();
    if let Some(address) = &args.address {
        remote.url.clone_from(address);
    }
    let source = Source(Client::new(&remote)?);
    let roster = roster(&source, args.roster.as_ref())?;
    let call = Call::Certificate { round: args.round };
    let certificate = read(&source, &call, SHORT, "certificate", Certificate::from_bytes)?;
    let terms = certificate.terms.clone();
    let decision = certificate.decision.digest();
    let (count, groups) = (certificate.decision.count, roster.groups().len() as u64);
    if let Some(asked) = args.round.filter(|asked| *asked != terms.round) {
        return Err(lied(format!(
            "asked for round {asked}, it gives the certificate of round {}",
            terms.round
        )));
    }
    let named = roster.clone();
    let wrong = |error: AuditError| accused(terms.round, &named, &error);
    let mut audit = Audit::new(roster, certificate, args.n_min).map_err(wrong)?;
    let longest = terms.object_len().saturating_add(1);
    // The statements together count as one object.
    let bar = bar(count + groups + 2);
    let data_type = terms.parameters.mask_config.vect.data_type();
    loop {
        let round = terms.round;
        match audit.needs() {
            Needs::Statements { from } => {
                bar.set_message("statements");
                let call = Call::Statements { round, from };
                let page = read(&source, &call, SHORT, "statements", StatementsPage::from_bytes)?;
                audit.statements(&page).map_err(wrong)?;
            }
            Needs::MaskedModel(updater) => {
                bar.set_message("masked models");
                let bytes = source.get(&Call::MaskedModel { round, updater }, longest)?;
                audit.masked_model(&bytes).map_err(wrong)?;
                bar.inc(1);
            }
            Needs::GroupMask(group) => {
                bar.set_message("masks");
                let bytes = source.get(&Call::GroupMask { round, group }, longest)?;
                audit.group_mask(&bytes).map_err(wrong)?;
                bar.inc(1);
            }
            Needs::Model => break,
            other => {
                let why = format!("this version does not know what an audit needs: {other:?}");
                return Err(Failed::new(Exit::Failure, why));
            }
        }
    }
    bar.set_message("the model");
    let published = model(&source, terms.round, data_type, longest)?;
    let start = match (terms.model, terms.noise) {
        (Some(_), Some(_)) => Some(start(&source, terms.round, data_type, longest)?),
        _ => None,
    };
    let audited = audit.finish(start.as_ref(), &published).map_err(wrong)?;
    bar.finish_and_clear();
    let mut text = format!(
        "round {}: the global model ({}) is what the masked models of {} updates give, less the masks that a majority of each of \
         {groups} groups has signed; all groups have voted for these updates ({decision})\n",
        terms.round, audited.model, audited.updates
    );
    for member in &audited.dissenters {
        let group = named.group_name(member.group);
        text.push_str(&format!(
            "member {member} of {group:?} has signed another mask than the majority of its group: it has lied, or its machine is broken\n"
        ));
    }
    if args.roster.is_none() {
        text.push_str(&format!(
            "the roster ({}) is the coordinator's own word: compare its hash with the one that was agreed on (--roster)\n",
            named.hash()
        ));
    }
    print(text)
}

/// The roster, which must be the pinned one.
fn roster(source: &Source, pinned: Option<&Pinned>) -> Result<Roster, Failed> {
    let expected = match pinned {
        Some(Pinned::File(path)) => {
            let file = RosterFile::read(path).map_err(|error| Failed::new(Exit::Usage, error))?;
            return Ok(file.roster().clone());
        }
        Some(Pinned::Hash(hash)) => Some(*hash),
        None => None,
    };
    let roster = read(source, &Call::Roster, SHORT, "roster", Roster::from_bytes)?;
    match expected.filter(|expected| *expected != roster.hash()) {
        None => Ok(roster),
        Some(expected) => Err(lied(format!(
            "its roster is {}, and {expected} was agreed on: this is not the committee that it should be",
            roster.hash()
        ))),
    }
}

fn model(source: &Source, round: u64, data_type: DataType, longest: u64) -> Result<Model, Failed> {
    let call = Call::Model { round: Some(round), data_type };
    // Weights may have twice the bytes of masked numbers.
    let bytes = source.get(&call, longest.saturating_mul(2))?;
    let read = ArrayDecoder::new(bytes, data_type).and_then(ArrayDecoder::finish);
    read.map_err(|error| lied(format!("the global model of round {round} is none: {error}")))
}

/// The model that a round started from: that of the completed round before it.
fn start(source: &Source, round: u64, data_type: DataType, longest: u64) -> Result<Model, Failed> {
    let (_, status) = source.0.status()?;
    let before = status.rounds.iter().map(|past| past.id).filter(|id| *id < round);
    let completed =
        |id: &u64| status.rounds.iter().any(|past| past.id == *id && past.models.is_some());
    let before = before.filter(completed).max().unwrap_or(round.saturating_sub(1));
    model(source, before, data_type, longest)
}

fn bar(total: u64) -> ProgressBar {
    let style = ProgressStyle::with_template("{msg:15} {bar:40} {pos} of {len}  {elapsed}");
    let bar = ProgressBar::new(total);
    match style {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

/// Where everything comes from.
struct Source(Client);

impl Source {
    /// What is published; asked for again where nothing is wrong but the moment.
    fn get(&self, call: &Call, longest: u64) -> Result<Vec<u8>, Failed> {
        let accept = call.headers().iter().find(|(name, _)| *name == "accept");
        let accept = accept.map_or("*/*", |(_, value)| value);
        let mut tries = 0;
        loop {
            let response = self.0.get(&call.path_and_query(), accept)?;
            let status = response.status().as_u16();
            if status == 503 && tries < TRIES {
                tries += 1;
                sleep(PAUSE);
                continue;
            }
            let limit = if status == 200 { longest } else { SHORT };
            let body = response.into_body().into_with_config().limit(limit).read_to_vec();
            let body = body.map_err(|error| self.0.unreachable(&error))?;
            return match status {
                200 => Ok(body),
                _ => Err(refused(call, status, body)),
            };
        }
    }
}

fn refused(call: &Call, status: u16, body: Vec<u8>) -> Failed {
    let problem = Problem::of(&Answer::new(status, body));
    let why = problem.map_or(format!("HTTP status {status}"), |problem| problem.detail);
    let exit = if status == 404 { Exit::NotThere } else { Exit::Unreachable };
    Failed::new(exit, format!("the coordinator does not give {}: {why}", call.path_and_query()))
}

fn read<T>(
    source: &Source,
    call: &Call,
    longest: u64,
    what: &str,
    from_bytes: impl FnOnce(&[u8]) -> Result<T, DecodeError>,
) -> Result<T, Failed> {
    let bytes = source.get(call, longest)?;
    from_bytes(&bytes)
        .map_err(|error| lied(format!("the {what} that it publishes is none: {error}")))
}

fn lied(how: String) -> Failed {
    Failed::new(Exit::Failure, format!("the coordinator has lied, or is another one: {how}"))
}

fn accused(round: u64, roster: &Roster, error: &AuditError) -> Failed {
    let who = match error.blame() {
        Blame::Member(member) => {
            format!("member {member} of {:?} has lied", roster.group_name(member.group))
        }
        Blame::Settings => return Failed::new(Exit::Failure, error),
        blame => format!("{blame} has lied"),
    };
    Failed::new(Exit::Failure, format!("round {round}: {who}: {error}"))
}
