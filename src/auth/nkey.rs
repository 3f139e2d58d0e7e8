//! The nkey of a user, and signatures of the nonce by its owner.
//!
//! nats: server/auth.go `processClientOrLeafAuthentication`; server/opts.go `parseUsers`

use std::fmt;

use data_encoding::{BASE64, BASE64URL_NOPAD};
use nkeys::{KeyPair, KeyPairType};

/// The public half of a user's Ed25519 key.
pub(super) struct PublicKey(Option<Box<KeyPair>>);

impl PublicKey {
    /// Takes `U...`, 56 characters. No signature fits an invalid public key; the configuration has
    /// refused it before.
    pub(super) fn new(key: &str) -> Self {
        let pair = KeyPair::from_public_key(key).ok();
        let users = pair.filter(|pair| matches!(pair.key_pair_type(), KeyPairType::User));
        Self(users.map(Box::new))
    }

    /// True if `sig` is the signature of `nonce` by the owner of this key: base64url without
    /// padding, or else standard base64 with it.
    pub(super) fn signed(&self, nonce: &[u8], sig: &str) -> bool {
        let Some(key) = &self.0 else { return false };
        let sig = BASE64URL_NOPAD.decode(sig.as_bytes()).or_else(|_| BASE64.decode(sig.as_bytes()));
        sig.is_ok_and(|sig| key.verify(nonce, &sig).is_ok())
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = self.0.as_ref().map(|key| key.public_key());
        f.debug_tuple("PublicKey").field(&key).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONCE: &[u8] = b"Dwvwp_3NzsCvfxY";

    #[test]
    fn the_owner_signs_in_either_base64() {
        let owner = KeyPair::new_user();
        let key = PublicKey::new(&owner.public_key());
        let sig = owner.sign(NONCE).unwrap();
        assert!(key.signed(NONCE, &BASE64URL_NOPAD.encode(&sig)));
        assert!(key.signed(NONCE, &BASE64.encode(&sig)));
        assert!(!key.signed(b"another nonce..", &BASE64URL_NOPAD.encode(&sig)));
        let other = KeyPair::new_user().sign(NONCE).unwrap();
        assert!(!key.signed(NONCE, &BASE64URL_NOPAD.encode(&other)));
        for broken in ["", "!", "aaaa", &BASE64.encode(&sig[1..])] {
            assert!(!key.signed(NONCE, broken), "{broken}");
        }
    }

    /// The real server accepted this signature of a client.
    #[test]
    fn a_signature_from_the_wire_is_taken() {
        let key = PublicKey::new("UA3M3XWP6GRYCTWSS6GAH3LP7LDN7HC6HX4CUWP27PKCCC5OPK6FW7MX");
        let sig = concat!(
            "awTd4BUr2j2g5MHv3f9taB2oiRVdXePDuLJ_XsBQNiSMldHH4PbYSCluhRUyVPgG31ZHiAAx",
            "7buYScS1-8cFBA",
        );
        assert!(key.signed(NONCE, sig));
    }

    #[test]
    fn nobody_signs_for_what_is_no_users_key() {
        let account = KeyPair::new_account();
        let sig = BASE64URL_NOPAD.encode(&account.sign(NONCE).unwrap());
        assert!(!PublicKey::new(&account.public_key()).signed(NONCE, &sig));
        assert!(!PublicKey::new("U").signed(NONCE, &sig));
    }
}
