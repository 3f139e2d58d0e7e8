//! `DistinguishedName`: the subject of a certificate as a list of attributes, and the name of a
//! user that says the same.
//!
//! Not supported: values in hexadecimal BER (`#...`) and attributes without a known name.
//! nats: internal/ldap/dn.go

/// A list of parts, the most specific first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DistinguishedName(Vec<Part>);

/// The attributes of one part, usually a single one.
#[derive(Debug, Clone, Default)]
struct Part(Vec<Attribute>);

#[derive(Debug, Clone, Default)]
struct Attribute {
    /// Such as `CN`, in any case.
    name: Vec<u8>,
    value: Vec<u8>,
}

impl PartialEq for Attribute {
    fn eq(&self, other: &Attribute) -> bool {
        self.name.eq_ignore_ascii_case(&other.name) && self.value == other.value
    }
}

impl PartialEq for Part {
    /// The order of attributes does not matter.
    fn eq(&self, other: &Part) -> bool {
        let has_all = |a: &Part, b: &Part| b.0.iter().all(|attribute| a.0.contains(attribute));
        self.0.len() == other.0.len() && has_all(self, other) && has_all(other, self)
    }
}

impl Eq for Part {}

impl DistinguishedName {
    /// A name of these parts, each with the names and values of its attributes.
    pub fn new<'a>(parts: impl IntoIterator<Item = Vec<(&'a str, &'a str)>>) -> DistinguishedName {
        let part = |attributes: Vec<(&str, &str)>| {
            Part(attributes.into_iter().map(|(name, value)| Attribute::new(name, value)).collect())
        };
        DistinguishedName(parts.into_iter().map(part).collect())
    }

    /// Reads text such as `CN=bob, OU=a+OU=b, O=Acme\, Inc`. None if it is no such name.
    pub fn parse(text: &str) -> Option<DistinguishedName> {
        let (mut parts, mut part) = (Vec::new(), Part::default());
        let mut attribute = Attribute::default();
        let mut word = Word::default();
        let mut rest = text.as_bytes();
        while let Some((&byte, after)) = rest.split_first() {
            rest = after;
            match byte {
                b'\\' => {
                    let (escaped, after) = unescape(rest)?;
                    word.push(escaped);
                    rest = after;
                }
                b'=' if rest.first() == Some(&b'#') => return None,
                b'=' => attribute.name = word.take(),
                b',' | b'+' => {
                    part.add(&mut attribute, &mut word)?;
                    if byte == b',' {
                        parts.push(std::mem::take(&mut part));
                    }
                }
                b' ' => word.push_blank(),
                byte => word.push(byte),
            }
        }
        if !word.bytes.is_empty() {
            part.add(&mut attribute, &mut word)?;
            parts.push(part);
        }
        Some(DistinguishedName(parts))
    }

    /// True if both have the same parts, in any order.
    pub fn has_same_parts(&self, other: &DistinguishedName) -> bool {
        let mut left: Vec<&Part> = other.0.iter().collect();
        self.0.len() == left.len()
            && self.0.iter().all(|part| {
                let found = left.iter().position(|other| *other == part);
                found.map(|at| left.swap_remove(at)).is_some()
            })
    }
}

impl Attribute {
    fn new(name: &str, value: &str) -> Attribute {
        Attribute { name: name.into(), value: value.into() }
    }
}

impl Part {
    /// Adds the attribute whose value ends here; none if it has no name.
    fn add(&mut self, attribute: &mut Attribute, value: &mut Word) -> Option<()> {
        let Attribute { name, .. } = std::mem::take(attribute);
        let named = !name.is_empty();
        named.then(|| self.0.push(Attribute { name, value: value.take() }))
    }
}

/// A name or value while it is read: blanks around it do not belong to it, unless they are escaped.
#[derive(Default)]
struct Word {
    bytes: Vec<u8>,
    /// Blanks at its end.
    blanks: usize,
}

impl Word {
    fn push(&mut self, byte: u8) {
        self.bytes.push(byte);
        self.blanks = 0;
    }

    fn push_blank(&mut self) {
        if !self.bytes.is_empty() {
            self.bytes.push(b' ');
            self.blanks += 1;
        }
    }

    fn take(&mut self) -> Vec<u8> {
        let Word { mut bytes, blanks } = std::mem::take(self);
        bytes.truncate(bytes.len() - blanks);
        bytes
    }
}

/// The byte behind a backslash, which may be two hexadecimal digits, and the rest.
fn unescape(rest: &[u8]) -> Option<(u8, &[u8])> {
    let (&first, after) = rest.split_first()?;
    if b" \"#+,;<=>\\".contains(&first) {
        return Some((first, after));
    }
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let (&second, after) = after.split_first()?;
    Some(((digit(first)? * 16 + digit(second)?) as u8, after))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> DistinguishedName {
        DistinguishedName::parse(text).unwrap_or_else(|| panic!("{text}"))
    }

    #[test]
    fn names_are_compared_by_their_attributes() {
        let bob = DistinguishedName::new([
            vec![("CN", "bob")],
            vec![("OU", "b")],
            vec![("OU", "a")],
            vec![("O", "Org")],
        ]);
        for same in
            ["CN=bob,OU=b,OU=a,O=Org", "cn = bob , ou=b,  OU=a ,o=Org", "CN=bob,OU=b,OU=a,O=Org,"]
        {
            assert_eq!(parse(same), bob, "{same}");
        }
        for shuffled in ["O=Org,OU=a,OU=b,CN=bob", "OU=a,CN=bob,O=Org,OU=b"] {
            assert_ne!(parse(shuffled), bob);
            assert!(parse(shuffled).has_same_parts(&bob), "{shuffled}");
        }
        for other in [
            "CN=BOB,OU=b,OU=a,O=Org",
            "CN=bob,OU=b,O=Org",
            "CN=bob,OU=b,OU=b,O=Org",
            "CN=bob,OU=b+OU=a,O=Org",
            "CN=bob,OU=b,OU=a,O=Org,C=US",
            "",
        ] {
            assert!(!parse(other).has_same_parts(&bob) && parse(other) != bob, "{other}");
        }
        let two = DistinguishedName::new([vec![("CN", "a"), ("UID", "b")]]);
        assert_eq!(parse("uid=b+cn=a"), two);
        assert_ne!(parse("cn=a+cn=a"), two);
    }

    #[test]
    fn what_is_special_is_escaped() {
        let name = |value| DistinguishedName::new([vec![("CN", value)], vec![("O", "x")]]);
        for (text, value) in [
            (r#"CN=J \"x\" \+y\\z,O=x"#, r#"J "x" +y\z"#),
            (r"CN=Acme\2C Inc,O=x", "Acme, Inc"),
            (r"CN=\ a\ ,O=x", " a "),
            (r"CN=a\  ,O=x", "a "),
            (r"CN=\c3\A4,O=x", "ä"),
            ("CN=a/b;c,O=x", "a/b;c"),
        ] {
            assert_eq!(parse(text), name(value), "{text}");
        }
        for broken in ["bob", "a,CN=b", "CN=#0401", r"CN=\zz", r"CN=\4", "=a"] {
            assert_eq!(DistinguishedName::parse(broken), None, "{broken}");
        }
    }
}
