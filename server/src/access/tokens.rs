//! JSON Web Tokens: verified with a local set of public keys, never by asking anybody.
//!
//! Source: RFC 7515 (signatures), RFC 7517 (sets of keys), RFC 7519 (claims), RFC 8725 (what to look out for).

mod verify;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, JwkSet, KeyOperations, PublicKeyUse};
use jsonwebtoken::{
    Algorithm, AlgorithmFamily, DecodingKey, DecodingKeyKind, Validation, decode, decode_header, get_current_timestamp,
};
use ring::digest::{SHA256, digest};
use serde::Deserialize;

use super::permission::{Permission, Permissions};
use crate::config::JwtSettings;

/// How far the clocks of two machines may be apart, in seconds.
const LEEWAY: u64 = 60;

/// No token is longer, in bytes.
const LONGEST: usize = 16 << 10;

/// How many tokens are known without a look at their signature.
const MOST_KNOWN: usize = 1024;

/// The keys that sign tokens, and what tokens have to say.
pub(crate) struct Tokens {
    keys: Vec<SigningKey>,
    scope_prefix: String,
    /// Tokens that were right, by their hash: a client sends the same one again and again.
    known: Mutex<HashMap<[u8; 32], Arc<Bearer>>>,
}

/// A key that signs tokens.
struct SigningKey {
    id: Option<String>,
    key: DecodingKey,
    /// What its tokens have to say, and by which algorithms it signs.
    validation: Validation,
}

/// Who brought a right token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Bearer {
    /// Who that is, as the issuer says.
    pub(crate) subject: Option<String>,
    pub(crate) permissions: Permissions,
    /// When the token expires, in seconds since 1970.
    expires: u64,
}

/// The claims that matter here, beside those that `jsonwebtoken` looks at.
#[derive(Deserialize)]
struct Claims {
    exp: Option<f64>,
    sub: Option<String>,
    /// As in RFC 8693.
    scope: Option<Scopes>,
    /// Microsoft's and others' name of it.
    scp: Option<Scopes>,
    /// What Microsoft's tokens have where an application asks for itself.
    roles: Option<Scopes>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Scopes {
    Text(String),
    List(Vec<String>),
}

impl Scopes {
    fn names(&self) -> Vec<&str> {
        match self {
            Self::Text(text) => text.split(' ').collect(),
            Self::List(list) => list.iter().map(String::as_str).collect(),
        }
    }
}

impl Tokens {
    /// Reads a set of keys. Fails where it holds none that verifies tokens, or a secret.
    pub(crate) fn parse(set: &[u8], settings: &JwtSettings) -> Result<Self, String> {
        verify::by_ring();
        // What serde says of a wrong set may show what stands in it.
        let wrong = |error: serde_json::Error| {
            format!("expected a JSON Web Key Set, see line {} column {}", error.line(), error.column())
        };
        let set: JwkSet = serde_json::from_slice(set).map_err(wrong)?;
        let keys = set.keys.iter().filter_map(|key| SigningKey::read(key, settings).transpose());
        let keys = keys.collect::<Result<Vec<_>, _>>()?;
        if keys.is_empty() {
            return Err("expected a key that verifies RS*, PS*, ES256, ES384 or EdDSA, found none".into());
        }
        Ok(Self { keys, scope_prefix: settings.scope_prefix.clone(), known: Mutex::default() })
    }

    /// How many keys there are.
    pub(crate) fn len(&self) -> usize {
        self.keys.len()
    }

    /// Who brought `token`, or what is wrong with it.
    pub(crate) fn verify(&self, token: &[u8]) -> Result<Arc<Bearer>, &'static str> {
        if token.len() > LONGEST {
            return Err("it is too long");
        }
        let hash: [u8; 32] = digest(&SHA256, token).as_ref().try_into().unwrap_or_default();
        if let Some(bearer) = self.known.lock().unwrap_or_else(PoisonError::into_inner).get(&hash) {
            let alive = get_current_timestamp() <= bearer.expires.saturating_add(LEEWAY);
            return if alive { Ok(Arc::clone(bearer)) } else { Err("it has expired") };
        }
        let bearer = Arc::new(self.verify_anew(token)?);
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MOST_KNOWN {
            known.clear();
        }
        known.insert(hash, Arc::clone(&bearer));
        Ok(bearer)
    }

