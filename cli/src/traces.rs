//! Traces, from the flags.

use hedef_server::TraceSettings;

use crate::arguments::Traces;

/// What `OTEL_EXPORTER_OTLP_ENDPOINT` leaves out.
const PATH: &str = "v1/traces";

/// The settings of traces; `None` where no collector is named. An empty variable is none, as OpenTelemetry has it.
pub(crate) fn resolve(traces: &Traces) -> Option<TraceSettings> {
    let named = |url: &Option<String>| url.clone().filter(|url| !url.is_empty());
    let base = named(&traces.otlp_endpoint).map(|url| format!("{}/{PATH}", url.trim_end_matches('/')));
    let endpoint = named(&traces.traces_endpoint).or_else(|| named(&traces.otlp_traces_endpoint)).or(base)?;
    let service_name = Some(&traces.traces_service_name).filter(|name| !name.is_empty());
    Some(TraceSettings {
        endpoint,
        sample: traces.traces_sample,
        service_name: service_name.map_or_else(|| "hedef".into(), Clone::clone),
        headers: traces.traces_headers.clone().unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(own: &str, traces: &str, base: &str) -> Option<String> {
        let given = |url: &str| Some(url.to_owned());
        let flags = Traces {
            traces_endpoint: given(own),
            otlp_traces_endpoint: given(traces),
            otlp_endpoint: given(base),
            traces_sample: 0.5,
            traces_service_name: String::new(),
            traces_headers: None,
        };
        resolve(&flags).map(|settings| settings.endpoint)
    }

    #[test]
    fn the_nearest_name_of_the_collector_counts() {
        assert_eq!(endpoint("", "", ""), None);
        assert_eq!(endpoint("", "", "http://c:4318/"), Some("http://c:4318/v1/traces".into()));
        assert_eq!(endpoint("", "http://b/x", "http://c"), Some("http://b/x".into()));
        assert_eq!(endpoint("http://a", "http://b", "http://c"), Some("http://a".into()));
    }
}
