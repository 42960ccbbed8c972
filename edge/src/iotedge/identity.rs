//! Who a module is, and how it shows that: identity and tokens.
//!
//! Sources: Azure/iotedge, `CreateOrUpdateCommand.cs` (the variables) and `SharedAccessSignature.cs` (what the hub reads);
//! azure-iot-sdk-python, `common/auth/sastoken.py`.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use ring::hmac;

use super::topics::percent_encoded;

/// The version of the hub's interface that is spoken.
const API_VERSION: &str = "2021-04-12";

/// A module of Azure IoT Edge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The cloud's hub, which tokens are made out to.
    pub hub: String,
    /// The device.
    pub device: String,
    /// The module.
    pub module: String,
    /// Where to connect.
    pub gateway: String,
    /// How tokens are signed.
    pub signer: Signer,
}

/// How tokens are signed.
#[derive(Clone, PartialEq, Eq)]
pub enum Signer {
    /// By the security daemon of the device.
    Workload {
        /// Where it is: `unix:///path` or `http://host:port`.
        uri: String,
        /// The generation of the module, part of the path.
        generation: String,
        /// The version of its interface.
        api_version: String,
    },
    /// By a key that was given, for development.
    Key(Vec<u8>),
}

/// A key is for nobody's eyes.
impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Workload { uri, .. } => f.debug_tuple("Workload").field(uri).finish(),
            Self::Key(_) => f.write_str("Key"),
        }
    }
}

