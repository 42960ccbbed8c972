//! Which web pages may score.

use axum::response::Response;
use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS, ALLOW, ORIGIN, VARY,
};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method};

use crate::access::permission::Permission;
use crate::config::Cors;

const METHODS: HeaderValue = HeaderValue::from_static("GET, POST");

/// The headers of an answer that its page may read.
const EXPOSED: HeaderValue = HeaderValue::from_static(
    "hedef-explain, inference-header-content-length, retry-after, www-authenticate, x-request-id",
);

/// How long a browser may keep the answer to a preflight: two hours, the most that any keeps it.
const MAX_AGE: HeaderValue = HeaderValue::from_static("7200");

/// What an answer says of the page that asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Page {
    /// It may read the answer: the origin to tell.
    Allowed(HeaderValue),
    /// Another could have read it.
    Other,
    /// No page can.
    None,
}

impl Cors {
    /// What to say to a request that needs `permission`: pages may score, and no more.
    pub(super) fn page(&self, permission: Option<Permission>, headers: &HeaderMap) -> Page {
        match self {
            Self::Only(origins) if origins.is_empty() => Page::None,
            _ if permission != Some(Permission::Score) => Page::None,
            Self::Any => Page::Allowed(HeaderValue::from_static("*")),
            Self::Only(origins) => match headers.get(ORIGIN) {
                Some(origin) if origins.contains(origin) => Page::Allowed(origin.clone()),
                _ => Page::Other,
            },
        }
    }
}

impl Page {
    /// The answer to a page that asks whether it may ask. Pages ask without a key.
    pub(super) fn preflight(&self, head: &Parts) -> Option<Response> {
        let asks = head.method == Method::OPTIONS && head.headers.contains_key(ORIGIN);
        if !asks || !matches!(self, Self::Allowed(_)) {
            return None;
        }
        let mut response = Response::default();
        let headers = response.headers_mut();
        headers.insert(ALLOW, HeaderValue::from_static("GET, HEAD, POST, OPTIONS"));
        headers.insert(ACCESS_CONTROL_ALLOW_METHODS, METHODS);
        headers.insert(ACCESS_CONTROL_MAX_AGE, MAX_AGE);
        let wanted = head.headers.get(ACCESS_CONTROL_REQUEST_HEADERS).cloned();
        headers.extend(wanted.map(|wanted| (ACCESS_CONTROL_ALLOW_HEADERS, wanted)));
        Some(response)
    }

    /// Tells the browser whether the page may read the answer.
    pub(super) fn tell(self, headers: &mut HeaderMap) {
        let varies = match self {
            Self::None => return,
            Self::Other => true,
            Self::Allowed(origin) => {
                let varies = origin != "*";
                headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
                headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
                varies
            }
        };
        if varies {
            headers.append(VARY, HeaderValue::from(ORIGIN));
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use http::Request;

    use crate::testing::{House, house};

    const BODY: &str = r#"{"inputs":[{"name":"x","datatype":"FP32","shape":[1,2],"data":[1,2]}]}"#;

    fn open_to(origins: &[&str]) -> House {
        house(|settings| settings.cors_origins = origins.iter().map(ToString::to_string).collect())
    }

    fn preflight(path: &str, origin: &str) -> Request<Body> {
        let request = Request::options(path).header("origin", origin).header("access-control-request-method", "POST");
        request.header("access-control-request-headers", "authorization").body(Body::empty()).unwrap()
    }

    #[tokio::test]
    async fn pages_of_the_origins_in_the_settings_may_score_by_any_protocol() {
        let house = open_to(&["https://a.example"]);
        for path in ["/v2/models/double/infer", "/v1/models/double:predict", "/score"] {
            let allowed = house.send(preflight(path, "https://a.example")).await;
            assert_eq!(allowed.header("access-control-allow-origin"), Some("https://a.example"), "{path}");
            assert_eq!(allowed.header("access-control-allow-methods"), Some("GET, POST"));
            assert_eq!(allowed.header("access-control-allow-headers"), Some("authorization"));
            assert_eq!((allowed.status, allowed.header("vary")), (200, Some("origin")));
            let other = house.send(preflight(path, "https://b.example")).await;
            assert_eq!(other.header("access-control-allow-origin"), None, "{path}");
        }
        let score = |origin| Request::post("/v2/models/double/infer").header("origin", origin).body(BODY).unwrap();
        let answer = house.send(score("https://a.example")).await;
        assert_eq!((answer.status, answer.header("access-control-allow-origin")), (200, Some("https://a.example")));
        let answer = house.send(score("https://b.example")).await;
        let found = (answer.header("access-control-allow-origin"), answer.header("vary"));
        assert_eq!((answer.status, found), (200, (None, Some("origin"))));
    }

    #[tokio::test]
    async fn pages_may_not_do_anything_else() {
        let house = open_to(&["*"]);
        for path in ["/v2/repository/models/double/unload", "/metrics"] {
            let answer = house.send(preflight(path, "https://a.example")).await;
            assert_eq!((answer.status, answer.header("access-control-allow-origin")), (405, None), "{path}");
        }
        let answer = house.post("/v2/models/double/infer", "nope").await;
        let found = (answer.header("access-control-allow-origin"), answer.header("vary"));
        assert_eq!((answer.status, found), (400, (Some("*"), None)));
        let none = open_to(&[]).send(preflight("/score", "https://a.example")).await;
        assert_eq!(none.header("access-control-allow-origin"), None);
    }
}
