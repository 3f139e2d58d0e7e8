//! `Filter`: the servers that a request is for. The body of a request has it among its options.
//!
//! nats: server/events.go `EventFilterOptions`, `filterRequest`, `zReq`

use crate::codec::json::{Fault, JsonError, Reader};
use crate::monitor::View;

/// The servers that a request is for; empty text stands for all.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Filter {
    server_name: String,
    cluster: String,
    host: String,
    /// The three above are whole, not parts.
    exact_match: bool,
    /// They have all of these.
    tags: Vec<String>,
    /// They are of this domain of JetStream, so none here.
    domain: String,
}

impl Filter {
    /// Reads a body; `overlay` takes the value of an option besides the filter. `name` is that of
    /// all options in the real server.
    ///
    /// # Errors
    /// The reason that the body cannot be read, in Go's words.
    pub(super) fn read(
        body: &[u8],
        name: &str,
        mut overlay: impl FnMut(&str, &mut Reader<'_>) -> Result<(), JsonError>,
    ) -> Result<Filter, String> {
        let mut filter = Filter::default();
        // What is no JSON comes first, wherever it stands.
        let mut reader = Reader::new(body);
        reader.skip().and_then(|()| reader.end()).map_err(|error| error.to_string())?;
        let mut option = String::new();
        let mut reader = Reader::new(body);
        let read = reader.take_null().and_then(|null| match null {
            true => Ok(()),
            false => reader.object(|reader, key| {
                key.clone_into(&mut option);
                match filter.overlay(key, reader)? {
                    true => Ok(()),
                    false => overlay(key, reader),
                }
            }),
        });
        match read {
            Ok(()) => Ok(filter),
            Err(JsonError { fault: Fault::Type { found, .. }, .. }) if option.is_empty() => {
                Err(format!("json: cannot unmarshal {found} into Go value of type server.{name}"))
            }
            Err(JsonError { fault: Fault::Type { found, wanted }, .. }) => {
                let field = format!("Go struct field {name}.{option} of type {wanted}");
                Err(format!("json: cannot unmarshal {found} into {field}"))
            }
            Err(error) => Err(error.to_string()),
        }
    }

    /// Takes the value of an option; false if it is another one's.
    fn overlay(&mut self, option: &str, reader: &mut Reader<'_>) -> Result<bool, JsonError> {
        match option {
            "server_name" => reader.overlay_string(&mut self.server_name, "string")?,
            "cluster" => reader.overlay_string(&mut self.cluster, "string")?,
            "host" => reader.overlay_string(&mut self.host, "string")?,
            "exact_match" => reader.overlay_bool(&mut self.exact_match)?,
            "tags" => reader.overlay_strings(&mut self.tags)?,
            "domain" => reader.overlay_string(&mut self.domain, "string")?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// True if the request is for this server.
    pub(super) fn admits(&self, view: &View<'_>) -> bool {
        if *self == Filter::default() {
            return true;
        }
        let info = view.registry.info();
        let cluster = view.cluster_name();
        let fits = |wanted: &str, own: &str| match self.exact_match {
            true => wanted.is_empty() || wanted == own,
            false => own.contains(wanted),
        };
        let tags = &view.settings.options.server_tags;
        let is_own =
            |wanted: &String| tags.iter().any(|tag| tag.trim().eq_ignore_ascii_case(wanted.trim()));
        fits(&self.server_name, &info.server_name)
            && fits(&self.host, &info.host)
            && fits(&self.cluster, &cluster)
            && self.tags.iter().all(is_own)
            && self.domain.is_empty()
    }
}
