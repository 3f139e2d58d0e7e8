use std::path::Path;

use super::*;
use crate::config::conf;
use crate::config::options::Credential;

const NONCE: &[u8] = b"Dwvwp_3NzsCvfxY";

fn users(names: &[(&str, &str)], no_auth_user: Option<&str>) -> Options {
    let users = names.iter().map(|(user, password)| password_user(user, password, Vec::new()));
    let mut options = Options::default();
    options.authorization.login = Login::Users(users.collect());
    options.authorization.no_auth_user = no_auth_user.map(Into::into);
    options
}

fn password_user(
    user: &str,
    password: &str,
    allowed_connection_types: Vec<ConnectionType>,
) -> options::User {
    let credential = Credential::Password { user: user.into(), password: password.into() };
    options::User { allowed_connection_types, ..options::User::new(credential) }
}

fn login(login: Login) -> Authenticator {
    let mut options = Options::default();
    options.authorization.login = login;
    Authenticator::new(&options)
}

fn verdict(authenticator: &Authenticator, connect: &str) -> Verdict {
    let mut parsed = Connect::default();
    parsed.overlay(connect.as_bytes()).unwrap();
    authenticator.check(&parsed, NONCE, ConnectionType::Standard)
}

/// The user for a TCP client with this CONNECT.
fn user(authenticator: &Authenticator, connect: &str) -> Option<Identity> {
    let decided = match verdict(authenticator, connect) {
        Verdict::Pending(check) => check.run(),
        decided => decided,
    };
    match decided {
        Verdict::Admitted(user) => Some(user),
        Verdict::Refused => None,
        Verdict::Pending(_) => unreachable!("it was made"),
    }
}

/// Its name.
fn admitted(authenticator: &Authenticator, connect: &str) -> Option<String> {
    user(authenticator, connect).map(|user| user.name.map_or(String::new(), String::from))
}

fn assert_admitted(authenticator: &Authenticator, table: &[(&str, Option<&str>)]) {
    for (connect, name) in table {
        assert_eq!(admitted(authenticator, connect).as_deref(), *name, "{connect}");
    }
}

