//! `$SYS.REQ.USER.INFO`: the user of the requesting client, and its permissions.
//!
//! nats: server/events.go `userInfoReq`; server/client.go `publicPermissions`

use serde::Serialize;

use crate::config::options;
use crate::monitor::json::Document;
use crate::system::request::Importer;

/// The document, in the real server's order.
#[derive(Default, Serialize)]
struct UserInfo<'a> {
    user: Box<str>,
    account: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    account_name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    permissions: Option<Permissions>,
}

/// The permissions; without them it may do everything.
#[derive(Serialize)]
struct Permissions {
    publish: SubjectPermission,
    subscribe: SubjectPermission,
    #[serde(skip_serializing_if = "Option::is_none")]
    responses: Option<Responses>,
}

#[derive(Serialize)]
struct SubjectPermission {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    allow: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    deny: Vec<String>,
}

#[derive(Serialize)]
struct Responses {
    max: i64,
    /// Nanoseconds.
    ttl: i64,
}

/// The answer of the service: it knows only those who ask by the import of their account.
pub(super) fn user_info<'a>(importer: Option<&Importer<'a>>) -> Box<dyn Document + 'a> {
    Box::new(importer.map(UserInfo::of).unwrap_or_default())
}

impl<'a> UserInfo<'a> {
    fn of(Importer { account, conn }: &Importer<'a>) -> UserInfo<'a> {
        UserInfo {
            user: conn.about().user.unwrap_or_default(),
            account: &account.name,
            account_name: &account.name,
            permissions: conn.permissions().map(|own| own.to_options().into()),
        }
    }
}

impl From<options::Permissions> for Permissions {
    fn from(permissions: options::Permissions) -> Permissions {
        let options::Permissions { publish, subscribe, allow_responses } = permissions;
        Permissions {
            publish: publish.into(),
            subscribe: subscribe.into(),
            responses: allow_responses.map(Responses::from),
        }
    }
}

impl From<options::SubjectPermission> for SubjectPermission {
    fn from(options::SubjectPermission { allow, deny }: options::SubjectPermission) -> Self {
        SubjectPermission { allow: allow.unwrap_or_default(), deny }
    }
}

impl From<options::AllowResponses> for Responses {
    fn from(options::AllowResponses { max, expires }: options::AllowResponses) -> Responses {
        let nanos = |span: std::time::Duration| i64::try_from(span.as_nanos()).unwrap_or(i64::MAX);
        Responses { max, ttl: expires.map_or(-1, nanos) }
    }
}
