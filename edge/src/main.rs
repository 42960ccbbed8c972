//! size probe
use hedef_core::backend::onnx;
use hedef_core::host::{Cpus, configure_malloc, memory_limit, processor};
use hedef_core::metrics::Metrics;
use hedef_core::model::Slots;
use hedef_core::repository::{Loads, OnnxLoader, Repository};
use hedef_core::runtime::{Dirs, locate};
use hedef_server::{Config, Server, Settings};
use std::path::Path;
use std::sync::Arc;
fn main() {
    tracing_subscriber::fmt().init();
    configure_malloc();
    let root = Path::new("/");
    let cpus = Cpus::measure(root);
    let located = locate(None, &Dirs::from_process()).unwrap().unwrap();
    let runtime = onnx::Runtime::start(&located.path).unwrap();
    let loader = OnnxLoader {
        runtime,
        slots: Arc::new(Slots::new(cpus.threads.get())),
        memory_limit: memory_limit(root),
        processor: processor(root),
        graphs: None,
        loads: Loads::default(),
        patient: false,
    };
    let registry = prometheus::Registry::new();
    let metrics = Metrics::new(&registry).unwrap();
    let repository = Arc::new(Repository::new(vec!["models".into()], Box::new(loader), metrics));
    repository.load_all();
    let network = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let server =
        network.block_on(Server::bind(Config::new(Settings::default()).unwrap(), repository, registry)).unwrap();
    network.block_on(server.serve(async {
        let _ = tokio::signal::ctrl_c().await;
    }));
}
