//! JSON Web Tokens in place of keys.

use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::SystemRandom;
use ring::signature::{Ed25519KeyPair, KeyPair};
use serde_json::{Value, json};

use crate::binary::Server;
use crate::config;
use crate::wait::until;

const INFER: &str = "/v2/models/iris/infer";
const LOAD: &str = "/v2/repository/models/iris/load";
const BODY: &str = r#"{"inputs":[{"name":"features","shape":[1,4],"datatype":"FP32","data":[5.1,3.5,1.4,0.2]}]}"#;

fn b64(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Who signs tokens.
struct Issuer(Ed25519KeyPair);

impl Issuer {
    fn new() -> Self {
        let pair = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
        Self(Ed25519KeyPair::from_pkcs8(pair.as_ref()).unwrap())
    }

    fn set(&self) -> String {
        let x = b64(self.0.public_key());
        json!({ "keys": [{ "kty": "OKP", "crv": "Ed25519", "kid": "a", "use": "sig", "x": x }] }).to_string()
    }

    /// A token for `scope` that expires in so many seconds.
    fn token(&self, scope: &str, seconds: i64, change: &Value) -> String {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let expires = i64::try_from(now).unwrap() + seconds;
        let mut claims =
            json!({ "iss": "https://i.example", "aud": "models", "sub": "someone", "exp": expires, "scope": scope });
        for (name, value) in change.as_object().unwrap() {
            claims[name] = value.clone();
        }
        let head = json!({ "alg": "EdDSA", "kid": "a" });
        let message = format!("{}.{}", b64(head.to_string()), b64(claims.to_string()));
        format!("{message}.{}", b64(self.0.sign(message.as_bytes())))
    }
}

#[test]
fn a_token_does_what_its_scopes_say_as_long_as_it_is_right() {
    let (issuer, stranger) = (Issuer::new(), Issuer::new());
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("jwks.json");
    fs::write(&file, issuer.set()).unwrap();
    let flags = ["--jwt-keys", file.to_str().unwrap(), "--jwt-issuer", "https://i.example", "--jwt-audience", "models"];
    let server =
        Server::start(&config::samples(), &[&flags[..], &["--reload-interval-ms", "20", "--log", "trace"]].concat());
    let client = server.client();
    let post = |path: &str, token: &str| {
        client.post_with(path, &[("authorization", &format!("Bearer {token}"))], if path == LOAD { "" } else { BODY })
    };
    let same = json!({});
    let good = issuer.token("openid hedef:score", 600, &same);
    let cases = [
        (INFER, good.clone(), 200, ""),
        (LOAD, good.clone(), 403, "`token` has no permission for this: expected `admin`"),
        (LOAD, issuer.token("hedef:admin", 600, &same), 200, ""),
        (INFER, issuer.token("hedef:admin", 600, &same), 403, "expected `score`"),
        (INFER, issuer.token("score admin", 600, &same), 403, "expected `score`"),
        (INFER, issuer.token("hedef:score", -3600, &same), 401, "it has expired"),
        (INFER, stranger.token("hedef:score", 600, &same), 401, "its signature is wrong"),
        (INFER, issuer.token("hedef:score", 600, &json!({ "aud": "others" })), 401, "another audience"),
        (INFER, issuer.token("hedef:score", 600, &json!({ "iss": "https://o.example" })), 401, "another issuer"),
        (INFER, issuer.token("hedef:score", 600, &json!({ "nbf": 4_000_000_000_u32 })), 401, "it is not valid yet"),
        (INFER, "hedef_key".into(), 401, "the key is not known"),
    ];
    for (path, token, status, expected) in &cases {
        let answer = post(path, token).expect(*status);
        assert!(answer.text().contains(expected), "{expected}: {}", answer.text());
        assert_eq!(answer.header("www-authenticate").is_some(), *status != 200, "{expected}");
    }
    client.post(INFER, BODY).expect(401);
    let log = server.log();
    assert!(log.contains("key=token") && log.contains("subject=\"someone\""), "{log}");
    for (_, token, ..) in &cases {
        assert!(!log.contains(token.as_str()), "a token stands in the log");
    }

    // Other keys: the old tokens are worth nothing, although they are known.
    fs::write(&file, stranger.set()).unwrap();
    until("the other keys", || (post(INFER, &stranger.token("hedef:score", 600, &same)).status == 200).then_some(()));
    post(INFER, &good).expect(401);
}
