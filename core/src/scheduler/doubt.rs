use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// The first joined runs are all verified, later ones now and then.
const FIRST: u64 = 32;
const THEN_EVERY: u64 = 512;

/// Whether rows that shared a run may have influenced one another after all.
#[derive(Debug)]
pub(crate) struct Doubt {
    trusted: bool,
    joined: AtomicU64,
    justified: AtomicBool,
    /// Whether nothing has been shown yet, neither way.
    open: AtomicBool,
}

impl Doubt {
    /// A model whose owner says that its rows are independent is trusted.
    pub(crate) fn new(trusted: bool) -> Self {
        let (justified, open) = (AtomicBool::new(false), AtomicBool::new(false));
        Self { trusted, joined: AtomicU64::new(0), justified, open }
    }

    /// Until [`Doubt::close`], nothing shows that rows are independent.
    pub(crate) fn leave_open(&self) {
        self.open.store(true, Ordering::Relaxed);
    }

    /// Notes what trials showed of a doubt that was left open.
    pub(crate) fn close(&self, independent: bool) {
        self.justified.fetch_or(!independent, Ordering::Relaxed);
        self.open.store(false, Ordering::Release);
    }

    /// Counts one joined run, and says whether it is to be verified.
    pub(crate) fn arises(&self) -> bool {
        if self.trusted {
            return false;
        }
        let before = self.joined.fetch_add(1, Ordering::Relaxed);
        before < FIRST || before.is_multiple_of(THEN_EVERY)
    }

    /// Notes that a joined run gave other answers; true the first time.
    pub(crate) fn confirm(&self) -> bool {
        !self.justified.swap(true, Ordering::Relaxed)
    }

    /// Whether a joined run gave other answers, or none has been tried.
    pub(crate) fn is_justified(&self) -> bool {
        self.open.load(Ordering::Acquire) || self.is_shown()
    }

    /// Whether a joined run gave other answers.
    pub(crate) fn is_shown(&self) -> bool {
        self.justified.load(Ordering::Relaxed)
    }
}
