//! The calls of version 2, whatever carries them: all under `/v2/`.

use std::fmt;

use bytes::Bytes;

use super::hash::RoundTag;
use super::hex;
use super::roster::MemberId;
use super::statement::TREE_LEAF;
use crate::crypto::PublicSigningKey;
use crate::model::DataType;
use crate::problem::Problem;

/// A call of an updater, a member, or someone who looks on.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Call {
    /// `GET /v2/round`: how the round stands, a [`RoundView`](super::RoundView).
    Round,
    /// `GET /v2/roster`: the [`Roster`](super::Roster).
    Roster,
    /// `GET /v2/announcements`: the list of [`Announcements`](super::Announcements).
    Announcements,
    /// `GET /v2/entries`: entries for a member, from the one at a place on: an [`EntriesPage`](super::EntriesPage).
    Entries {
        /// For whom.
        member: MemberId,
        /// The place of the first one.
        from: u64,
    },
    /// `GET /v2/set`: the set that is voted for, a [`SetView`](super::SetView).
    Set,
    /// `GET /v2/votes`: the [`Votes`](super::Votes) for it.
    Votes,
    /// `GET /v2/model`: the global model of a round in its short form; without a round, the latest.
    Model {
        /// Of which round.
        round: Option<u64>,
        /// The type of the weights.
        data_type: DataType,
    },
    /// `GET /v2/certificate`: the [`Certificate`](super::Certificate) of a round; without a round, the latest.
    Certificate {
        /// Of which round.
        round: Option<u64>,
    },
    /// `GET /v2/proof`: the [`InclusionProof`](super::merkle::InclusionProof) for an updater.
    Proof {
        /// Of which round.
        round: u64,
        /// For whom.
        updater: PublicSigningKey,
    },
    /// `GET /v2/audit/statements`: what was signed about the updates, a [`StatementsPage`](super::StatementsPage).
    Statements {
        /// Of which round.
        round: u64,
        /// The place of the first one.
        from: u64,
    },
    /// `GET /v2/audit/masked`: an updater's masked model.
    MaskedModel {
        /// Of which round.
        round: u64,
        /// Whose.
        updater: PublicSigningKey,
    },
    /// `GET /v2/audit/mask`: the mask of a group.
    GroupMask {
        /// Of which round.
        round: u64,
        /// The group.
        group: u8,
    },
    /// `POST /v2/announcement`: an [`Announcement`](super::Announcement).
    Announce(Post),
    /// `POST /v2/update`: an [`UpdateHeader`](super::UpdateHeader), sealed for the coordinator's key of the round.
    Update(Post),
    /// `POST /v2/update/chunk`: a leaf of the masked model, encrypted.
    UpdateChunk {
        /// Whose.
        updater: PublicSigningKey,
        /// Which leaf.
        index: u32,
        /// Its bytes.
        post: Post,
    },
    /// `POST /v2/report`: a [`Report`](super::Report).
    Report(Post),
    /// `POST /v2/vote`: a [`Vote`](super::Vote).
    Vote(Post),
    /// `POST /v2/mask`: a [`GroupMaskHeader`](super::GroupMaskHeader).
    Mask(Post),
    /// `POST /v2/mask/chunk`: a leaf of a group's mask.
    MaskChunk {
        /// Whose.
        member: MemberId,
        /// Which leaf.
        index: u32,
        /// Its bytes.
        post: Post,
    },
}

/// What is sent to the coordinator, and for which round: what comes too late is refused by name.
#[derive(Clone, PartialEq, Eq)]
pub struct Post {
    /// The round, if it is said.
    pub round: Option<RoundTag>,
    /// The bytes.
    pub body: Bytes,
}

impl Post {
    /// A body for a round.
    pub fn new(round: RoundTag, body: impl Into<Bytes>) -> Self {
        Self { round: Some(round), body: body.into() }
    }
}

/// Shows the length of the body only.
impl fmt::Debug for Post {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Post({} bytes)", self.body.len())
    }
}

/// Shows the length of a body only.
impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.path_and_query())?;
        self.post().map_or(Ok(()), |post| write!(f, " ({} bytes)", post.body.len()))
    }
}

/// What all paths of version 2 begin with.
pub const PREFIX: &str = "/v2/";

/// The most bytes of a page, a list or a certificate that is asked for.
const SHORT: u64 = 1 << 20;

macro_rules! accept_model {
    ($dtype:literal) => {
        &[(
            "accept",
            concat!("application/vnd.pet.weights;dtype=", $dtype, ", application/problem+json"),
        )]
    };
}

