//! The keys of bundles, and their signatures.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::rand::{SecureRandom, SystemRandom};
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};

use super::BundleError;

const PUBLIC: &str = "hedef-public-key:";
const SECRET: &str = "hedef-secret-key:";
const SIGNATURE: &str = "hedef-signature:";

/// The points of small order, without their sign: for them, one signature can be right for many messages.
const SMALL_ORDER: [[u8; 32]; 5] = [
    [0; 32],
    starting(1, [0; 32]),
    [
        0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98, 0xf0, 0xd5, 0xdf,
        0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53, 0xfc, 0x05,
    ],
    [
        0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10, 0x67, 0x0f, 0x2a, 0x20,
        0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac, 0x03, 0x7a,
    ],
    starting(0xec, PRIME),
];

/// The bytes of the field's prime, 2^255 - 19, the lowest first.
const PRIME: [u8; 32] = {
    let mut prime = starting(0xed, [0xff; 32]);
    prime[31] = 0x7f;
    prime
};

const fn starting(first: u8, mut bytes: [u8; 32]) -> [u8; 32] {
    bytes[0] = first;
    bytes
}

/// A key that bundles are verified with.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct PublicKey([u8; 32]);

impl PublicKey {
    /// Reads `hedef-public-key:` and the base64 of 32 bytes. A key of small order, or written in another way than its own, is
    /// refused.
    pub fn parse(text: &str) -> Result<Self, BundleError> {
        let expected = "`hedef-public-key:` and the base64 of 32 bytes";
        let key: [u8; 32] = decode("a public key", text, PUBLIC, expected)?;
        let weak = |found: &str| Err(BundleError::unexpected("a public key", "one that proves something", found));
        if without_sign(key).iter().rev().ge(PRIME.iter().rev()) {
            return weak("a number beyond the field's prime");
        }
        if is_of_small_order(key) {
            return weak("a point of small order");
        }
        Ok(Self(key))
    }

    /// Reads a file of keys: one on each line, besides empty lines and those that start with `#`. There is at least one.
    pub fn parse_all(text: &str) -> Result<Vec<Self>, BundleError> {
        let lines = text.lines().map(str::trim).enumerate();
        let lines = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
        let key = |(at, line): (usize, &str)| {
            Self::parse(line).map_err(|error| match error {
                BundleError::Unexpected { place, expected, found } => {
                    BundleError::Unexpected { place: format!("line {}: {place}", at + 1), expected, found }
                }
                error => error,
            })
        };
        let keys = lines.map(key).collect::<Result<Vec<_>, _>>()?;
        if keys.is_empty() { Err(BundleError::NoKeys) } else { Ok(keys) }
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PUBLIC}{}", STANDARD.encode(self.0))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A key that bundles are signed with.
pub struct SecretKey {
    seed: [u8; 32],
    pair: Ed25519KeyPair,
}

impl SecretKey {
    /// Makes a new key.
    pub fn generate() -> Result<Self, BundleError> {
        let mut seed = [0; 32];
        SystemRandom::new().fill(&mut seed).map_err(|_| BundleError::NoRandomness)?;
        Self::from_seed(seed)
    }

    /// Reads `hedef-secret-key:` and the base64 of 32 bytes, with white space around it.
    pub fn parse(text: &str) -> Result<Self, BundleError> {
        let expected = "`hedef-secret-key:` and the base64 of 32 bytes";
        Self::from_seed(decode("a secret key", text.trim(), SECRET, expected)?)
    }

    fn from_seed(seed: [u8; 32]) -> Result<Self, BundleError> {
        // Any 32 bytes are a seed.
        let pair = Ed25519KeyPair::from_seed_unchecked(&seed);
        let pair = pair.map_err(|_| BundleError::unexpected("a secret key", "a seed of 32 bytes", "another"))?;
        Ok(Self { seed, pair })
    }

    /// The key as text, which nobody else is to see.
    #[must_use]
    pub fn to_text(&self) -> String {
        format!("{SECRET}{}", STANDARD.encode(self.seed))
    }

    /// The key that verifies what this one signs.
    #[must_use]
    pub fn public(&self) -> PublicKey {
        PublicKey(array(self.pair.public_key().as_ref()))
    }

