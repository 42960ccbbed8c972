//! Memory that runs leave for the next ones.
//!
//! Fetching the memory of each run anew costs a convolutional network up to half of its time, in page faults. ONNX
//! Runtime's own arena saves that, but gives memory back at the end of a run only, and never what it began with. So
//! sessions that want to keep memory allocate here: large blocks wait, by their size, until a run wants them again or
//! [`tidy`] and [`purge`] find them idle. All models share them. Never more waits than was lately in use at once, so
//! requests of many sizes hold twice what they need at most.
#![expect(unsafe_code, reason = "ONNX Runtime takes an allocator as C functions")]

use std::alloc::{Layout, alloc, dealloc};
use std::collections::BTreeMap;
use std::ffi::c_void;
use std::ptr::{self, NonNull};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use ort::AsPointer;
use ort::environment::Environment;
use ort::memory::{AllocationDevice, AllocatorType, MemoryInfo, MemoryType};
use ort::sys::{OrtAllocator, OrtMemoryInfo};

/// Smaller blocks are left to the C library, which keeps them by itself.
const SMALLEST: usize = 64 << 10;

/// What the widest vector instructions want, and room for a block's size before its first byte.
const ALIGNMENT: usize = 64;

/// Blocks that nobody wanted for so long are given back.
const INTERVAL: Duration = Duration::from_secs(10);

/// The one pool of this process; ONNX Runtime keeps its address for ever.
static POOL: OnceLock<Pool> = OnceLock::new();

/// An allocator of ONNX Runtime's that keeps large blocks.
#[repr(C)]
pub(super) struct Pool {
    /// ONNX Runtime knows the pool by the address of its first field.
    functions: OrtAllocator,
    memory: MemoryInfo<'static>,
    idle: Mutex<Idle>,
}

// SAFETY: the functions never change, and the blocks stand behind a lock.
unsafe impl Send for Pool {}
// SAFETY: as above.
unsafe impl Sync for Pool {}

/// Blocks that nobody uses, and how much is in use.
#[derive(Debug)]
struct Idle {
    /// By their size; those used last stand last.
    blocks: BTreeMap<usize, Vec<Block>>,
    /// What they hold.
    bytes: usize,
    /// What large blocks in use hold, and the most they held since the times that were tidied up last, and before.
    in_use: usize,
    most: [usize; 2],
    /// Counts the blocks that came back, and those that had when it was tidied up last.
    uses: u64,
    tidied_uses: u64,
    tidied: Instant,
}

/// A block that nobody uses, and when it came back.
#[derive(Debug)]
struct Block(NonNull<u8>, u64);

/// Makes the pool that sessions with `session.use_env_allocators` share. Call it once, with the only environment.
pub(super) fn register(environment: &Environment) -> ort::Result<()> {
    let memory = MemoryInfo::new(AllocationDevice::CPU, 0, AllocatorType::Device, MemoryType::Default)?;
    // SAFETY: it makes a table without functions, which are set here.
    let mut functions = unsafe { OrtAllocator::default() };
    functions.Alloc = Some(allocate);
    functions.Free = Some(free);
    functions.Info = Some(info);
    functions.Reserve = Some(reserve);
    let pool = POOL.get_or_init(|| Pool { functions, memory, idle: Mutex::new(Idle::new()) });
    // SAFETY: the environment lives, and the pool does for ever. ONNX Runtime calls its functions and writes nothing.
    let status = unsafe {
        let allocator = ptr::from_ref(pool).cast_mut().cast();
        (ort::api().RegisterAllocator)(environment.ptr().cast_mut(), allocator)
    };
    // SAFETY: the status comes from the call just above and is read once.
    unsafe { ort::Error::result_from_status(status) }
}

/// Gives back what nobody wanted for [`INTERVAL`], once in each. Call it after runs.
pub(super) fn tidy() {
    if let Some(pool) = POOL.get() {
        pool.tidy(Instant::now());
    }
}

/// Gives back all that nobody uses.
pub(super) fn purge() {
    if let Some(pool) = POOL.get() {
        pool.lock().keep_since(u64::MAX);
    }
}

impl Pool {
    fn tidy(&self, now: Instant) {
        // Another thread has the lock at this moment: a later run is early enough.
        let Ok(mut idle) = self.idle.try_lock() else { return };
        if now.saturating_duration_since(idle.tidied) >= INTERVAL {
            idle.tidy(now);
        }
    }