impl Call {
    /// The HTTP method.
    pub fn method(&self) -> &'static str {
        match self.post() {
            Some(_) => "POST",
            None => "GET",
        }
    }

    /// What is sent, if anything is.
    pub fn post(&self) -> Option<&Post> {
        match self {
            Self::Announce(post)
            | Self::Update(post)
            | Self::UpdateChunk { post, .. }
            | Self::Report(post)
            | Self::Vote(post)
            | Self::Mask(post)
            | Self::MaskChunk { post, .. } => Some(post),
            Self::Round
            | Self::Roster
            | Self::Announcements
            | Self::Entries { .. }
            | Self::Set
            | Self::Votes
            | Self::Model { .. }
            | Self::Certificate { .. }
            | Self::Proof { .. }
            | Self::Statements { .. }
            | Self::MaskedModel { .. }
            | Self::GroupMask { .. } => None,
        }
    }

    /// The body to send; empty for all that only ask.
    pub fn body(&self) -> Bytes {
        self.post().map(|post| post.body.clone()).unwrap_or_default()
    }

    /// The path.
    pub fn path(&self) -> &'static str {
        match self {
            Self::Round => "/v2/round",
            Self::Roster => "/v2/roster",
            Self::Announcements => "/v2/announcements",
            Self::Entries { .. } => "/v2/entries",
            Self::Set => "/v2/set",
            Self::Votes => "/v2/votes",
            Self::Model { .. } => "/v2/model",
            Self::Certificate { .. } => "/v2/certificate",
            Self::Proof { .. } => "/v2/proof",
            Self::Statements { .. } => "/v2/audit/statements",
            Self::MaskedModel { .. } => "/v2/audit/masked",
            Self::GroupMask { .. } => "/v2/audit/mask",
            Self::Announce(_) => "/v2/announcement",
            Self::Update(_) => "/v2/update",
            Self::UpdateChunk { .. } => "/v2/update/chunk",
            Self::Report(_) => "/v2/report",
            Self::Vote(_) => "/v2/vote",
            Self::Mask(_) => "/v2/mask",
            Self::MaskChunk { .. } => "/v2/mask/chunk",
        }
    }

    /// Path and query, to be appended to the coordinator's base URL (which has no slash at its end).
    pub fn path_and_query(&self) -> String {
        let mut parameters: Vec<(&str, String)> = Vec::new();
        match self {
            Self::Entries { member: MemberId { group, index }, from } => {
                parameters.push(("group", group.to_string()));
                parameters.push(("member", index.to_string()));
                parameters.push(("from", from.to_string()));
            }
            Self::Model { round: Some(round), .. } | Self::Certificate { round: Some(round) } => {
                parameters.push(("round", round.to_string()));
            }
            Self::Proof { round, updater } | Self::MaskedModel { round, updater } => {
                parameters.push(("round", round.to_string()));
                parameters.push(("pk", updater.to_string()));
            }
            Self::Statements { round, from } => {
                parameters.push(("round", round.to_string()));
                parameters.push(("from", from.to_string()));
            }
            Self::GroupMask { round, group } => {
                parameters.push(("round", round.to_string()));
                parameters.push(("group", group.to_string()));
            }
            Self::UpdateChunk { updater, index, .. } => {
                parameters.push(("pk", updater.to_string()));
                parameters.push(("index", index.to_string()));
            }
            Self::MaskChunk { member: MemberId { group, index: member }, index, .. } => {
                parameters.push(("group", group.to_string()));
                parameters.push(("member", member.to_string()));
                parameters.push(("index", index.to_string()));
            }
            _ => {}
        }
        if let Some(round) = self.post().and_then(|post| post.round) {
            parameters.push(("round", round.to_string()));
        }
        let mut target = self.path().to_owned();
        for (at, (name, value)) in parameters.iter().enumerate() {
            target.push(if at == 0 { '?' } else { '&' });
            target.push_str(name);
            target.push('=');
            target.push_str(value);
        }
        target
    }

    /// The headers to send, beside those that any client sends.
    pub fn headers(&self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Model { data_type, .. } => match data_type {
                DataType::F32 => accept_model!("f32"),
                DataType::F64 => accept_model!("f64"),
                DataType::I32 => accept_model!("i32"),
                DataType::I64 => accept_model!("i64"),
            },
            call if call.post().is_some() => {
                &[("content-type", "application/octet-stream"), ("accept", Problem::MEDIA_TYPE)]
            }
            _ => &[("accept", "application/octet-stream, application/problem+json")],
        }
    }

    /// The most bytes of the body of an answer; `None` for what grows with the model or the number of updaters, where the
    /// transport's own limit holds.
    pub fn max_answer(&self) -> Option<u64> {
        match self {
            Self::Model { .. } | Self::MaskedModel { .. } | Self::GroupMask { .. } => None,
            // A roster may list its updaters, and a set the reports of all members.
            Self::Roster | Self::Set => None,
            call if call.post().is_some() => Some(1 << 16),
            _ => Some(SHORT),
        }
    }

    /// Reads a call from a request: its method, its path with its query, the data type that it asks for (of use for models
    /// only), and its body.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(
        method: &str,
        path_and_query: &str,
        data_type: DataType,
        body: Bytes,
    ) -> Result<Self, InvalidCall> {
        let (path, query) = path_and_query.split_once('?').unwrap_or((path_and_query, ""));
        let query = Query(query);
        let post = || Ok::<_, InvalidCall>(Post { round: query.tag("round")?, body: body.clone() });
        let call = match path {
            "/v2/round" => Self::Round,
            "/v2/roster" => Self::Roster,
            "/v2/announcements" => Self::Announcements,
            "/v2/entries" => {
                Self::Entries { member: query.member()?, from: query.number("from")?.unwrap_or(0) }
            }
            "/v2/set" => Self::Set,
            "/v2/votes" => Self::Votes,
            "/v2/model" => Self::Model { round: query.number("round")?, data_type },
            "/v2/certificate" => Self::Certificate { round: query.number("round")? },
            "/v2/proof" => Self::Proof { round: query.needed("round")?, updater: query.updater()? },
            "/v2/audit/statements" => Self::Statements {
                round: query.needed("round")?,
                from: query.number("from")?.unwrap_or(0),
            },
            "/v2/audit/masked" => {
                Self::MaskedModel { round: query.needed("round")?, updater: query.updater()? }
            }
            "/v2/audit/mask" => {
                Self::GroupMask { round: query.needed("round")?, group: query.needed("group")? }
            }
            "/v2/announcement" => Self::Announce(post()?),
            "/v2/update" => Self::Update(post()?),
            "/v2/update/chunk" => Self::UpdateChunk {
                updater: query.updater()?,
                index: query.needed("index")?,
                post: post()?,
            },
            "/v2/report" => Self::Report(post()?),
            "/v2/vote" => Self::Vote(post()?),
            "/v2/mask" => Self::Mask(post()?),
            "/v2/mask/chunk" => Self::MaskChunk {
                member: query.member()?,
                index: query.needed("index")?,
                post: post()?,
            },
            _ => return Err(InvalidCall::UnknownPath),
        };
        match (call.method(), method) {
            ("POST", "POST") | ("GET", "GET" | "HEAD") => Ok(call),
            (allowed, _) => Err(InvalidCall::Method { allowed }),
        }
    }

    /// The most bytes of the body that a request with this path may have: an upload's chunk and a header, which grows with
    /// model and roster.
    pub fn max_body(path: &str) -> usize {
        match path {
            "/v2/update/chunk" | "/v2/mask/chunk" => TREE_LEAF,
            "/v2/update" | "/v2/mask" | "/v2/report" => 4 << 20,
            _ => 1 << 16,
        }
    }
}

