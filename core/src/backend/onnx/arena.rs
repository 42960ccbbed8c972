//! The memory that a session keeps between its runs.
#![expect(unsafe_code, reason = "`ort` does not offer an allocator's Shrink")]

use ort::AsPointer;
use ort::memory::{AllocationDevice, Allocator, AllocatorType, MemoryInfo, MemoryType};
use ort::session::Session;

/// A session's arena on the CPU.
#[derive(Debug)]
pub(super) struct Arena(Allocator);

impl Arena {
    /// The arena of a session that was opened with one.
    pub(super) fn of(session: &Session) -> ort::Result<Self> {
        let info = MemoryInfo::new(AllocationDevice::CPU, 0, AllocatorType::Arena, MemoryType::Default)?;
        Allocator::new(session, info).map(Self)
    }

    /// Gives back what no run is using now. The next run fetches what it needs anew.
    pub(super) fn shrink(&self) -> ort::Result<()> {
        let allocator = self.0.ptr().cast_mut();
        // SAFETY: the allocator lives as long as `self`; its functions are set once, before it is handed out, and those
        // of ONNX Runtime's arenas may be called from any thread while others allocate.
        let status = unsafe {
            let Some(shrink) = (*allocator).Shrink else { return Ok(()) };
            shrink(allocator)
        };
        // SAFETY: the status comes from the call just above and is read once.
        unsafe { ort::Error::result_from_status(status) }
    }
}
