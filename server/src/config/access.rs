//! The settings of who may do what.

use std::path::PathBuf;

use super::{Admin, InvalidConfig, Settings};

/// What requests identify themselves with. Without any, nobody is asked who they are.
#[derive(Clone, Debug, Default)]
pub struct CredentialSettings {
    /// The file of API keys.
    pub api_keys: Option<PathBuf>,
    /// JSON Web Tokens.
    pub jwt: Option<JwtSettings>,
}

/// Which JSON Web Tokens are taken.
#[derive(Clone, Debug)]
pub struct JwtSettings {
    /// The JSON Web Key Set of those who sign them.
    pub keys: PathBuf,
    /// Whose they are: their `iss`.
    pub issuer: String,
    /// Whom they are for: one of these is in their `aud`.
    pub audience: Vec<String>,
    /// What stands before `score`, `admin` and `metrics` in their scopes.
    pub scope_prefix: String,
}

impl CredentialSettings {
    /// Whether requests are asked who they are.
    pub(crate) const fn are_asked(&self) -> bool {
        self.api_keys.is_some() || self.jwt.is_some()
    }
}

/// The ports on which models can be loaded and unloaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AdminOpen {
    /// On those for everybody.
    pub(crate) main: bool,
    /// On that for administration.
    pub(crate) own: bool,
}

impl AdminOpen {
    pub(super) fn new(settings: &Settings) -> Result<Self, InvalidConfig> {
        let main = match (settings.admin, settings.admin_listen) {
            (Admin::Off, Some(_)) => return Err(InvalidConfig::AdminPort),
            (Admin::Off, None) | (_, Some(_)) => false,
            (Admin::On, None) => true,
            // Who the other end is says little: what comes from this machine may come through a proxy on it.
            (Admin::Auto, None) => {
                let mut all = settings.grpc_listen.iter().chain([&settings.listen]);
                settings.credentials.are_asked() || all.all(|address| address.ip().is_loopback())
            }
        };
        Ok(Self { main, own: settings.admin_listen.is_some() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(listen: &str, admin: Admin, change: impl FnOnce(&mut Settings)) -> Result<[bool; 2], InvalidConfig> {
        let mut settings = Settings { listen: listen.parse().unwrap(), admin, ..Settings::default() };
        change(&mut settings);
        AdminOpen::new(&settings).map(|open| [open.main, open.own])
    }

    #[test]
    fn administration_is_open_by_itself_on_loopback_or_for_those_who_say_who_they_are() {
        let plain = |listen, admin| open(listen, admin, |_| {}).unwrap();
        assert_eq!(plain("127.0.0.1:8080", Admin::Auto), [true, false]);
        assert_eq!(plain("[::1]:8080", Admin::Auto), [true, false]);
        assert_eq!(plain("0.0.0.0:8080", Admin::Auto), [false, false]);
        assert_eq!(plain("0.0.0.0:8080", Admin::On), [true, false]);
        assert_eq!(plain("127.0.0.1:8080", Admin::Off), [false, false]);
        let grpc = |settings: &mut Settings| settings.grpc_listen = Some("0.0.0.0:8001".parse().unwrap());
        assert_eq!(open("127.0.0.1:8080", Admin::Auto, grpc), Ok([false, false]));
        let keys = |settings: &mut Settings| settings.credentials.api_keys = Some("keys.toml".into());
        assert_eq!(open("0.0.0.0:8080", Admin::Auto, keys), Ok([true, false]));
        assert_eq!(open("0.0.0.0:8080", Admin::Off, keys), Ok([false, false]));
    }

    #[test]
    fn a_port_of_its_own_closes_the_other() {
        let own = |settings: &mut Settings| settings.admin_listen = Some("127.0.0.1:8081".parse().unwrap());
        assert_eq!(open("127.0.0.1:8080", Admin::Auto, own), Ok([false, true]));
        assert_eq!(open("0.0.0.0:8080", Admin::On, own), Ok([false, true]));
        assert_eq!(open("127.0.0.1:8080", Admin::Off, own), Err(InvalidConfig::AdminPort));
    }
}
