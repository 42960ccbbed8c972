//! Nobody is told that a model was served.

/// Tells ONNX Runtime, which is loaded after this, to report nothing to its maker.
///
/// To be called while no other thread reads or changes the environment: before the command starts its threads.
#[expect(unsafe_code, reason = "ONNX Runtime takes this setting from the environment only")]
pub(crate) fn switch_off_telemetry() {
    // SAFETY: ONNX Runtime is started once, by the command, before it starts threads that use the environment.
    unsafe { std::env::set_var("ORT_DISABLE_TELEMETRY", "1") };
}
