//! `About`: the options of a connection's CONNECT, for monitoring and logs.
//!
//! A connection keeps it as [`Packed`], in one small allocation, which unpacks to an [`About`].
//! nats: server/client.go `processConnect`

use std::borrow::Cow;

use triomphe::ThinArc;

use crate::auth::TOKEN_NAME;
use crate::base::limits::GLOBAL_ACCOUNT;

/// The options of a connection's CONNECT, and of its upgrade to WebSocket, for monitoring and logs.
/// No field is ever empty text.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct About {
    /// `name` of CONNECT.
    pub name: Option<Box<str>>,
    /// `lang` of CONNECT.
    pub lang: Option<Box<str>>,
    /// `version` of CONNECT.
    pub version: Option<Box<str>>,
    /// The user that it has proved to be.
    pub user: Option<Box<str>>,
    /// Name of its account; none means the global one.
    pub account: Option<Box<str>>,
    /// Address of the client, from the proxy in front of this server.
    pub forwarded: Option<Box<str>>,
    /// Its name in logs from before this CONNECT, if that is not the first: logs keep it.
    pub named: Option<Label>,
}

/// The name of a connection in logs, after its address and number; parts may be missing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Label {
    /// `v1.0:go:name`.
    pub client: Option<String>,
    /// `ACCOUNT/user:NAME`, `ACCOUNT/nkey:KEY` or `ACCOUNT/token`.
    pub account: Option<String>,
}

/// An [`About`] in one allocation: the lengths of the first four texts, then these; 0 for none.
/// Then account and forwarded address, each after its length, as far as they or later parts are
/// there. Then the earlier name, if there is one: the length of the label's `client`, and the
/// label's texts.
pub(super) struct Packed(ThinArc<[u32; 4], u8>);

impl About {
    /// Name of its account.
    pub fn account(&self) -> &str {
        self.account.as_deref().unwrap_or(GLOBAL_ACCOUNT)
    }

    /// Its name in logs.
    pub fn label(&self) -> Label {
        if let Some(named) = &self.named {
            return named.clone();
        }
        let version = self.version.as_ref().map(|version| format!("v{version}"));
        let parts = [version.as_deref(), self.lang.as_deref(), self.name.as_deref()];
        let known: Vec<&str> = parts.into_iter().flatten().collect();
        Label {
            client: (!known.is_empty()).then(|| known.join(":")),
            account: self.user.as_ref().map(|user| format!("{}/{}", self.account(), proven(user))),
        }
    }
}

/// The name of a user in logs, by its proof.
///
/// nats: server/client.go `getAuthUserLabel`
fn proven(user: &str) -> String {
    match user {
        TOKEN_NAME => "token".to_owned(),
        nkey if nkey.len() == NKEY_LEN && nkey.starts_with('U') => format!("nkey:{nkey}"),
        name => format!("user:{name}"),
    }
}

/// Characters of a public nkey; a user's begins with `U`.
const NKEY_LEN: usize = 56;

impl Packed {
    /// Packs it; `None` if nothing is known.
    pub(super) fn new(about: &About) -> Option<Packed> {
        let About { name, lang, version, user, account, forwarded, named } = about;
        let texts = [name, lang, version, user].map(|text| text.as_deref().unwrap_or_default());
        let mut all = texts.concat().into_bytes();
        let mut extend = |first: &str, rest: &str| {
            all.extend((first.len() as u32).to_ne_bytes());
            all.extend([first, rest].concat().into_bytes());
        };
        let has_second = forwarded.is_some() || named.is_some();
        for (text, follows) in [(account, account.is_some() || has_second), (forwarded, has_second)]
        {
            if follows {
                extend(text.as_deref().unwrap_or_default(), "");
            }
        }
        if let Some(Label { client, account }) = named {
            let [client, account] = [client, account].map(|t| t.as_deref().unwrap_or_default());
            extend(client, account);
        }
        let lens = texts.map(|text| text.len() as u32);
        (!all.is_empty()).then(|| Packed(ThinArc::from_header_and_slice(lens, &all)))
    }

    /// Unpacks it.
    pub(super) fn about(&self) -> About {
        let mut rest = &self.0.slice;
        let [name, lang, version, user] = self.0.header.header.map(|len| {
            let (text, after) = rest.split_at(len as usize);
            rest = after;
            text_of(text)
        });
        let (account, rest) = split(rest).unwrap_or_default();
        let (forwarded, rest) = split(rest).unwrap_or_default();
        let named = split(rest)
            .map(|(client, account)| Label { client: text_of(client), account: text_of(account) });
        let (account, forwarded) = (text_of(account), text_of(forwarded));
        About { name, lang, version, user, account, forwarded, named }
    }
}

/// A text after its length, and the rest.
fn split(packed: &[u8]) -> Option<(&[u8], &[u8])> {
    let (len, texts) = packed.split_first_chunk()?;
    Some(texts.split_at(u32::from_ne_bytes(*len) as usize))
}

/// A packed text; the empty one stands for none.
fn text_of<T: for<'a> From<Cow<'a, str>>>(packed: &[u8]) -> Option<T> {
    (!packed.is_empty()).then(|| String::from_utf8_lossy(packed).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_packed_comes_back() {
        let text = |text: &str| (!text.is_empty()).then(|| text.into());
        for [name, lang, version, user, account] in
            [["é", "go", "1.49.0", "u", ""], ["", "", "", "u", "A"], ["n", "", "1", "", ""]]
        {
            let (name, lang, version) = (text(name), text(lang), text(version));
            let (user, account) = (text(user), text(account));
            let about = About { name, lang, version, user, account, ..About::default() };
            assert_eq!(Packed::new(&about).unwrap().about(), about);
            let about = About { forwarded: text("1.2.3.4"), ..about };
            assert_eq!(Packed::new(&about).unwrap().about(), about);
            let label = about.label();
            let later = About { version: text("2"), named: Some(label.clone()), ..about };
            let later = Packed::new(&later).unwrap().about();
            assert_eq!((later.label(), later.version.as_deref()), (label, Some("2")));
        }
        let nameless = About { named: Some(Label::default()), ..About::default() };
        assert_eq!(Packed::new(&nameless).unwrap().about(), nameless);
        assert!(Packed::new(&About::default()).is_none());
    }
}