    /// Signs the bytes of a manifest.
    #[must_use]
    pub fn sign(&self, manifest: &[u8]) -> Signature {
        Signature(array(self.pair.sign(manifest).as_ref()))
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the secret key of {}", self.public())
    }
}

/// A signature of a manifest.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Signature([u8; 64]);

impl Signature {
    /// The bytes of its text.
    pub(super) const TEXT_BYTES: usize = SIGNATURE.len() + 88;

    /// Reads `hedef-signature:` and the base64 of 64 bytes.
    pub fn parse(text: &str) -> Result<Self, BundleError> {
        decode("a signature", text, SIGNATURE, "`hedef-signature:` and the base64 of 64 bytes").map(Self)
    }
}

impl fmt::Display for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SIGNATURE}{}", STANDARD.encode(self.0))
    }
}

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Verifies that `signature` is of exactly these bytes, and by one of `keys`. Returns by which.
///
/// Strict: neither the key nor the point in the signature may be of small order, and the signature's number has to be reduced,
/// so that nobody makes another signature out of one.
pub fn verify<'k>(manifest: &[u8], signature: &Signature, keys: &'k [PublicKey]) -> Result<&'k PublicKey, BundleError> {
    if keys.is_empty() {
        return Err(BundleError::NoKeys);
    }
    let wrong = BundleError::WrongSignature { keys: keys.len() };
    if signature.0.first_chunk().is_none_or(|point| is_of_small_order(*point)) {
        return Err(wrong);
    }
    let by = |key: &&PublicKey| UnparsedPublicKey::new(&ED25519, key.0).verify(manifest, &signature.0).is_ok();
    keys.iter().find(by).ok_or(wrong)
}

fn is_of_small_order(point: [u8; 32]) -> bool {
    SMALL_ORDER.contains(&without_sign(point))
}

fn without_sign(mut point: [u8; 32]) -> [u8; 32] {
    point[31] &= 0x7f;
    point
}

/// `bytes`, of which there are `N`.
fn array<const N: usize>(bytes: &[u8]) -> [u8; N] {
    let mut array = [0; N];
    array.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
    array
}

