//! `Certificate`: the names in a certificate, in nats-server's order and words, and facts for
//! monitoring.
//!
//! Believes what it reads: the handshake has verified it.
//! nats: server/auth.go `checkClientTLSCertSubject`, `getTLSAuthDCs`; server/monitor.go
//! `makePeerCerts`; Go's crypto/x509/pkix `Name.String`

use std::fmt::Write;
use std::time::Duration;

use sha2::{Digest, Sha256};
use x509_cert::der::asn1::{BmpString, ObjectIdentifier};
use x509_cert::der::oid::db::rfc4519;
use x509_cert::der::{Any, Decode, Encode, Tag, Tagged};
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;

use crate::auth::distinguished_name::DistinguishedName;

/// The attributes with names of their own, by the identifiers of their types. All but the last are
/// those of Go.
const NAMES: [(ObjectIdentifier, &str); 10] = [
    (rfc4519::SERIAL_NUMBER, "SERIALNUMBER"),
    (rfc4519::CN, "CN"),
    (rfc4519::POSTAL_CODE, "POSTALCODE"),
    (rfc4519::STREET, "STREET"),
    (rfc4519::ST, "ST"),
    (rfc4519::L, "L"),
    (rfc4519::OU, "OU"),
    (rfc4519::O, "O"),
    (rfc4519::C, "C"),
    (rfc4519::DC, DOMAIN_COMPONENT),
];

const DOMAIN_COMPONENT: &str = "DC";

/// A certificate, read.
pub struct Certificate {
    emails: Vec<String>,
    dns_names: Vec<String>,
    uris: Vec<String>,
    /// The parts of its subject, the least specific first.
    subject: Vec<Vec<Attribute>>,
    /// The public key in DER (SubjectPublicKeyInfo).
    public_key: Vec<u8>,
    /// The end of its life, since the epoch of Unix.
    not_after: Duration,
}

struct Attribute {
    kind: ObjectIdentifier,
    /// The value, if it is text.
    text: Option<String>,
}

