use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair};
use serde_json::{Value, json};

use super::*;

/// A public key of 2048 bits, and what was signed with its private half, which `ring` does not make.
const RSA: &str = include_str!("rsa.json");

fn b64(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

type Sign = dyn Fn(&[u8]) -> Vec<u8>;

/// Somebody who signs tokens.
struct Signer {
    jwk: Value,
    sign: Box<Sign>,
}

fn ed25519(id: &str) -> Signer {
    let pair = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
    let pair = Ed25519KeyPair::from_pkcs8(pair.as_ref()).unwrap();
    let jwk = json!({ "kty": "OKP", "crv": "Ed25519", "kid": id, "use": "sig", "x": b64(pair.public_key()) });
    Signer { jwk, sign: Box::new(move |message| pair.sign(message).as_ref().to_vec()) }
}

fn p256(id: &str) -> Signer {
    let random = SystemRandom::new();
    let pair = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
    let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pair.as_ref(), &random).unwrap();
    let point = pair.public_key().as_ref().to_vec();
    let jwk = json!({ "kty": "EC", "crv": "P-256", "kid": id, "x": b64(&point[1..33]), "y": b64(&point[33..]) });
    Signer { jwk, sign: Box::new(move |message| pair.sign(&random, message).unwrap().as_ref().to_vec()) }
}

impl Signer {
    fn token(&self, header: &Value, claims: &Value) -> String {
        let message = format!("{}.{}", b64(header.to_string()), b64(claims.to_string()));
        format!("{message}.{}", b64((self.sign)(message.as_bytes())))
    }
}

fn settings() -> JwtSettings {
    JwtSettings {
        keys: "jwks.json".into(),
        issuer: "https://issuer.example".into(),
        audience: vec!["models".into(), "hedef".into()],
        scope_prefix: "hedef:".into(),
    }
}

fn tokens(signers: &[&Signer]) -> Tokens {
    let keys: Vec<_> = signers.iter().map(|signer| &signer.jwk).collect();
    Tokens::parse(json!({ "keys": keys }).to_string().as_bytes(), &settings()).unwrap()
}

/// Claims that are right but for `change`.
fn claims(change: &Value) -> Value {
    let now = get_current_timestamp();
    let mut claims = json!({
        "iss": "https://issuer.example", "aud": "models", "sub": "someone", "exp": now + 600, "nbf": now - 5,
        "scope": "openid hedef:score other:admin admin",
    });
    for (name, value) in change.as_object().unwrap() {
        claims[name] = value.clone();
    }
    claims
}

fn allowed(bearer: &Bearer) -> Vec<&'static str> {
    Permission::ALL.into_iter().filter(|each| bearer.permissions.allow(*each)).map(Permission::name).collect()
}

#[test]
fn tokens_of_every_sort_of_key_are_verified() {
    let (ed, ec) = (ed25519("ed"), p256("ec"));
    let tokens = tokens(&[&ed, &ec]);
    for (signer, algorithm, id, other) in [(&ed, "EdDSA", "ed", "ec"), (&ec, "ES256", "ec", "ed")] {
        for header in [json!({ "alg": algorithm, "kid": id, "typ": "at+jwt" }), json!({ "alg": algorithm })] {
            let token = signer.token(&header, &claims(&json!({})));
            let bearer = tokens.verify(token.as_bytes()).unwrap_or_else(|wrong| panic!("{algorithm}: {wrong}"));
            assert_eq!((bearer.subject.as_deref(), allowed(&bearer)), (Some("someone"), vec!["score"]), "{algorithm}");
            // Known by now.
            assert_eq!(tokens.verify(token.as_bytes()), Ok(bearer));
        }
        let confused = signer.token(&json!({ "alg": algorithm, "kid": other }), &claims(&json!({})));
        assert!(tokens.verify(confused.as_bytes()).is_err(), "{algorithm}");
    }
}

#[test]
fn tokens_signed_by_rsa_are_verified() {
    let rsa: Value = serde_json::from_str(RSA).unwrap();
    let set = |jwk: &Value| Tokens::parse(json!({ "keys": [jwk] }).to_string().as_bytes(), &settings()).unwrap();
    let token = |algorithm: &str, signature: &str| {
        let header = json!({ "alg": algorithm, "kid": "rsa" }).to_string();
        format!("{}.{}.{signature}", b64(header), b64(rsa["claims"].as_str().unwrap()))
    };
    let signature = |algorithm: &str| rsa["signatures"][algorithm].as_str().unwrap();
    let tokens = set(&rsa["jwk"]);
    for algorithm in ["RS256", "PS256"] {
        let bearer = tokens.verify(token(algorithm, signature(algorithm)).as_bytes());
        assert_eq!(allowed(&bearer.unwrap_or_else(|wrong| panic!("{algorithm}: {wrong}"))), ["score"]);
    }
    let exchanged = token("RS256", signature("PS256"));
    assert_eq!(tokens.verify(exchanged.as_bytes()), Err("its signature is wrong"));
    // A key may say for which algorithm alone it is.
    let mut one = rsa["jwk"].clone();
    one["alg"] = "PS256".into();
    assert!(set(&one).verify(token("PS256", signature("PS256")).as_bytes()).is_ok());
    assert!(set(&one).verify(token("RS256", signature("RS256")).as_bytes()).is_err());
}

