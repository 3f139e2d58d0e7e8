//! The form of a JSON text: its keys in their order, the types of its values, and those values that
//! do not vary.

use std::collections::BTreeSet;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

/// Keys whose texts and numbers do not vary between two servers in the same scene.
const FIXED: [&str; 34] = [
    "acc",
    "account",
    "account_name",
    "account_tag",
    "accounts",
    "authorized_user",
    "code",
    "cluster",
    "conns",
    "description",
    "disabled",
    "error",
    "host",
    "is_system",
    "kind",
    "lang",
    "leafnodes",
    "limit",
    "local_subject",
    "name",
    "name_tag",
    "num_connections",
    "num_routes",
    "offset",
    "qgroup",
    "reason",
    "response_type",
    "server_name",
    "status",
    "status_code",
    "subject",
    "to",
    "type",
    "user",
];

/// The form of a value.
struct Form {
    form: String,
    /// The value itself, if it is no list or object.
    value: Option<String>,
}

/// The form of a text, or the text itself if it is no JSON.
pub(crate) fn skeleton(text: &str) -> String {
    serde_json::from_str(text).map_or_else(|_| text.to_owned(), |form: Form| form.form)
}

impl<'de> Deserialize<'de> for Form {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Form, D::Error> {
        deserializer.deserialize_any(Forming)
    }
}

struct Forming;

fn scalar<E>(form: &str, value: impl ToString) -> Result<Form, E> {
    Ok(Form { form: form.to_owned(), value: Some(value.to_string()) })
}

impl<'de> Visitor<'de> for Forming {
    type Value = Form;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Form, E> {
        scalar("null", "null")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Form, E> {
        scalar(&value.to_string(), value)
    }

    fn visit_i64<E>(self, value: i64) -> Result<Form, E> {
        scalar("number", value)
    }

    fn visit_u64<E>(self, value: u64) -> Result<Form, E> {
        scalar("number", value)
    }

    fn visit_f64<E>(self, value: f64) -> Result<Form, E> {
        scalar("number", value)
    }

    fn visit_str<E>(self, value: &str) -> Result<Form, E> {
        scalar("string", value)
    }

    /// The different forms of the items; their order and number may vary.
    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Form, A::Error> {
        let mut forms = BTreeSet::new();
        while let Some(item) = items.next_element::<Form>()? {
            forms.insert(item.form);
        }
        Ok(Form { form: format!("[{}]", Vec::from_iter(forms).join(", ")), value: None })
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Form, A::Error> {
        let mut forms = Vec::new();
        while let Some((key, Form { form, value })) = members.next_entry::<String, Form>()? {
            let value = value.filter(|_| FIXED.contains(&&*key)).unwrap_or(form);
            forms.push(format!("{key}: {value}"));
        }
        Ok(Form { form: format!("{{{}}}", forms.join(", ")), value: None })
    }
}

/// The names of the members of a document, and of the documents in it, in their order.
pub(crate) fn names(text: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find("\":") {
        let start = rest[..at].rfind('"').unwrap() + 1;
        names.push(rest[start..at].to_owned());
        rest = &rest[at + 2..];
    }
    names
}
