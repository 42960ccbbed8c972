//! Who may do what, from the flags.

use std::time::Duration;

use hedef_server::{CredentialSettings, JwtSettings, Settings, TlsSettings};

use crate::arguments::{Admin, ClientAuth, Security};

/// Adds the flags about security to the settings.
pub(crate) fn resolve(security: &Security, settings: Settings) -> Settings {
    let tls = security.tls_cert.clone().zip(security.tls_key.clone());
    let jwt = security.jwt_keys.clone().map(|keys| JwtSettings {
        keys,
        issuer: security.jwt_issuer.clone().unwrap_or_default(),
        audience: security.jwt_audience.clone(),
        scope_prefix: security.jwt_scope_prefix.clone(),
    });
    Settings {
        admin: match security.admin {
            Admin::Auto => hedef_server::Admin::Auto,
            Admin::On => hedef_server::Admin::On,
            Admin::Off => hedef_server::Admin::Off,
        },
        admin_listen: security.admin_listen,
        cors_origins: security.cors_origin.clone(),
        credentials: CredentialSettings { api_keys: security.api_keys.clone(), jwt },
        tls: tls.map(|(certificate, key)| TlsSettings {
            certificate,
            key,
            client_ca: security.tls_client_ca.clone(),
            client_auth: match security.tls_client_auth {
                ClientAuth::Required => hedef_server::ClientAuth::Required,
                ClientAuth::Optional => hedef_server::ClientAuth::Optional,
            },
        }),
        reload_interval: Duration::from_millis(security.reload_interval_ms),
        ..settings
    }
}