    /// A block with room for `size` bytes behind its head.
    fn block(&self, size: usize) -> Option<NonNull<u8>> {
        let whole = rounded(size.checked_add(ALIGNMENT)?)?;
        if whole < SMALLEST {
            return fetch(whole);
        }
        let kept = self.lock().take(whole);
        kept.or_else(|| {
            let fresh = fetch(whole)?;
            self.lock().uses(whole);
            Some(fresh)
        })
    }

    /// Takes back a block of `whole` bytes that [`Pool::block`] gave.
    fn put(&self, block: NonNull<u8>, whole: usize) {
        if whole < SMALLEST { give_back(block, whole) } else { self.lock().put(block, whole) }
    }

    /// The lists stay whole even if a thread died while it held the lock.
    fn lock(&self) -> MutexGuard<'_, Idle> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Idle {
    fn new() -> Self {
        let blocks = BTreeMap::new();
        Self { blocks, bytes: 0, in_use: 0, most: [0; 2], uses: 0, tidied_uses: 0, tidied: Instant::now() }
    }

    /// Notes that a block is in use.
    fn uses(&mut self, whole: usize) {
        self.in_use += whole;
        self.most[0] = self.most[0].max(self.in_use);
    }

    /// The smallest block of at least `whole` bytes, unless more than half of it would be wasted: with runs of many sizes,
    /// fetching for each what fits it would cost more than that they use more than they need.
    fn take(&mut self, whole: usize) -> Option<NonNull<u8>> {
        let (&found, blocks) = self.blocks.range_mut(whole..=whole.saturating_mul(2)).next()?;
        let Block(block, _) = blocks.pop()?;
        if blocks.is_empty() {
            self.blocks.remove(&found);
        }
        self.bytes -= found;
        self.uses(found);
        Some(block)
    }

    fn put(&mut self, block: NonNull<u8>, whole: usize) {
        self.in_use = self.in_use.saturating_sub(whole);
        self.uses += 1;
        self.blocks.entry(whole).or_default().push(Block(block, self.uses));
        self.bytes += whole;
        while self.bytes > self.most.into_iter().max().unwrap_or(0) && self.drop_stalest() {}
    }

    /// Gives back the block that nobody wanted for the longest time; false when there is none.
    fn drop_stalest(&mut self) -> bool {
        let stalest = self.blocks.iter().filter_map(|(whole, blocks)| Some((blocks.first()?.1, *whole))).min();
        stalest.is_some_and(|(used, _)| {
            self.keep_since(used + 1);
            true
        })
    }

    /// Gives back what came back before the last time.
    fn tidy(&mut self, now: Instant) {
        self.tidied = now;
        self.keep_since(self.tidied_uses + 1);
        self.tidied_uses = self.uses;
        self.most = [self.in_use, self.most[0]];
    }

    /// Gives back the blocks but for those that came back as number `first` or later.
    fn keep_since(&mut self, first: u64) {
        let bytes = &mut self.bytes;
        self.blocks.retain(|whole, blocks| {
            blocks.retain(|Block(block, used)| {
                let keeps = *used >= first;
                if !keeps {
                    *bytes -= whole;
                    give_back(*block, *whole);
                }
                keeps
            });
            !blocks.is_empty()
        });
    }
}

/// The size that a block of `size` bytes is made with: an eighth more at most, so that sizes that are about the same are
/// the same.
fn rounded(size: usize) -> Option<usize> {
    if size < SMALLEST { Some(size) } else { size.checked_next_multiple_of(1 << (size.ilog2() - 3)) }
}

fn layout(whole: usize) -> Option<Layout> {
    Layout::from_size_align(whole, ALIGNMENT).ok()
}

/// A new block of `whole` bytes, more than [`ALIGNMENT`].
fn fetch(whole: usize) -> Option<NonNull<u8>> {
    // SAFETY: the size is not 0.
    let block = NonNull::new(unsafe { alloc(layout(whole)?) })?;
    // SAFETY: the block is aligned for a usize and has room for it.
    unsafe { block.cast::<usize>().write(whole) };
    Some(block)
}

fn give_back(block: NonNull<u8>, whole: usize) {
    if let Some(layout) = layout(whole) {
        // SAFETY: `fetch` made the block with this layout, and nobody uses it any more.
        unsafe { dealloc(block.as_ptr(), layout) };
    }
}

unsafe extern "system" fn allocate(allocator: *mut OrtAllocator, size: usize) -> *mut c_void {
    if size == 0 {
        return ptr::null_mut();
    }
    // SAFETY: ONNX Runtime hands over what it was registered with: the first field of the pool.
    let pool = unsafe { &*allocator.cast::<Pool>().cast_const() };
    let Some(block) = pool.block(size) else { return ptr::null_mut() };
    // SAFETY: a block is longer than its head.
    unsafe { block.as_ptr().add(ALIGNMENT).cast() }
}