/// A name in a certificate that may be a user's.
#[derive(Debug, PartialEq, Eq)]
pub enum CertName<'a> {
    /// An e-mail address.
    Email(&'a str),
    /// A DNS name.
    Dns(&'a str),
    /// A URI.
    Uri(&'a str),
    /// The subject as a list of attributes.
    Listed(DistinguishedName),
    /// The text of the subject, and its domain components.
    WithDomain(String),
    /// The text of the subject, without unusual attributes.
    Subject(String),
}

impl Certificate {
    /// Reads DER. None for an extension or text that is none.
    pub fn read(der: &[u8]) -> Option<Certificate> {
        let tbs = x509_cert::Certificate::from_der(der).ok()?.tbs_certificate;
        let mut certificate = Certificate {
            emails: Vec::new(),
            dns_names: Vec::new(),
            uris: Vec::new(),
            subject: Vec::new(),
            public_key: tbs.subject_public_key_info.to_der().ok()?,
            not_after: tbs.validity.not_after.to_unix_duration(),
        };
        if let Some((_, SubjectAltName(names))) = tbs.get::<SubjectAltName>().ok()? {
            for name in &names {
                match name {
                    GeneralName::Rfc822Name(name) => certificate.emails.push(name.to_string()),
                    GeneralName::DnsName(name) => certificate.dns_names.push(name.to_string()),
                    GeneralName::UniformResourceIdentifier(uri) => {
                        certificate.uris.push(uri.to_string());
                    }
                    _ => {}
                }
            }
        }
        for part in tbs.subject.0 {
            let attributes = part.0.into_vec().into_iter();
            certificate.subject.push(
                attributes
                    .map(|attribute| Attribute {
                        kind: attribute.oid,
                        text: text(&attribute.value),
                    })
                    .collect(),
            );
        }
        Some(certificate)
    }

    /// Its names in the order in which users are searched for them.
    pub fn names(&self) -> impl Iterator<Item = CertName<'_>> {
        let emails = self.emails.iter().map(|name| CertName::Email(name));
        let dns_names = self.dns_names.iter().map(|name| CertName::Dns(name));
        let uris = self.uris.iter().map(|name| CertName::Uri(name));
        let subject = self.plain_subject();
        let with_domain =
            self.domain().map(|domain| CertName::WithDomain(format!("{subject},{domain}")));
        let rest = self.distinguished_name().map(CertName::Listed).into_iter().chain(with_domain);
        let rest = rest.chain([CertName::Subject(subject)]);
        emails.chain(dns_names).chain(uris).chain(rest)
    }

    /// True if it names nobody.
    pub fn is_nameless(&self) -> bool {
        let names = [&self.emails, &self.dns_names, &self.uris];
        names.iter().all(|names| names.is_empty()) && self.subject.is_empty()
    }

    /// The text of its subject; unusual attributes come last, with their identifiers.
    pub fn subject(&self) -> String {
        let mut text = self.plain_subject();
        for attribute in self.attributes().rev().filter(|attribute| attribute.usual().is_none()) {
            let Some(value) = &attribute.text else { continue };
            if !text.is_empty() {
                text.push(',');
            }
            let _ = write!(text, "{}=", attribute.kind);
            escape(value, &mut text);
        }
        text
    }

    /// SHA-256 of its public key.
    pub fn public_key_hash(&self) -> [u8; 32] {
        Sha256::digest(&self.public_key).into()
    }

    /// The end of its life, since the epoch of Unix.
    pub fn not_after(&self) -> Duration {
        self.not_after
    }

    fn attributes(&self) -> impl DoubleEndedIterator<Item = &Attribute> {
        self.subject.iter().flatten()
    }

    /// The text of its usual attributes: those of a kind together, joined by `+`. Of names and
    /// serial numbers only the last one counts.
    pub fn plain_subject(&self) -> String {
        let mut text = String::new();
        for (_, kind) in &NAMES[..NAMES.len() - 1] {
            let mut values: Vec<&str> = self
                .attributes()
                .filter(|attribute| attribute.usual() == Some(kind))
                .filter_map(|attribute| attribute.text.as_deref())
                .collect();
            if matches!(*kind, "CN" | "SERIALNUMBER") {
                values = values.pop().filter(|value| !value.is_empty()).into_iter().collect();
            }
            for (index, value) in values.into_iter().enumerate() {
                if !text.is_empty() {
                    text.push(if index == 0 { ',' } else { '+' });
                }
                let _ = write!(text, "{kind}=");
                escape(value, &mut text);
            }
        }
        text
    }

    /// Its domain components as `DC=com,DC=example`.
    fn domain(&self) -> Option<String> {
        let of_domain = |attribute: &&Attribute| attribute.name() == Some(DOMAIN_COMPONENT);
        let texts = self.attributes().filter(of_domain).filter_map(|dc| dc.text.as_deref());
        let parts: Vec<String> = texts.map(|text| format!("{DOMAIN_COMPONENT}={text}")).collect();
        (!parts.is_empty()).then(|| parts.join(","))
    }

    /// None if one of its attributes has no name or is no text.
    fn distinguished_name(&self) -> Option<DistinguishedName> {
        let parts = self.subject.iter().rev().map(|part| {
            let attributes = part.iter().rev();
            attributes.map(|a| Some((a.name()?, a.text.as_deref()?))).collect::<Option<Vec<_>>>()
        });
        let parts: Vec<_> = parts.collect::<Option<_>>()?;
        Some(DistinguishedName::new(parts))
    }
}

impl CertName<'_> {
    /// The kind of name, for the log.
    pub fn kind(&self) -> &'static str {
        match self {
            CertName::Email(_) => "email found in cert",
            CertName::Dns(_) => "SAN found in cert",
            CertName::Uri(_) => "URI found in cert",
            CertName::Listed(_) => "DistinguishedNameMatch",
            CertName::WithDomain(_) => "RDNSequence",
            CertName::Subject(_) => "certificate subject",
        }
    }
}

impl Attribute {
    /// Such as `CN`.
    fn name(&self) -> Option<&'static str> {
        NAMES.iter().find(|(kind, _)| *kind == self.kind).map(|(_, name)| *name)
    }

    /// The same without domain components, which Go does not know.
    fn usual(&self) -> Option<&'static str> {
        self.name().filter(|name| *name != DOMAIN_COMPONENT)
    }
}

/// The text of a value; none for a number, or for a kind of text that nobody uses.
fn text(value: &Any) -> Option<String> {
    match value.tag() {
        Tag::Utf8String | Tag::PrintableString | Tag::NumericString | Tag::Ia5String => {
            String::from_utf8(value.value().to_vec()).ok()
        }
        Tag::TeletexString => Some(value.value().iter().copied().map(char::from).collect()),
        Tag::BmpString => value.decode_as::<BmpString>().ok().map(|text| text.to_string()),
        _ => None,
    }
}

/// Appends a value of a subject as Go writes it.
fn escape(value: &str, into: &mut String) {
    for (index, char) in value.char_indices() {
        let escaped = match char {
            ',' | '+' | '"' | '\\' | '<' | '>' | ';' => true,
            ' ' => index == 0 || index == value.len() - 1,
            '#' => index == 0,
            _ => false,
        };
        if escaped {
            into.push('\\');
        }
        into.push(char);
    }
}
