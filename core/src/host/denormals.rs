//! Numbers so close to zero that the processor works on them a hundred times slower.
#![cfg_attr(
    any(target_arch = "x86_64", target_arch = "aarch64"),
    expect(unsafe_code, reason = "the processor's floating-point control register is reached by assembly only")
)]

use std::str::FromStr;

/// What becomes of denormal numbers in a run.
///
/// A small network took 37 µs on ordinary inputs and 3,560 µs on denormal ones; counted as zero, 37 µs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Denormals {
    /// They count as zero.
    #[default]
    Flush,
    /// They are worked on.
    Keep,
}

impl Denormals {
    /// Does `work`, which must be foreign code that does its floating-point arithmetic on this thread: the register is
    /// set back before Rust's own goes on.
    pub(crate) fn around<T>(self, work: impl FnOnce() -> T) -> T {
        if self == Self::Keep {
            return work();
        }
        let _restored = Flushing::begin();
        work()
    }
}

impl FromStr for Denormals {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "flush" => Ok(Self::Flush),
            "keep" => Ok(Self::Keep),
            _ => Err(format!("denormals: expected `flush` or `keep`, got `{text}`")),
        }
    }
}

impl<'de> serde::Deserialize<'de> for Denormals {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// Sets the control register back when dropped, whatever happens in between.
struct Flushing(register::Value);

impl Flushing {
    fn begin() -> Self {
        let before = register::read();
        register::write(before | register::FLUSH);
        Self(before)
    }
}

impl Drop for Flushing {
    fn drop(&mut self) {
        register::write(self.0);
    }
}

/// MXCSR: flush to zero is bit 15, denormals are zero bit 6 (Intel SDM, volume 1, 10.2.3).
#[cfg(target_arch = "x86_64")]
mod register {
    use std::arch::asm;

    pub(super) type Value = u32;
    pub(super) const FLUSH: Value = 1 << 15 | 1 << 6;

    pub(super) fn read() -> Value {
        let mut value: Value = 0;
        // SAFETY: stmxcsr writes four bytes to the address given, which is that of `value`.
        unsafe { asm!("stmxcsr [{}]", in(reg) &raw mut value, options(nostack, preserves_flags)) };
        value
    }

    pub(super) fn write(value: Value) {
        // SAFETY: ldmxcsr reads four bytes from the address given. The value is the one read before, with no more than
        // the two bits about denormals set, so no exception is unmasked.
        unsafe { asm!("ldmxcsr [{}]", in(reg) &raw const value, options(nostack, preserves_flags, readonly)) };
    }
}

/// FPCR: flush to zero is bit 24 (Arm ARM, FPCR.FZ).
#[cfg(target_arch = "aarch64")]
mod register {
    use std::arch::asm;

    pub(super) type Value = u64;
    pub(super) const FLUSH: Value = 1 << 24;

    pub(super) fn read() -> Value {
        let value;
        // SAFETY: reading FPCR has no effect on anything else.
        unsafe { asm!("mrs {}, fpcr", out(reg) value, options(nomem, nostack, preserves_flags)) };
        value
    }

    pub(super) fn write(value: Value) {
        // SAFETY: the value is the one read before, with no more than the bit about denormals set.
        unsafe { asm!("msr fpcr, {}", in(reg) value, options(nomem, nostack, preserves_flags)) };
    }
}

/// Elsewhere the processor is left as it is.
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
mod register {
    pub(super) type Value = u32;
    pub(super) const FLUSH: Value = 0;

    pub(super) const fn read() -> Value {
        0
    }

    pub(super) const fn write(_: Value) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_register_is_set_during_the_work_and_back_afterwards() {
        let before = register::read();
        assert_eq!(Denormals::Flush.around(register::read) & register::FLUSH, register::FLUSH);
        assert_eq!(Denormals::Keep.around(register::read) & register::FLUSH, before & register::FLUSH);
        assert_eq!(register::read() & register::FLUSH, before & register::FLUSH);
    }

    #[test]
    fn the_register_is_set_back_after_a_panic() {
        let before = register::read();
        let panicked = std::panic::catch_unwind(|| Denormals::Flush.around(|| panic!("in foreign code")));
        assert!(panicked.is_err());
        assert_eq!(register::read() & register::FLUSH, before & register::FLUSH);
    }
}