/// Reads a line of text. What is wrong with it is told without it: it may be a secret.
fn decode<const N: usize>(place: &str, text: &str, prefix: &str, expected: &str) -> Result<[u8; N], BundleError> {
    let wrong = |found: &str| BundleError::unexpected(place, expected, found);
    let Some(base64) = text.strip_prefix(prefix) else {
        return Err(wrong(match text {
            text if text.starts_with(PUBLIC) => "a public key",
            text if text.starts_with(SECRET) => "a secret key",
            text if text.starts_with(SIGNATURE) => "a signature",
            _ => "another text",
        }));
    };
    let bytes = STANDARD.decode(base64).map_err(|_| wrong("something that is no base64"))?;
    let length = bytes.len();
    bytes.try_into().map_err(|_| wrong(&format!("{length} bytes")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(hex: &str) -> Vec<u8> {
        (0..hex.len() / 2).map(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).unwrap()).collect()
    }

    fn public(key: [u8; 32]) -> Result<PublicKey, BundleError> {
        PublicKey::parse(&format!("{PUBLIC}{}", STANDARD.encode(key)))
    }

    #[test]
    fn signatures_are_those_of_rfc_8032() {
        // Its section 7.1, tests 1 and 3.
        for (seed, key, message, signature) in [
            (
                "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
                "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
                "",
                "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
            ),
            (
                "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
                "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
                "af82",
                "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a",
            ),
        ] {
            let secret = SecretKey::from_seed(array(&bytes(seed))).unwrap();
            assert_eq!(secret.public().0.to_vec(), bytes(key));
            let signed = secret.sign(&bytes(message));
            assert_eq!(signed.0.to_vec(), bytes(signature));
            assert!(verify(&bytes(message), &signed, &[secret.public()]).is_ok());
        }
    }

    #[test]
    fn texts_come_back() {
        let secret = SecretKey::generate().unwrap();
        let again = SecretKey::parse(&format!("{}\n", secret.to_text())).unwrap();
        assert_eq!(again.public(), secret.public());
        assert_eq!(PublicKey::parse(&secret.public().to_string()).unwrap(), secret.public());
        let signature = secret.sign(b"manifest");
        assert_eq!(Signature::parse(&signature.to_string()).unwrap(), signature);
        assert_eq!(signature.to_string().len(), Signature::TEXT_BYTES);
        assert_ne!(SecretKey::generate().unwrap().public(), secret.public());
    }

    #[test]
    fn any_of_several_keys_will_do_and_no_other() {
        let [old, new, other] = [(); 3].map(|()| SecretKey::generate().unwrap());
        let file = format!("# the old one\n{}\r\n\n  {}  \n", old.public(), new.public());
        let keys = PublicKey::parse_all(&file).unwrap();
        assert_eq!(keys, [old.public(), new.public()]);
        for key in [&old, &new] {
            assert_eq!(verify(b"a", &key.sign(b"a"), &keys).unwrap(), &key.public());
        }
        let by_other = verify(b"a", &other.sign(b"a"), &keys);
        assert!(matches!(by_other, Err(BundleError::WrongSignature { keys: 2 })));
        assert!(verify(b"b", &old.sign(b"a"), &keys).is_err());
        assert!(matches!(verify(b"a", &old.sign(b"a"), &[]), Err(BundleError::NoKeys)));
    }

    #[test]
    fn texts_that_are_no_keys_are_refused_without_being_told() {
        let secret = SecretKey::generate().unwrap();
        let refused = PublicKey::parse(&secret.to_text()).unwrap_err().to_string();
        assert!(refused.ends_with("found a secret key"), "{refused}");
        let refused = SecretKey::parse(&secret.public().to_string()).unwrap_err().to_string();
        assert!(refused.ends_with("found a public key"), "{refused}");
        for text in ["", "hedef-public-key:", "hedef-public-key:AAAA", "hedef-public-key:!", " hedef-public-key:"] {
            assert!(PublicKey::parse(text).is_err(), "{text}");
        }
        assert!(matches!(PublicKey::parse_all("# none\n"), Err(BundleError::NoKeys)));
        let refused = PublicKey::parse_all("# one\nsomething").unwrap_err().to_string();
        assert!(refused.starts_with("line 2: a public key: expected"), "{refused}");
        let debug = format!("{secret:?}");
        assert!(!debug.contains(&STANDARD.encode(secret.seed)), "{debug}");
    }

    /// What strictness is for: with a key of small order, everybody's signature is right for many messages.
    #[test]
    fn keys_that_prove_nothing_are_refused() {
        let anybodys = Signature(array(&starting(1, [0; 32])));
        let sign = |mut key: [u8; 32]| {
            key[31] |= 0x80;
            key
        };
        // Zero and one again, beyond the prime.
        let beyond = [starting(0xed, PRIME), starting(0xee, PRIME)];
        for point in SMALL_ORDER.into_iter().chain(beyond).flat_map(|point| [point, sign(point)]) {
            let key = UnparsedPublicKey::new(&ED25519, point);
            let fooled = (0..100_u8).any(|message| key.verify(&[message], &anybodys.0).is_ok());
            // A sign of zero is no point for ring.
            assert!(fooled || point[31] & 0x80 != 0, "{point:x?}");
            assert!(public(point).is_err(), "{point:x?}");
        }
        assert!(public([0xff; 32]).is_err());
        assert!(public(array(SecretKey::generate().unwrap().public().0.as_slice())).is_ok());
    }

    #[test]
    fn a_signature_cannot_be_made_into_another() {
        const ORDER: [u8; 32] = [
            0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14, 0, 0, 0, 0,
            0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
        ];
        let secret = SecretKey::generate().unwrap();
        let mut signature = secret.sign(b"a");
        let mut carry = 0;
        for (to, order) in signature.0[32..].iter_mut().zip(ORDER) {
            let sum = u16::from(*to) + u16::from(order) + carry;
            *to = u8::try_from(sum & 0xff).unwrap();
            carry = sum >> 8;
        }
        assert!(verify(b"a", &signature, &[secret.public()]).is_err());
    }
}