/// Why a module does not know who it is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say what the fields are")]
pub enum InvalidIdentity {
    #[error("the variable {0} is missing, which Azure IoT Edge gives every module")]
    Missing(&'static str),
    #[error("IOTEDGE_AUTHSCHEME: expected sasToken, found `{0}`")]
    Scheme(String),
    #[error("EdgeHubConnectionString: expected `{0}=…` in it")]
    NoPart(&'static str),
    #[error("EdgeHubConnectionString: the key is not base64")]
    Key,
    #[error("the {0} has a `/`, `+` or `#`, which the hub would not understand")]
    Name(&'static str),
}

impl Identity {
    /// Reads who this is from the environment: what Azure IoT Edge gives, or a connection string. `None`: it is no module.
    pub fn from_variables(variable: impl Fn(&'static str) -> Option<String>) -> Result<Option<Self>, InvalidIdentity> {
        let identity = if let Some(uri) = variable("IOTEDGE_WORKLOADURI") {
            let needed = |name| variable(name).ok_or(InvalidIdentity::Missing(name));
            if let Some(scheme) =
                variable("IOTEDGE_AUTHSCHEME").filter(|scheme| !scheme.eq_ignore_ascii_case("sasToken"))
            {
                return Err(InvalidIdentity::Scheme(scheme));
            }
            Self {
                hub: needed("IOTEDGE_IOTHUBHOSTNAME")?,
                device: needed("IOTEDGE_DEVICEID")?,
                module: needed("IOTEDGE_MODULEID")?,
                gateway: needed("IOTEDGE_GATEWAYHOSTNAME")?,
                signer: Signer::Workload {
                    uri,
                    generation: needed("IOTEDGE_MODULEGENERATIONID")?,
                    api_version: variable("IOTEDGE_APIVERSION").unwrap_or_else(|| "2018-06-28".into()),
                },
            }
        } else if let Some(text) = variable("EdgeHubConnectionString") {
            Self::from_connection_string(&text)?
        } else {
            return Ok(None);
        };
        for (what, name) in [("device's id", &identity.device), ("module's id", &identity.module)] {
            if name.contains(['/', '+', '#']) {
                return Err(InvalidIdentity::Name(what));
            }
        }
        Ok(Some(identity))
    }

    fn from_connection_string(text: &str) -> Result<Self, InvalidIdentity> {
        let part = |name| {
            let value = text.split(';').find_map(|part| part.trim().strip_prefix(name)?.strip_prefix('='));
            value.map(String::from).ok_or(InvalidIdentity::NoPart(name))
        };
        Ok(Self {
            hub: part("HostName")?,
            // The hub in the cloud knows no inputs, and closes a connection where the one on a device is silent.
            gateway: part("GatewayHostName")?,
            device: part("DeviceId")?,
            module: part("ModuleId")?,
            signer: Signer::Key(BASE64_STANDARD.decode(part("SharedAccessKey")?).map_err(|_| InvalidIdentity::Key)?),
        })
    }

    /// Its id as a client.
    #[must_use]
    pub fn client_id(&self) -> String {
        format!("{}/{}", self.device, self.module)
    }

    /// Its name at the hub.
    #[must_use]
    pub fn username(&self) -> String {
        let client = percent_encoded(concat!("hedef-edge/", env!("CARGO_PKG_VERSION")));
        format!("{}/{}/{}/?api-version={API_VERSION}&DeviceClientType={client}", self.hub, self.device, self.module)
    }

    /// What a token for it is signed over.
    #[must_use]
    pub fn to_sign(&self, expires: u64) -> String {
        format!("{}\n{expires}", self.audience())
    }

    /// A token that is good until `expires`, in seconds since 1970, with the signature in base64.
    #[must_use]
    pub fn token(&self, expires: u64, signature: &str) -> String {
        format!("SharedAccessSignature sr={}&sig={}&se={expires}", self.audience(), percent_encoded(signature))
    }

    fn audience(&self) -> String {
        percent_encoded(&format!("{}/devices/{}/modules/{}", self.hub, self.device, self.module))
    }
}

/// Signs a text with a key: HMAC-SHA256 in base64.
#[must_use]
pub fn sign(key: &[u8], text: &str) -> String {
    BASE64_STANDARD.encode(hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edge(name: &'static str) -> Option<String> {
        let value = match name {
            "IOTEDGE_WORKLOADURI" => "unix:///var/run/iotedge/workload.sock",
            "IOTEDGE_DEVICEID" => "edge1",
            "IOTEDGE_MODULEID" => "mod1",
            "IOTEDGE_MODULEGENERATIONID" => "637000000000000000",
            "IOTEDGE_IOTHUBHOSTNAME" => "testhub.azure-devices.net",
            "IOTEDGE_GATEWAYHOSTNAME" => "gateway",
            "IOTEDGE_APIVERSION" => "2022-08-03",
            "IOTEDGE_AUTHSCHEME" => "sasToken",
            _ => return None,
        };
        Some(value.into())
    }

    #[test]
    fn a_module_is_known_by_its_variables() {
        let identity = Identity::from_variables(edge).unwrap().unwrap();
        assert_eq!(identity.client_id(), "edge1/mod1");
        // As Azure's own client for Python was seen to write them.
        let start = "testhub.azure-devices.net/edge1/mod1/?api-version=2021-04-12&DeviceClientType=hedef-edge%2F";
        assert!(identity.username().starts_with(start));
        assert_eq!(
            BASE64_STANDARD.encode(identity.to_sign(1_795_476_396)),
            "dGVzdGh1Yi5henVyZS1kZXZpY2VzLm5ldCUyRmRldmljZXMlMkZlZGdlMSUyRm1vZHVsZXMlMkZtb2QxCjE3OTU0NzYzOTY="
        );
        assert_eq!(
            identity.token(7, "a+/="),
            "SharedAccessSignature sr=testhub.azure-devices.net%2Fdevices%2Fedge1%2Fmodules%2Fmod1&sig=a%2B%2F%3D&se=7"
        );
        assert_eq!(Identity::from_variables(|_| None), Ok(None));
        let without = |gone| Identity::from_variables(move |name| if name == gone { None } else { edge(name) });
        assert_eq!(without("IOTEDGE_DEVICEID"), Err(InvalidIdentity::Missing("IOTEDGE_DEVICEID")));
        let odd = |name| if name == "IOTEDGE_MODULEID" { Some("a/b".into()) } else { edge(name) };
        assert_eq!(Identity::from_variables(odd), Err(InvalidIdentity::Name("module's id")));
    }

    #[test]
    fn a_connection_string_is_for_development() {
        let text = "HostName=h;GatewayHostName=g;DeviceId=d;ModuleId=m;SharedAccessKey=a2V5PT0=";
        let read = |text: String| {
            Identity::from_variables(move |name| (name == "EdgeHubConnectionString").then(|| text.clone()))
        };
        let identity = read(text.into()).unwrap().unwrap();
        assert_eq!((identity.gateway.as_str(), &identity.signer), ("g", &Signer::Key(b"key==".to_vec())));
        assert!(!format!("{identity:?}").contains("key"));
        assert_eq!(read("HostName=h;GatewayHostName=g".into()), Err(InvalidIdentity::NoPart("DeviceId")));
        let without_gateway = text.replace("GatewayHostName=g;", "");
        assert_eq!(read(without_gateway), Err(InvalidIdentity::NoPart("GatewayHostName")));
        assert_eq!(read(text.replace("a2V5PT0=", "?")), Err(InvalidIdentity::Key));
    }

    /// RFC 4231, test case 2.
    #[test]
    fn a_signature_is_hmac_sha256() {
        assert_eq!(sign(b"Jefe", "what do ya want for nothing?"), "W9zBRr9gdU5qBCQmCJV1x1oAPwidJzmDnexYuWTsOEM=");
    }
}