unsafe extern "system" fn reserve(allocator: *const OrtAllocator, size: usize) -> *mut c_void {
    // SAFETY: as for any other block.
    unsafe { allocate(allocator.cast_mut(), size) }
}

unsafe extern "system" fn free(allocator: *mut OrtAllocator, memory: *mut c_void) {
    let Some(memory) = NonNull::new(memory.cast::<u8>()) else { return };
    // SAFETY: as in `allocate`, which gave out the memory; its block's head holds the block's size.
    unsafe {
        let pool = &*allocator.cast::<Pool>().cast_const();
        let block = memory.sub(ALIGNMENT);
        pool.put(block, block.cast::<usize>().read());
    }
}

unsafe extern "system" fn info(allocator: *const OrtAllocator) -> *const OrtMemoryInfo {
    // SAFETY: as in `allocate`.
    unsafe { (*allocator.cast::<Pool>()).memory.ptr() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool() -> Pool {
        Pool {
            // SAFETY: a table without functions, none of which is called.
            functions: unsafe { OrtAllocator::default() },
            memory: crate::backend::onnx::tests::memory(),
            idle: Mutex::new(Idle::new()),
        }
    }

    fn idle(pool: &Pool) -> usize {
        pool.lock().blocks.values().map(Vec::len).sum()
    }

    #[test]
    fn a_block_is_used_again_for_about_the_same_size_and_small_ones_are_not_kept() {
        let pool = pool();
        let block = pool.block(1 << 20).unwrap();
        // SAFETY: the head of a block holds its size.
        let whole = unsafe { block.cast::<usize>().read() };
        pool.put(block, whole);
        assert_eq!(idle(&pool), 1);
        assert_eq!(pool.block((1 << 20) + 1000), Some(block), "an eighth of room");
        let other = pool.block(1 << 19).unwrap();
        pool.put(other, rounded((1 << 19) + ALIGNMENT).unwrap());
        pool.put(block, whole);
        assert_eq!((idle(&pool), other == block), (2, false));
        let small = pool.block(100).unwrap();
        pool.put(small, 100 + ALIGNMENT);
        assert_eq!(idle(&pool), 2);
        pool.lock().keep_since(u64::MAX);
        assert_eq!((idle(&pool), pool.lock().bytes), (0, 0));
    }

    #[test]
    fn a_run_of_fewer_rows_takes_what_one_of_more_rows_left() {
        let pool = pool();
        let whole = rounded((16 << 20) + ALIGNMENT).unwrap();
        let block = pool.block(16 << 20).unwrap();
        for rows in [9, 12, 16, 10] {
            pool.put(block, whole);
            assert_eq!(pool.block(rows << 20), Some(block), "{rows}");
        }
        pool.put(block, whole);
        let much_less = pool.block(7 << 20).unwrap();
        assert_ne!(much_less, block);
        pool.put(much_less, rounded((7 << 20) + ALIGNMENT).unwrap());
        pool.lock().keep_since(u64::MAX);
    }

    #[test]
    fn what_nobody_wanted_for_a_while_is_given_back() {
        let pool = pool();
        let [a, b] = [1 << 20, 2 << 20].map(|size| (pool.block(size).unwrap(), rounded(size + ALIGNMENT).unwrap()));
        pool.put(a.0, a.1);
        pool.put(b.0, b.1);
        let began = pool.lock().tidied;
        let tidy = |rounds| {
            pool.tidy(began + INTERVAL * rounds);
            idle(&pool)
        };
        assert_eq!((tidy(1), tidy(1)), (2, 2));
        assert_eq!(pool.block(1 << 20), Some(a.0));
        pool.put(a.0, a.1);
        assert_eq!((tidy(2), tidy(3)), (1, 0));
    }

    #[test]
    fn no_more_waits_than_was_in_use_at_once() {
        let pool = pool();
        let size = |at: usize| (at + 1) << 20;
        for at in 0..40 {
            let block = pool.block(size(at)).unwrap();
            // SAFETY: the head of a block holds its size.
            pool.put(block, unsafe { block.cast::<usize>().read() });
            let idle = pool.lock();
            assert!(idle.bytes <= rounded(size(at) + ALIGNMENT).unwrap() && idle.in_use == 0, "{idle:?}");
        }
        pool.lock().keep_since(u64::MAX);
    }
}
