//! Who may do what: the check that every request passes, whatever its protocol, before anybody looks at its body.

pub(crate) mod keys;
pub(crate) mod permission;
mod rate;
mod refusal;
#[cfg(test)]
mod tests;
#[cfg_attr(not(feature = "tokens"), path = "access/no_tokens.rs")]
mod tokens;

use std::sync::Arc;
use std::time::Instant;

use http::header::{AUTHORIZATION, ORIGIN};
use http::{HeaderMap, HeaderName};

use crate::call::Call;
use crate::config::{AdminOpen, CredentialSettings};
use crate::error::ApiError;
use crate::live::{FileError, Follow, Live};
use keys::{Key, Keys};
use permission::{Permission, Permissions};
pub(crate) use refusal::Refusal;
use tokens::{Bearer, Tokens};

/// The headers that a key may stand in besides `Authorization: Bearer`.
const KEY_HEADERS: [HeaderName; 2] = [HeaderName::from_static("x-api-key"), HeaderName::from_static("api-key")];

/// Which sort of port a request came through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Entrance {
    /// One for everybody.
    Main,
    /// The one for administration.
    Admin,
}

/// Decides who may do what.
pub(crate) struct Access {
    admin: AdminOpen,
    /// `None` where nobody is asked who they are.
    credentials: Option<Credentials>,
}

/// What requests can identify themselves with.
struct Credentials {
    keys: Option<Arc<Live<Keys>>>,
    tokens: Option<Arc<Live<Tokens>>>,
}

/// Who sent a request. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) enum Guest {
    Key(Arc<Key>),
    Token(Arc<Bearer>),
}

impl Access {
    /// Reads the files of keys. Fails where one cannot be used.
    pub(crate) fn open(settings: &CredentialSettings, admin: AdminOpen) -> Result<Self, FileError> {
        let keys = settings.api_keys.as_ref().map(|file| {
            let make = |held: &[Vec<u8>], before: Option<&Keys>| {
                let keys = Keys::parse(held.first().map_or(&[], Vec::as_slice), before)?;
                tracing::info!(keys = keys.len(), "API keys: {} in the file", keys.len());
                Ok(keys)
            };
            Live::open("the API keys", vec![file.clone()], make).map(Arc::new)
        });
        let tokens = settings.jwt.clone().map(|settings| {
            let files = vec![settings.keys.clone()];
            let make = move |held: &[Vec<u8>], _: Option<&Tokens>| {
                let tokens = Tokens::parse(held.first().map_or(&[], Vec::as_slice), &settings)?;
                tracing::info!(keys = tokens.len(), "keys of tokens: {} in the file", tokens.len());
                Ok(tokens)
            };
            Live::open("the keys of tokens", files, make).map(Arc::new)
        });
        let credentials = Credentials { keys: keys.transpose()?, tokens: tokens.transpose()? };
        Ok(Self { admin, credentials: settings.are_asked().then_some(credentials) })
    }

    /// The files to follow.
    pub(crate) fn files(&self) -> Vec<Arc<dyn Follow>> {
        let Some(Credentials { keys, tokens }) = &self.credentials else { return Vec::new() };
        let keys = keys.clone().map(|keys| keys as Arc<dyn Follow>);
        let tokens = tokens.clone().map(|tokens| tokens as Arc<dyn Follow>);
        keys.into_iter().chain(tokens).collect()
    }

    /// Lets a request in that needs `permission`, or says why not. Whoever sent it is noted in `call`.
    pub(crate) fn admit(
        &self,
        permission: Option<Permission>,
        entrance: Entrance,
        headers: &HeaderMap,
        call: &Call,
    ) -> Result<(), ApiError> {
        let Some(permission) = permission else { return Ok(()) };
        if let Some(credentials) = &self.credentials {
            let guest = credentials.identify(headers)?;
            call.came_from(&guest);
            guest.pay(call.received())?;
            if !guest.permissions().allow(permission) {
                return Err(Refusal::NotAllowed { guest: guest.name().into(), permission }.into());
            }
        }
        if permission == Permission::Admin { self.admit_admin(entrance, headers) } else { Ok(()) }
    }

    fn admit_admin(&self, entrance: Entrance, headers: &HeaderMap) -> Result<(), ApiError> {
        let open = match entrance {
            Entrance::Main => self.admin.main,
            Entrance::Admin => self.admin.own,
        };
        if !open {
            return Err(ApiError::Forbidden("loading and unloading is closed here: start the server with it open"));
        }
        // A page in the browser of someone who runs a server on their machine must not reach it.
        if headers.contains_key(ORIGIN) {
            return Err(ApiError::Forbidden("loading and unloading is not open to web pages: send no Origin header"));
        }
        Ok(())
    }
}

impl Credentials {
    fn identify(&self, headers: &HeaderMap) -> Result<Guest, Refusal> {
        let presented = presented(headers).ok_or(Refusal::Missing)?;
        if let Some(key) = self.keys.as_ref().and_then(|keys| keys.load().find(presented).cloned()) {
            return Ok(Guest::Key(key));
        }
        // A token has two dots, and no key that is made here has one.
        match &self.tokens {
            Some(tokens) if presented.contains(&b'.') => {
                tokens.load().verify(presented).map(Guest::Token).map_err(Refusal::WrongToken)
            }
            _ => Err(Refusal::UnknownKey),
        }
    }
}

/// The key or token that came with a request.
fn presented(headers: &HeaderMap) -> Option<&[u8]> {
    let bearer = headers.get(AUTHORIZATION).and_then(|value| {
        let (scheme, rest) = value.as_bytes().split_at_checked(7)?;
        scheme.eq_ignore_ascii_case(b"Bearer ").then(|| rest.trim_ascii())
    });
    let own = || KEY_HEADERS.iter().find_map(|name| Some(headers.get(name)?.as_bytes().trim_ascii()));
    bearer.or_else(own).filter(|presented| !presented.is_empty())
}

impl Guest {
    /// The name in logs and metrics.
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Key(key) => &key.name,
            Self::Token(_) => keys::TOKEN,
        }
    }

    /// Who that is, where somebody vouched for it.
    pub(crate) fn subject(&self) -> Option<&str> {
        match self {
            Self::Key(_) => None,
            Self::Token(bearer) => bearer.subject.as_deref(),
        }
    }

    fn permissions(&self) -> Permissions {
        match self {
            Self::Key(key) => key.permissions,
            Self::Token(bearer) => bearer.permissions,
        }
    }

    /// Takes one request off what it may send.
    pub(crate) fn pay(&self, now: Instant) -> Result<(), Refusal> {
        let Self::Key(key) = self else { return Ok(()) };
        let Some(limiter) = &key.limiter else { return Ok(()) };
        limiter.take(now).map_err(|wait| Refusal::TooMany { guest: key.name.clone(), wait })
    }

    /// Whether it may use a model.
    pub(crate) fn may_use(&self, model: &str) -> bool {
        match self {
            Self::Token(_) => true,
            Self::Key(key) => key.models.as_ref().is_none_or(|models| models.iter().any(|name| name.as_str() == model)),
        }
    }
}