#[test]
fn without_authorization_credentials_are_ignored() {
    let open = Authenticator::new(&Options::default());
    assert!(!open.required() && !open.needs_nonce());
    assert!(open.anybody().is_some_and(|user| user.permissions.is_none()));
    assert!(open.no_auth_user(ConnectionType::Standard).is_none());
    assert_admitted(
        &open,
        &[
            ("{}", Some("")),
            (r#"{"user":"a","pass":"b"}"#, Some("a")),
            (r#"{"auth_token":"t"}"#, Some("[REDACTED]")),
            (r#"{"nkey":"U","sig":"x","user":"a"}"#, Some("U")),
            (r#"{"account":"x"}"#, None),
            (r#"{"new_account":true}"#, None),
            (r#"{"account":"","new_account":false}"#, Some("")),
        ],
    );
}

#[test]
fn a_token_admits() {
    let token = login(Login::Token("tk".into()));
    assert!(token.required() && !token.needs_nonce());
    assert_admitted(
        &token,
        &[
            (r#"{"auth_token":"tk"}"#, Some("[REDACTED]")),
            (r#"{"auth_token":"tk","user":"a","pass":"b"}"#, Some("[REDACTED]")),
            (r#"{"auth_token":"tk2"}"#, None),
            (r#"{"user":"tk","pass":"tk"}"#, None),
            ("{}", None),
        ],
    );
}

#[test]
fn a_single_user_admits() {
    let single = login(Login::Single { user: "a".into(), password: "sekret".into() });
    assert!(single.required());
    assert_admitted(
        &single,
        &[
            (r#"{"user":"a","pass":"sekret"}"#, Some("a")),
            (r#"{"user":"a","pass":"bad"}"#, None),
            (r#"{"user":"b","pass":"sekret"}"#, None),
            (r#"{"pass":"sekret"}"#, None),
            (r#"{"auth_token":"sekret"}"#, None),
            (r#"{"user":"a"}"#, None),
            ("{}", None),
        ],
    );
}

#[test]
fn users_admit_by_password() {
    let authenticator = Authenticator::new(&users(&[("a", "x"), ("nopass", "")], None));
    assert!(authenticator.required() && !authenticator.needs_nonce());
    assert_admitted(
        &authenticator,
        &[
            (r#"{"user":"a","pass":"x"}"#, Some("a")),
            (r#"{"user":"a","pass":"x","auth_token":"y"}"#, Some("a")),
            // No user has an nkey, so that of the client is not looked at.
            (r#"{"user":"a","pass":"x","nkey":"U","sig":"z"}"#, Some("a")),
            (r#"{"user":"a","pass":"x","account":"A"}"#, None),
            (r#"{"user":"a"}"#, None),
            (r#"{"user":"nopass"}"#, Some("nopass")),
            (r#"{"user":"nopass","pass":"y"}"#, None),
            (r#"{"user":"b","pass":"x"}"#, None),
            ("{}", None),
        ],
    );
    assert_eq!(admitted(&Authenticator::new(&users(&[], None)), "{}"), None);
}

#[test]
fn no_auth_user_is_for_those_without_credentials() {
    let authenticator = Authenticator::new(&users(&[("a", "x"), ("b", "y")], Some("a")));
    assert!(authenticator.has_no_auth_user() && authenticator.anybody().is_none());
    let anonymous = authenticator.no_auth_user(ConnectionType::Standard).unwrap();
    assert_eq!(anonymous.name.as_deref(), Some("a"));
    assert_admitted(
        &authenticator,
        &[
            ("{}", Some("a")),
            (r#"{"user":"","pass":""}"#, Some("a")),
            (r#"{"jwt":"x","sig":"x"}"#, Some("a")),
            (r#"{"user":"b","pass":"y"}"#, Some("b")),
            (r#"{"user":"a"}"#, None),
            (r#"{"user":"b"}"#, None),
            (r#"{"pass":"x"}"#, None),
            (r#"{"auth_token":"x"}"#, None),
        ],
    );
}

#[test]
fn a_no_auth_user_with_bcrypt_password_works() {
    let hash = "$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW";
    let authenticator = Authenticator::new(&users(&[("a", hash), ("b", "y")], Some("a")));
    let pending = |connect| matches!(verdict(&authenticator, connect), Verdict::Pending(_));
    assert!(pending(r#"{"user":"a","pass":"bad"}"#), "only a hash takes long");
    assert!(!pending(r#"{"user":"b","pass":"bad"}"#) && !pending(r#"{"user":"c"}"#));
    assert!(!pending("{}"));
    let anonymous = authenticator.no_auth_user(ConnectionType::Standard).unwrap();
    assert_eq!(anonymous.name.as_deref(), Some("a"));
    assert_admitted(
        &authenticator,
        &[
            ("{}", Some("a")),
            (r#"{"user":"a","pass":"U*U"}"#, Some("a")),
            (r#"{"user":"a","pass":"bad"}"#, None),
        ],
    );
    assert_eq!(admitted(&authenticator, &format!(r#"{{"user":"a","pass":"{hash}"}}"#)), None);
}

#[test]
fn nkeys_go_before_passwords() {
    let owner = nkeys::KeyPair::new_user();
    let key = owner.public_key();
    let sig = data_encoding::BASE64URL_NOPAD.encode(&owner.sign(NONCE).unwrap());
    let mut options = users(&[("a", "x")], None);
    let Login::Users(users) = &mut options.authorization.login else { unreachable!() };
    users.push(options::User::new(Credential::Nkey(key.clone())));
    let authenticator = Authenticator::new(&options);
    assert!(authenticator.needs_nonce() && authenticator.required());
    assert_admitted(
        &authenticator,
        &[
            (&format!(r#"{{"nkey":"{key}","sig":"{sig}"}}"#), Some(&key)),
            (&format!(r#"{{"nkey":"{key}"}}"#), None),
            (&format!(r#"{{"nkey":"{key}","sig":"AAAA"}}"#), None),
            (&format!(r#"{{"user":"{key}","pass":"","sig":"{sig}"}}"#), None),
            (r#"{"user":"a","pass":"x"}"#, Some("a")),
            (r#"{"nkey":"x","user":"a","pass":"x"}"#, None),
            (r#"{"nkey":"a","pass":"x"}"#, None),
            ("{}", None),
        ],
    );

    options.authorization.no_auth_user = Some(key.clone());
    let authenticator = Authenticator::new(&options);
    assert!(authenticator.no_auth_user(ConnectionType::Standard).is_none());
    assert_admitted(
        &authenticator,
        &[
            ("{}", Some(&key)),
            (&format!(r#"{{"nkey":"{key}"}}"#), Some(&key)),
            (r#"{"nkey":"x"}"#, None),
            (r#"{"auth_token":"x"}"#, None),
        ],
    );
}

#[test]
fn connection_types_restrict_users() {
    let mut options = users(&[], Some("ws"));
    let allowed = vec![ConnectionType::Websocket, ConnectionType::InProcess];
    options.authorization.login = Login::Users(vec![
        password_user("ws", "x", allowed),
        password_user("std", "x", vec![ConnectionType::Standard]),
    ]);
    let authenticator = Authenticator::new(&options);
    assert_admitted(
        &authenticator,
        &[
            (r#"{"user":"ws","pass":"x"}"#, None),
            (r#"{"user":"std","pass":"x"}"#, Some("std")),
            ("{}", None),
        ],
    );
    assert!(authenticator.no_auth_user(ConnectionType::Standard).is_none());
    assert!(authenticator.no_auth_user(ConnectionType::InProcess).is_some());
}

#[test]
fn connections_of_a_user_share_its_permissions() {
    let mut options = users(&[("a", "x")], Some("a"));
    let Login::Users(users) = &mut options.authorization.login else { unreachable!() };
    users[0].permissions = Some(Box::default());
    let authenticator = Authenticator::new(&options);
    let permissions = |user: Option<Identity>| user.and_then(|user| user.permissions).unwrap();
    let one = permissions(authenticator.no_auth_user(ConnectionType::Standard));
    let other = permissions(authenticator.no_auth_user(ConnectionType::Standard));
    assert!(Arc::ptr_eq(&one, &other));
}

/// The comments of `conf/auth.conf` describe the permissions of each of its users.
#[test]
fn the_example_does_what_it_says() {
    let file = |_: &Path| Ok(include_str!("../../conf/auth.conf").to_owned());
    let sources = conf::Sources { file: &file, environment: &|_| None };
    let mut options = Options::default();
    assert_eq!(conf::load(Path::new("auth.conf"), sources, &mut options), Ok(Vec::new()));
    let authenticator = Authenticator::new(&options);
    assert!(authenticator.needs_nonce() && authenticator.has_no_auth_user());

    let permissions = |connect: &str| user(&authenticator, connect).unwrap().permissions.unwrap();
    let operator = permissions(r#"{"user":"operator","pass":"change-me"}"#);
    assert!(operator.can_publish(b"x") && operator.can_subscribe(b">", None));

    let sensor = permissions(r#"{"user":"sensor","pass":"change-me"}"#);
    assert!(sensor.can_publish(b"sensors.7.heat") && !sensor.can_publish(b"sensors.7.config"));
    assert!(sensor.can_subscribe(b"commands.7.*", None));
    assert!(!sensor.can_subscribe(b"commands.*.*", None));

    let dashboard = permissions(r#"{"user":"dashboard","pass":"change-me"}"#);
    assert!(dashboard.can_subscribe(b">", None) && dashboard.filters(b">", None) > 0);
    assert!(!dashboard.can_deliver(b"sensors.7.config", None));

    let worker = permissions(r#"{"user":"worker","pass":"change-me"}"#);
    assert!(worker.can_subscribe(b"requests.>", Some(b"workers")));
    assert!(!worker.can_subscribe(b"requests.>", None) && !worker.can_publish(b"_INBOX.1"));
    let mut replies = worker.replies().unwrap();
    replies.open(b"_INBOX.1", 0);
    assert_eq!([(); 3].map(|()| replies.take(b"_INBOX.1", 1)), [true, true, false]);

    let guest = permissions("{}");
    assert!(guest.can_publish(b"public.x") && !guest.can_publish(b"private"));
    assert!(guest.can_subscribe(b"_INBOX.>", None) && !guest.can_subscribe(b">", None));
}
