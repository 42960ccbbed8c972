//! hedef-protocols
