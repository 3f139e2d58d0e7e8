//! The options of a client's CONNECT.
//!
//! Knows nothing of the effect of the options, nor of the right credentials.
//! nats: server/client.go `ClientOpts`, `processConnect`

mod route;

use std::fmt;

use serde::Serialize;

use crate::codec::info::is_default;
use crate::codec::json::{JsonError, Reader};

pub use route::RouteConnect;

/// The requests of a client. Absent options keep their value, so a second CONNECT overlays the
/// first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Connect {
    /// Answer `+OK` to each accepted verb.
    pub verbose: bool,
    /// Check the subjects of publications.
    pub pedantic: bool,
    /// Deliver own publications to own subscriptions.
    pub echo: bool,
    /// Takes and sends HPUB and HMSG.
    pub headers: bool,
    /// Wants a 503 message if a request has no subscriber.
    pub no_responders: bool,
    /// Informational: the client wants TLS.
    pub tls_required: bool,
    /// Once asked for a sandbox account; refused.
    #[serde(skip_serializing_if = "is_default")]
    pub new_account: bool,
    /// 1: takes INFO at any time. Servers refuse other values than 0 and 1.
    pub protocol: i64,
    /// Free text, shown in monitoring.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<Box<str>>,
    /// Language of the client library.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lang: Option<Box<str>>,
    /// Version of the client library.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<Box<str>>,
    /// Once named an account; refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub account: Option<Box<str>>,
    /// Boxed apart, so that they can be dropped after the check.
    #[serde(flatten)]
    pub credentials: Option<Box<Credentials>>,
}

/// Proof of the client's identity. No field is ever empty text.
#[derive(Clone, Default, PartialEq, Eq, Serialize)]
pub struct Credentials {
    /// User name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<Box<str>>,
    /// Password of `user`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pass: Option<Box<str>>,
    /// Token in place of user and password.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auth_token: Option<Box<str>>,
    /// Public user nkey.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nkey: Option<Box<str>>,
    /// The server's nonce signed with the nkey, base64url.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sig: Option<Box<str>>,
    /// User JWT.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jwt: Option<Box<str>>,
    /// The nonce signed by a trusted proxy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proxy_sig: Option<Box<str>>,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials(..)")
    }
}

impl Default for Connect {
    /// The values before the first CONNECT, and of keys absent from it.
    fn default() -> Self {
        Self {
            verbose: true,
            pedantic: true,
            echo: true,
            headers: false,
            no_responders: false,
            tls_required: false,
            new_account: false,
            protocol: 0,
            name: None,
            lang: None,
            version: None,
            account: None,
            credentials: None,
        }
    }
}

impl Connect {
    /// Lays the options in `json`, the argument of CONNECT without its line end, over these.
    ///
    /// # Errors
    /// [`JsonError`] if it is not JSON, or a known option has a value of the wrong type. Some
    /// options may be changed by then: the connection is to be closed.
    pub fn overlay(&mut self, json: &[u8]) -> Result<(), JsonError> {
        let mut reader = Reader::new(json);
        if !reader.take_null()? {
            reader.object(|reader, key| self.overlay_option(key, reader))?;
        }
        reader.end()
    }

    fn overlay_option(&mut self, key: &str, reader: &mut Reader<'_>) -> Result<(), JsonError> {
        match key {
            "verbose" => reader.overlay_bool(&mut self.verbose),
            "pedantic" => reader.overlay_bool(&mut self.pedantic),
            "echo" => reader.overlay_bool(&mut self.echo),
            "headers" => reader.overlay_bool(&mut self.headers),
            "no_responders" => reader.overlay_bool(&mut self.no_responders),
            "tls_required" => reader.overlay_bool(&mut self.tls_required),
            "new_account" => reader.overlay_bool(&mut self.new_account),
            "protocol" => reader.overlay_number(&mut self.protocol, "int"),
            "name" => reader.overlay_text(&mut self.name),
            "lang" => reader.overlay_text(&mut self.lang),
            "version" => reader.overlay_text(&mut self.version),
            "account" => reader.overlay_text(&mut self.account),
            "user" => reader.overlay_text(&mut self.credentials_mut().user),
            "pass" => reader.overlay_text(&mut self.credentials_mut().pass),
            "auth_token" => reader.overlay_text(&mut self.credentials_mut().auth_token),
            "nkey" => reader.overlay_text(&mut self.credentials_mut().nkey),
            "sig" => reader.overlay_text(&mut self.credentials_mut().sig),
            "jwt" => reader.overlay_text(&mut self.credentials_mut().jwt),
            "proxy_sig" => reader.overlay_text(&mut self.credentials_mut().proxy_sig),
            // Options of routes and leafnodes: without effect, but their types are checked.
            "remote_account" => reader.overlay_text(&mut None),
            "import" | "export" => check_subject_permission(reader),
            _ => reader.skip(),
        }
    }

