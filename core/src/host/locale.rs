//! Which locales the system has.

/// Says whether the system has the locale `name`, such as `en_US.UTF-8`.
///
/// ONNX Runtime constructs a C++ `std::locale` of that name, which on Unix is `newlocale`; so spellings
/// that the C library takes for the same (`en_US.utf8`) count too. Elsewhere the names follow other rules,
/// and the answer is always yes.
#[must_use]
pub fn locale_available(name: &str) -> bool {
    #[cfg(unix)]
    {
        std::ffi::CString::new(name).is_ok_and(|name| super::system::locale_exists(&name))
    }
    #[cfg(not(unix))]
    {
        let _ = name;
        true
    }
}

#[cfg(unix)]
#[cfg(test)]
mod tests {
    use super::locale_available;

    #[test]
    fn the_c_locale_is_always_there_and_an_invented_one_never() {
        assert!(locale_available("C"));
        assert!(locale_available("POSIX"));
        assert!(!locale_available("xx_NOWHERE.UTF-8"));
        assert!(!locale_available("C\0"));
    }
}