/// Why a request is no call of version 2. Whoever has sent it is to blame.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidCall {
    /// No such path.
    #[error("there is no such call in version 2 of the protocol")]
    UnknownPath,
    /// Another method than the path takes.
    #[error("the method must be {allowed}")]
    Method {
        /// The method that the path takes.
        allowed: &'static str,
    },
    /// A parameter that is missing.
    #[error("the parameter {0} is missing")]
    Missing(&'static str),
    /// A parameter that is not what it must be.
    #[error("the parameter {0} is not what it must be: numbers are decimal, keys and rounds of posts hexadecimal")]
    Malformed(&'static str),
}

/// The part of a request's target behind the question mark. Unknown parameters are ignored; of one that is there twice the
/// first counts.
struct Query<'a>(&'a str);

impl Query<'_> {
    fn get(&self, name: &str) -> Option<&str> {
        let pairs = self.0.split('&').filter_map(|pair| pair.split_once('='));
        pairs.filter(|(other, _)| *other == name).map(|(_, value)| value).next()
    }

    fn number<T: std::str::FromStr>(&self, name: &'static str) -> Result<Option<T>, InvalidCall> {
        let Some(value) = self.get(name) else { return Ok(None) };
        // `parse` would take a plus sign.
        let is_number = value.bytes().all(|byte| byte.is_ascii_digit());
        let number = value.parse().ok().filter(|_| is_number);
        number.map(Some).ok_or(InvalidCall::Malformed(name))
    }

    fn needed<T: std::str::FromStr>(&self, name: &'static str) -> Result<T, InvalidCall> {
        self.number(name)?.ok_or(InvalidCall::Missing(name))
    }

    fn member(&self) -> Result<MemberId, InvalidCall> {
        Ok(MemberId { group: self.needed("group")?, index: self.needed("member")? })
    }

    fn updater(&self) -> Result<PublicSigningKey, InvalidCall> {
        let key = self.get("pk").ok_or(InvalidCall::Missing("pk"))?;
        hex::parse(key).map(PublicSigningKey::new).map_err(|_| InvalidCall::Malformed("pk"))
    }

    fn tag(&self, name: &'static str) -> Result<Option<RoundTag>, InvalidCall> {
        let Some(value) = self.get(name) else { return Ok(None) };
        value.parse().map(Some).map_err(|_| InvalidCall::Malformed(name))
    }
}
