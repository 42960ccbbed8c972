use clap::Args;

/// What strangers may take.
#[derive(Debug, Args)]
pub(crate) struct Caps {
    /// The most connections at the same time, and no more than the open files that the process may have. A few more are
    /// let in for health and metrics.
    #[arg(long, value_name = "N", default_value_t = 4096, value_parser = clap::value_parser!(u32).range(1..), env = "HEDEF_MAX_CONNECTIONS")]
    pub(crate) max_connections: u32,
    /// The most bytes in the head of a request, in KiB.
    #[arg(long, value_name = "KIB", default_value_t = 128, value_parser = clap::value_parser!(u32).range(8..=1024), env = "HEDEF_HEADER_LIMIT_KIB")]
    pub(crate) header_limit_kib: u32,
    /// The most headers in a request over HTTP/1.1.
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000), env = "HEDEF_MAX_HEADERS")]
    pub(crate) max_headers: u32,
    /// The time within which a new connection has to bring its first request's head, in milliseconds.
    #[arg(long, value_name = "MS", default_value_t = 30_000, value_parser = clap::value_parser!(u64).range(1..), env = "HEDEF_HEADER_TIMEOUT_MS")]
    pub(crate) header_timeout_ms: u64,
    /// The least bytes a second at which a body, or a message of gRPC that has begun, has to come, over any ten seconds; 0: no
    /// least.
    #[arg(long, value_name = "BYTES", default_value_t = 1024, env = "HEDEF_BODY_MIN_RATE")]
    pub(crate) body_min_rate: u32,
    /// The time for which a client may take nothing of its answer, in milliseconds.
    #[arg(long, value_name = "MS", default_value_t = 60_000, value_parser = clap::value_parser!(u64).range(1..), env = "HEDEF_ANSWER_TIMEOUT_MS")]
    pub(crate) answer_timeout_ms: u64,
    /// The most values of JSON, and elements of tensors in JSON or of strings, in a compressed request however small;
    /// any request may have as many as the bytes it was sent in.
    #[arg(long, value_name = "N", default_value_t = 1 << 20, value_parser = clap::value_parser!(u32).range(1..), env = "HEDEF_MAX_ELEMENTS")]
    pub(crate) max_elements: u32,
    /// The memory that requests under way may hold in all, in MiB; a quarter of it is for small ones. Default: a quarter of what the process may use, at
    /// least 256.
    #[arg(long, value_name = "MIB", value_parser = clap::value_parser!(u32).range(1..), env = "HEDEF_REQUEST_MEMORY_MIB")]
    pub(crate) request_memory_mib: Option<u32>,
}
