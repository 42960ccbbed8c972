//! Signatures of tokens, verified by `ring`: `jsonwebtoken` comes with two other stacks of cryptography to choose from, and
//! takes a third.

use jsonwebtoken::crypto::{CryptoProvider, JwtVerifier, KeyUtils};
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::signature::{self, Verifier};
use jsonwebtoken::{Algorithm, DecodingKey, DecodingKeyKind};
use ring::signature as by_ring;
use ring::signature::{RsaParameters, RsaPublicKeyComponents, UnparsedPublicKey, VerificationAlgorithm};

/// Nothing is signed here, and keys are read from their components alone.
static PROVIDER: CryptoProvider = CryptoProvider {
    signer_factory: |_, _| Err(ErrorKind::UnsupportedAlgorithm.into()),
    verifier_factory: |algorithm, key| Ok(Box::new(ByRing { algorithm: *algorithm, key: key.clone() })),
    key_utils: KeyUtils::new_unimplemented(),
};

/// Makes `jsonwebtoken` verify by `ring`, for the whole process: it has no other way to be told.
pub(super) fn by_ring() {
    // Told before, it stays so.
    let _ = PROVIDER.install_default();
}

struct ByRing {
    algorithm: Algorithm,
    key: DecodingKey,
}

impl JwtVerifier for ByRing {
    fn algorithm(&self) -> Algorithm {
        self.algorithm
    }
}

impl Verifier<Vec<u8>> for ByRing {
    fn verify(&self, message: &[u8], signature: &Vec<u8>) -> Result<(), signature::Error> {
        let plain = |algorithm: &'static dyn VerificationAlgorithm| match self.key.kind() {
            DecodingKeyKind::SecretOrDer(key) => UnparsedPublicKey::new(algorithm, key).verify(message, signature),
            DecodingKeyKind::RsaModulusExponent { .. } => Err(ring::error::Unspecified),
        };
        let rsa = |parameters: &'static RsaParameters| match self.key.kind() {
            DecodingKeyKind::RsaModulusExponent { n, e } => {
                RsaPublicKeyComponents { n, e }.verify(parameters, message, signature)
            }
            DecodingKeyKind::SecretOrDer(_) => Err(ring::error::Unspecified),
        };
        let verified = match self.algorithm {
            Algorithm::ES256 => plain(&by_ring::ECDSA_P256_SHA256_FIXED),
            Algorithm::ES384 => plain(&by_ring::ECDSA_P384_SHA384_FIXED),
            Algorithm::EdDSA => plain(&by_ring::ED25519),
            Algorithm::RS256 => rsa(&by_ring::RSA_PKCS1_2048_8192_SHA256),
            Algorithm::RS384 => rsa(&by_ring::RSA_PKCS1_2048_8192_SHA384),
            Algorithm::RS512 => rsa(&by_ring::RSA_PKCS1_2048_8192_SHA512),
            Algorithm::PS256 => rsa(&by_ring::RSA_PSS_2048_8192_SHA256),
            Algorithm::PS384 => rsa(&by_ring::RSA_PSS_2048_8192_SHA384),
            Algorithm::PS512 => rsa(&by_ring::RSA_PSS_2048_8192_SHA512),
            // Those with a shared secret: who can verify them can sign too.
            _ => Err(ring::error::Unspecified),
        };
        verified.map_err(signature::Error::from_source)
    }
}
