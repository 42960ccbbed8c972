//! hedef-core