    fn verify_anew(&self, token: &[u8]) -> Result<Bearer, &'static str> {
        let header = decode_header(token).map_err(|error| told(error.kind()))?;
        if header.crit.is_some() {
            return Err("it asks for an extension that is not known here");
        }
        let fits = |key: &&SigningKey| header.kid.is_none() || key.id == header.kid;
        let mut wrong = "no key is known by which it could be signed";
        for key in self.keys.iter().filter(fits).filter(|key| key.validation.algorithms.contains(&header.alg)) {
            match decode::<Claims>(token, &key.key, &key.validation) {
                Ok(token) => return Ok(self.bearer(&token.claims)),
                Err(error) => wrong = told(error.kind()),
            }
        }
        Err(wrong)
    }

    fn bearer(&self, claims: &Claims) -> Bearer {
        let scopes = [&claims.scope, &claims.scp, &claims.roles].into_iter().flatten().flat_map(Scopes::names);
        let names = scopes.filter_map(|scope| scope.strip_prefix(&*self.scope_prefix));
        let permission = |name: &str| Permission::ALL.into_iter().find(|permission| permission.name() == name);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it saturates")]
        let expires = claims.exp.unwrap_or_default() as u64;
        Bearer { subject: claims.sub.clone(), permissions: names.filter_map(permission).collect(), expires }
    }
}

impl SigningKey {
    /// Reads one key; `None` where it is for something else.
    fn read(jwk: &Jwk, settings: &JwtSettings) -> Result<Option<Self>, String> {
        let common = &jwk.common;
        let verifies = common.key_operations.as_ref().is_none_or(|all| all.contains(&KeyOperations::Verify));
        let signs = common.public_key_use.as_ref().is_none_or(|used| *used == PublicKeyUse::Signature);
        let mut algorithms = match &jwk.algorithm {
            AlgorithmParameters::RSA(_) => AlgorithmFamily::Rsa.algorithms().to_vec(),
            AlgorithmParameters::EllipticCurve(key) if key.curve == EllipticCurve::P256 => vec![Algorithm::ES256],
            AlgorithmParameters::EllipticCurve(key) if key.curve == EllipticCurve::P384 => vec![Algorithm::ES384],
            AlgorithmParameters::OctetKeyPair(key) if key.curve == EllipticCurve::Ed25519 => vec![Algorithm::EdDSA],
            AlgorithmParameters::OctetKey(_) => return Err("expected public keys, found a secret (`oct`)".into()),
            _ => return Ok(None),
        };
        if let Some(only) = common.key_algorithm {
            algorithms.retain(|algorithm| Algorithm::try_from(only).is_ok_and(|only| only == *algorithm));
        }
        if !verifies || !signs || algorithms.is_empty() {
            return Ok(None);
        }
        let id = common.key_id.clone();
        let name = id.as_deref().unwrap_or("without an id").escape_debug().to_string();
        let key = DecodingKey::from_jwk(jwk).map_err(|_| format!("key `{name}`: its numbers cannot be read"))?;
        let expected = match (key.kind(), algorithms.first()) {
            (DecodingKeyKind::RsaModulusExponent { n, .. }, _) if n.len() < 256 => Some("at least 2048 bits"),
            (DecodingKeyKind::SecretOrDer(point), Some(Algorithm::ES256)) if point.len() != 65 => Some("32 bytes each"),
            (DecodingKeyKind::SecretOrDer(point), Some(Algorithm::ES384)) if point.len() != 97 => Some("48 bytes each"),
            (DecodingKeyKind::SecretOrDer(point), Some(Algorithm::EdDSA)) if point.len() != 32 => Some("32 bytes"),
            _ => None,
        };
        if let Some(expected) = expected {
            return Err(format!("key `{name}`: expected numbers of {expected}"));
        }
        let mut validation = Validation::new(Algorithm::RS256);
        validation.algorithms = algorithms;
        validation.leeway = LEEWAY;
        validation.validate_nbf = true;
        validation.set_issuer(&[&settings.issuer]);
        validation.set_audience(&settings.audience);
        validation.set_required_spec_claims(&["exp", "iss", "aud"]);
        Ok(Some(Self { id, key, validation }))
    }
}

/// What is wrong with a token, in words that show nothing of it.
const fn told(wrong: &ErrorKind) -> &'static str {
    match wrong {
        ErrorKind::InvalidSignature => "its signature is wrong",
        ErrorKind::ExpiredSignature => "it has expired",
        ErrorKind::ImmatureSignature => "it is not valid yet",
        ErrorKind::InvalidIssuer => "it is from another issuer",
        ErrorKind::InvalidAudience => "it is for another audience",
        ErrorKind::MissingRequiredClaim(_) => "`exp`, `iss` or `aud` is missing",
        _ => "it is no JSON Web Token that can be read",
    }
}

#[cfg(test)]
mod tests;
