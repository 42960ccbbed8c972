//! Who may do what: the check that every request passes, whatever its protocol, before anybody looks at its body.

pub(crate) mod keys;
pub(crate) mod permission;
mod rate;
mod refusal;
#[cfg(test)]
mod tests;

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
}

/// Who sent a request. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) enum Guest {
    Key(Arc<Key>),
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
        let keys = keys.transpose()?;
        let credentials = keys.is_some().then_some(Credentials { keys });
        Ok(Self { admin, credentials })
    }

    /// The files to follow.
    pub(crate) fn files(&self) -> Vec<Arc<dyn Follow>> {
        let keys = self.credentials.as_ref().and_then(|credentials| credentials.keys.clone());
        keys.into_iter().map(|keys| keys as Arc<dyn Follow>).collect()
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
        let key = self.keys.as_ref().and_then(|keys| keys.load().find(presented).cloned());
        key.map(Guest::Key).ok_or(Refusal::UnknownKey)
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
        }
    }

    fn permissions(&self) -> Permissions {
        match self {
            Self::Key(key) => key.permissions,
        }
    }

    /// Takes one request off what it may send.
    pub(crate) fn pay(&self, now: Instant) -> Result<(), Refusal> {
        let Self::Key(key) = self;
        let Some(limiter) = &key.limiter else { return Ok(()) };
        limiter.take(now).map_err(|wait| Refusal::TooMany { guest: key.name.clone(), wait })
    }

    /// Whether it may use a model.
    pub(crate) fn may_use(&self, model: &str) -> bool {
        match self {
            Self::Key(key) => key.models.as_ref().is_none_or(|models| models.iter().any(|name| name.as_str() == model)),
        }
    }
}
