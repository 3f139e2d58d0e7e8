//! `Digest`: a hash of all options that imports are compiled from.

use std::hash::Hash;

use crate::base::sha256::Sha256Writer;
use crate::config::options::Options;

/// SHA-256 over all options that imports are compiled from: options with the same one have the same
/// imports, those of the system account's services included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Digest([u8; 32]);

impl Digest {
    pub(super) fn new(options: &Options) -> Digest {
        let mut writer = Sha256Writer::default();
        options.system_account().hash(&mut writer);
        options.no_system_account.hash(&mut writer);
        options.accounts.len().hash(&mut writer);
        for account in &options.accounts {
            (&account.name, &account.exports, &account.imports).hash(&mut writer);
        }
        options.accounts_with_jetstream().for_each(|name| name.hash(&mut writer));
        Digest(writer.digest())
    }
}