#[test]
fn scopes_become_permissions() {
    let signer = ed25519("a");
    let tokens = tokens(&[&signer]);
    let cases = [
        (json!({ "scope": "hedef:score hedef:metrics" }), vec!["score", "metrics"]),
        (json!({ "scope": null, "scp": ["hedef:admin"] }), vec!["admin"]),
        (json!({ "scope": null, "scp": "hedef:admin hedef:score" }), vec!["score", "admin"]),
        (json!({ "scope": null, "roles": ["hedef:metrics", "x"] }), vec!["metrics"]),
        (json!({ "scope": "score admin hedef:all HEDEF:score" }), vec![]),
        (json!({ "scope": null }), vec![]),
    ];
    for (change, expected) in cases {
        let token = signer.token(&json!({ "alg": "EdDSA" }), &claims(&change));
        assert_eq!(allowed(&tokens.verify(token.as_bytes()).unwrap()), expected, "{change}");
    }
}

#[test]
fn what_is_wrong_with_a_token_is_told() {
    let (signer, stranger, now) = (ed25519("a"), ed25519("a"), get_current_timestamp());
    let tokens = tokens(&[&signer]);
    let right = json!({ "alg": "EdDSA", "kid": "a" });
    let with = |change: Value| signer.token(&right, &claims(&change));
    let good = with(json!({}));
    let (message, signature) = good.rsplit_once('.').unwrap();
    let (head, _) = message.split_once('.').unwrap();
    let more = b64(claims(&json!({ "scope": "hedef:admin" })).to_string());
    let cases = [
        (with(json!({ "exp": now - 61 })), "it has expired"),
        (with(json!({ "exp": null })), "`exp`, `iss` or `aud` is missing"),
        (with(json!({ "nbf": now + 90 })), "it is not valid yet"),
        (with(json!({ "iss": "https://issuer.example.evil" })), "it is from another issuer"),
        (with(json!({ "aud": ["others"] })), "it is for another audience"),
        (with(json!({ "aud": null })), "`exp`, `iss` or `aud` is missing"),
        (stranger.token(&right, &claims(&json!({}))), "its signature is wrong"),
        (format!("{head}.{more}.{signature}"), "its signature is wrong"),
        (format!("{message}."), "its signature is wrong"),
        (signer.token(&json!({ "alg": "EdDSA", "kid": "b" }), &claims(&json!({}))), "no key is known"),
        (signer.token(&json!({ "alg": "HS256", "kid": "a" }), &claims(&json!({}))), "no key is known"),
        (signer.token(&json!({ "alg": "none" }), &claims(&json!({}))), "it is no JSON Web Token"),
        (signer.token(&json!({ "alg": "EdDSA", "crit": ["b64"], "b64": false }), &claims(&json!({}))), "an extension"),
        ("a.b.c".into(), "it is no JSON Web Token"),
        ("x".repeat(20_000), "it is too long"),
    ];
    for (token, expected) in cases {
        let wrong = tokens.verify(token.as_bytes()).unwrap_err();
        assert!(wrong.contains(expected), "{expected}: {wrong}");
    }
    // Within what clocks may be apart.
    assert!(tokens.verify(with(json!({ "exp": now - 30, "nbf": now + 30 })).as_bytes()).is_ok());
    assert!(tokens.verify(with(json!({ "aud": ["others", "hedef"] })).as_bytes()).is_ok());
}

#[test]
fn a_known_token_expires_too() {
    let signer = ed25519("a");
    let tokens = tokens(&[&signer]);
    let token = signer.token(&json!({ "alg": "EdDSA" }), &claims(&json!({})));
    tokens.verify(token.as_bytes()).unwrap();
    let expired = Bearer { subject: None, permissions: Permissions::default(), expires: get_current_timestamp() - 61 };
    tokens.known.lock().unwrap().values_mut().for_each(|known| *known = Arc::new(expired.clone()));
    assert_eq!(tokens.verify(token.as_bytes()), Err("it has expired"));
}

#[test]
fn sets_without_a_fit_key_are_refused() {
    let parse = |set: Value| Tokens::parse(set.to_string().as_bytes(), &settings()).err().unwrap_or_default();
    let signer = ed25519("a");
    let mut encrypts = signer.jwk.clone();
    encrypts["use"] = "enc".into();
    let other = json!({ "kty": "EC", "crv": "secp256k1", "kid": "k1", "x": "AA", "y": "AA" });
    assert!(parse(json!({ "keys": [] })).contains("found none"));
    assert!(parse(json!({ "keys": [encrypts, other] })).contains("found none"));
    assert!(parse(json!({ "keys": [{ "kty": "oct", "k": "c2VjcmV0" }] })).contains("found a secret"));
    let short = json!({ "kty": "RSA", "kid": "small", "n": b64([255; 128]), "e": "AQAB" });
    assert_eq!(parse(json!({ "keys": [short] })), "key `small`: expected numbers of at least 2048 bits");
    assert!(parse(json!({ "keys": "hedef_secret" })).starts_with("expected a JSON Web Key Set, see line 1"));
    // Those that are for something else are passed over.
    assert_eq!(parse(json!({ "keys": [encrypts, other, signer.jwk] })), "");
}
