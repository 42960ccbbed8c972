use clap::Args;

/// Traces of requests.
#[derive(Debug, Args)]
#[command(next_help_heading = "Traces")]
pub(crate) struct Traces {
    /// The collector that spans are posted to, in OpenTelemetry's protocol over HTTP (protobuf), such as
    /// http://localhost:4318/v1/traces. Default: no traces.
    #[arg(long, value_name = "URL", env = "HEDEF_TRACES_ENDPOINT")]
    pub(crate) traces_endpoint: Option<String>,
    /// The same, for OpenTelemetry's own variable; `--traces-endpoint` comes before it.
    #[arg(long, value_name = "URL", env = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")]
    pub(crate) otlp_traces_endpoint: Option<String>,
    /// The collector without the path `/v1/traces`, for OpenTelemetry's other variable; the two above come before it.
    #[arg(long, value_name = "URL", env = "OTEL_EXPORTER_OTLP_ENDPOINT")]
    pub(crate) otlp_endpoint: Option<String>,
    /// The part of the requests that are traced, from 0 to 1, of those without a `traceparent`. A request with one is traced
    /// if and only if its caller is.
    #[arg(long, value_name = "RATIO", default_value_t = 0.01, env = "HEDEF_TRACES_SAMPLE")]
    pub(crate) traces_sample: f64,
    /// What traces call this server.
    #[arg(long, value_name = "NAME", default_value = "hedef", env = "OTEL_SERVICE_NAME")]
    pub(crate) traces_service_name: String,
    /// Headers for the collector: `name=value` with commas between, values percent-encoded. Secrets stand better in the
    /// variable.
    #[arg(long, value_name = "LIST", hide_env_values = true, env = "OTEL_EXPORTER_OTLP_HEADERS")]
    pub(crate) traces_headers: Option<String>,
}
