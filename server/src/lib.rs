//! hedef-server