    fn credentials_mut(&mut self) -> &mut Credentials {
        self.credentials.get_or_insert_default()
    }
}

/// Takes `{"allow":[..],"deny":[..]}`.
fn check_subject_permission(reader: &mut Reader<'_>) -> Result<(), JsonError> {
    if reader.take_null()? {
        return Ok(());
    }
    reader.object(|reader, key| match key {
        "allow" | "deny" => reader.overlay_strings(&mut Vec::new()),
        _ => reader.skip(),
    })
}

/// Fuzz body: any bytes give options or an error inside the bytes; options read back the same once
/// written; and any JSON of serde_json is JSON here.
///
/// # Panics
/// If one of these does not hold.
#[cfg(any(test, feature = "fuzz"))]
pub fn fuzz_connect(json: &[u8]) {
    let mut connect = Connect::default();
    match connect.overlay(json) {
        Err(err) => assert!(err.at <= json.len(), "{err} lies outside"),
        Ok(()) => {
            let written = serde_json::to_vec(&connect).expect("options are plain data");
            let mut again = Connect::default();
            assert_eq!(again.overlay(&written), Ok(()));
            if connect.credentials.as_deref() == Some(&Credentials::default()) {
                connect.credentials = None;
            }
            assert_eq!(again, connect);
        }
    }
    if serde_json::from_slice::<serde::de::IgnoredAny>(json).is_ok() {
        let mut reader = Reader::new(json);
        assert_eq!(reader.skip().and_then(|()| reader.end()), Ok(()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: impl AsRef<[u8]>) -> Option<Connect> {
        let mut connect = Connect::default();
        connect.overlay(json.as_ref()).ok().map(|()| connect)
    }

    fn name(json: impl AsRef<[u8]>) -> String {
        read(json).unwrap().name.unwrap_or_default().into()
    }

    #[test]
    fn nothing_asked_for_is_verbose_pedantic_and_echoed() {
        for json in ["{}", " { } ", "null", "\tnull ", r#"{"verbose":null,"":1}"#] {
            assert_eq!(read(json), Some(Connect::default()), "{json}");
        }
    }

    #[test]
    fn each_option_has_its_place() {
        let connect = read(
            r#"{"verbose":false,"pedantic":false,"echo":false,"headers":true,"no_responders":true,
            "tls_required":true,"new_account":true,"protocol":1,"name":"n","lang":"l",
            "version":"v","account":"a","user":"u","pass":"p","auth_token":"t","nkey":"k",
            "sig":"s","jwt":"j","proxy_sig":"x"}"#,
        );
        let text = |text: &str| Some(text.into());
        let credentials = Credentials {
            user: text("u"),
            pass: text("p"),
            auth_token: text("t"),
            nkey: text("k"),
            sig: text("s"),
            jwt: text("j"),
            proxy_sig: text("x"),
        };
        let expected = Connect {
            verbose: false,
            pedantic: false,
            echo: false,
            headers: true,
            no_responders: true,
            tls_required: true,
            new_account: true,
            protocol: 1,
            name: text("n"),
            lang: text("l"),
            version: text("v"),
            account: text("a"),
            credentials: Some(Box::new(credentials)),
        };
        assert_eq!(connect, Some(expected));
    }

    #[test]
    fn a_second_connect_overlays_the_first() {
        let mut connect = read(r#"{"verbose":false,"name":"a","user":"u","lang":"l"}"#).unwrap();
        connect.overlay(br#"{"pedantic":false,"name":"b","lang":"","user":null}"#).unwrap();
        assert!(!connect.verbose && !connect.pedantic && connect.echo);
        assert_eq!(connect.name.as_deref(), Some("b"));
        assert_eq!(connect.lang, None);
        assert_eq!(connect.credentials.unwrap().user.as_deref(), Some("u"));
    }

    #[test]
    fn keys_match_in_any_case_and_the_last_wins() {
        assert!(!read(r#"{"VerBose":false}"#).unwrap().verbose);
        assert!(!read(r#"{"ver\u0062ose":false}"#).unwrap().verbose);
        assert!(!read("{\"verbo\u{17f}e\":false}").unwrap().verbose);
        assert_eq!(read("{\"n\u{212a}ey\":\"k\"}"), read(r#"{"nkey":"k"}"#));
        assert_eq!(name(r#"{"name":"x","NAME":"y"}"#), "y");
        assert_eq!(name(r#"{"name":"x","name":null}"#), "x");
        assert_eq!(name(r#"{"name":"x","name":""}"#), "");
    }

    /// Each line was sent to the real server, which accepted it.
    #[test]
    fn what_the_real_server_takes() {
        for json in [
            r#"{"protocol":-0}"#,
            r#"{"protocol":9223372036854775807}"#,
            r#"{"foo":{"a":[1,2,{"b":null}],"c":1e5,"d":-0.1E+3},"e":[],"f":{}}"#,
            r#"{"import":{"Allow":["a",null],"x":1},"export":null}"#,
            r#"{"tlsrequired":5}"#,
        ] {
            assert!(read(json).is_some(), "{json}");
        }
        assert!(read(b"{\"x\xff\":\"a\"}").is_some());
        let deep = format!(r#"{{"foo":{}{}}}"#, "[".repeat(1500), "]".repeat(1500));
        assert!(read(deep).is_some());
    }

    /// Each line was sent to the real server, which closed the connection.
    #[test]
    fn what_the_real_server_refuses() {
        for json in [
            "",
            "[]",
            "5",
            "true",
            r#""x""#,
            "{",
            "{} {}",
            "{}}",
            "{} x",
            "nul",
            "{'a':1}",
            "{a:1}",
            r#"{"a"}"#,
            r#"{"a":}"#,
            r#"{"a":1,}"#,
            r#"{,"a":1}"#,
            r#"{"a":[1,]}"#,
            r#"{"a":[1}"#,
            r#"{"a":01}"#,
            r#"{"a":1.}"#,
            r#"{"a":.1}"#,
            r#"{"a":+1}"#,
            r#"{"a":-}"#,
            r#"{"a":1e}"#,
            r#"{"a":tru}"#,
            r#"{"a":NaN}"#,
            r#"{"verbose":0}"#,
            r#"{"verbose":"false"}"#,
            r#"{"protocol":1.0}"#,
            r#"{"protocol":1e0}"#,
            r#"{"protocol":01}"#,
            r#"{"protocol":"1"}"#,
            r#"{"protocol":99999999999999999999}"#,
            r#"{"name":5}"#,
            r#"{"name":true}"#,
            r#"{"name":{"a":1}}"#,
            r#"{"name":"a\qb"}"#,
            r#"{"name":"a\u12G4"}"#,
            "{\"name\":\"a\tb\"}",
            "{\"name\":\"a\0b\"}",
            r#"{"name":"a"#,
            r#"{"name":"a\"#,
            r#"{"headers":1}"#,
            r#"{"new_account":5}"#,
            r#"{"jwt":5}"#,
            r#"{"remote_account":5}"#,
            r#"{"import":"x"}"#,
            r#"{"import":{"allow":"a"}}"#,
            r#"{"import":{"allow":["a",1]}}"#,
            r#"{"export":{"deny":{}}}"#,
            "\u{feff}{}",
        ] {
            assert_eq!(read(json), None, "{json}");
        }
        let deep = format!(r#"{{"foo":{}{}}}"#, "[".repeat(10_001), "]".repeat(10_001));
        assert_eq!(read(deep), None);
    }

    /// The names were read back from the real server's `/connz`.
    #[test]
    fn what_is_no_text_becomes_replacement_characters() {
        assert_eq!(name(r#"{"name":"\u00e9\n\t\/\"\\"}"#), "é\n\t/\"\\");
        assert_eq!(name(r#"{"name":"a\ud83d\ude00b"}"#), "a😀b");
        assert_eq!(name(r#"{"name":"a\ud800b"}"#), "a\u{fffd}b");
        assert_eq!(name(r#"{"name":"a\ud800\u0041"}"#), "a\u{fffd}A");
        assert_eq!(name(r#"{"name":"a\ud800\ud800\udc00"}"#), "a\u{fffd}\u{10000}");
        assert_eq!(name(b"{\"name\":\"a\xffb\xe2\x82z\"}"), "a\u{fffd}b\u{fffd}\u{fffd}z");
        assert_eq!(name(b"{\"name\":\"\xed\xa0\x80\"}"), "\u{fffd}\u{fffd}\u{fffd}");
    }

    #[test]
    fn credentials_do_not_show_in_logs() {
        let connect = read(r#"{"user":"u","pass":"secret"}"#).unwrap();
        assert!(!format!("{connect:?}").contains("secret"));
    }

    #[test]
    fn fuzz_corpus_and_its_mutations() {
        crate::base::fuzzing::run("connect", 16_000, fuzz_connect, |random, corpus| {
            let mut json = random.choice(corpus).unwrap().clone();
            for _ in 0..random.usize(1..4) {
                let at = random.usize(..json.len());
                match random.u8(..4) {
                    0 => json[at] = random.u8(..),
                    1 => json[at] = *random.choice(b"{}[]\",:u0-e").unwrap(),
                    2 => json.insert(at, *random.choice(b"{}[]\",:u0-e").unwrap()),
                    _ => json.truncate(at + 1),
                }
            }
            json
        });
    }
}
