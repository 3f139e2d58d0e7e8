//! `Request`: a request to a service. `Answer`: the text that goes to its reply subject.
//!
//! nats: server/events.go `ServerAPIResponse`, `zReq`

use std::io::{self, Write};

use serde::Serialize;

use crate::account::Account;
use crate::codec::content_encoding::ContentEncoding;
use crate::conn::Conn;
use crate::monitor::QueryError;
use crate::monitor::json::Document;

/// Bytes of an answer, before it is encoded. The real server has no limit.
const ANSWER_LEN_MAX: usize = if cfg!(test) { 4_096 } else { 16 * 1024 * 1024 };

/// The body of a request cannot be read.
const BAD_REQUEST: u16 = 400;
/// There is no answer to it.
const INTERNAL_SERVER_ERROR: u16 = 500;

/// A request to a service.
#[derive(Clone, Copy)]
pub(super) struct Request<'a> {
    /// The subject for the answer, not empty.
    pub(super) reply: &'a [u8],
    /// The header block; empty if there is none.
    pub(super) header: &'a [u8],
    pub(super) body: &'a [u8],
}

/// A requester in an account that imports the service.
pub(super) struct Importer<'a> {
    pub(super) account: &'a Account,
    pub(super) conn: &'a Conn,
}

/// An answer, complete but for the part about this server, which is made when it is sent.
pub(super) struct Answer {
    /// Its subject.
    pub(super) reply: Box<[u8]>,
    pub(super) encoding: Option<ContentEncoding>,
    /// True if it begins with the part about this server.
    pub(super) names_server: bool,
    /// The rest, encoded.
    pub(super) text: Vec<u8>,
}

/// An error in an answer.
#[derive(Serialize)]
struct ApiError<'a> {
    code: u16,
    description: &'a str,
}

impl Request<'_> {
    /// An answer with this document as its data, or the text that there is none.
    pub(super) fn answer(&self, document: Result<Box<dyn Document + '_>, QueryError>) -> Answer {
        let mut text = Limited(Vec::new());
        let written = document.and_then(|document| {
            let mut write = || {
                text.write_all(b",\"data\":")?;
                document.write_compact(&mut text)?;
                text.write_all(b"}")
            };
            write().map_err(|_: io::Error| QueryError(TOO_LONG.to_owned()))
        });
        match written {
            Ok(()) => self.encoded(text.0),
            Err(QueryError(why)) => self.failure(INTERNAL_SERVER_ERROR, b",\"data\":null", &why),
        }
    }

    /// An answer that the request is done, or the reason that it is not.
    pub(super) fn done(&self, done: Result<(), &str>) -> Answer {
        match done {
            Ok(()) => self.encoded(b"}".to_vec()),
            Err(why) => self.failure(INTERNAL_SERVER_ERROR, b"", why),
        }
    }

    /// An answer that the body cannot be read.
    pub(super) fn refused(&self, why: &str) -> Answer {
        self.failure(BAD_REQUEST, b"", why)
    }

    fn failure(&self, code: u16, data: &[u8], description: &str) -> Answer {
        let mut text = Vec::from(data);
        text.extend_from_slice(b",\"error\":");
        ApiError { code, description }.write_compact(&mut text).expect("memory takes it");
        text.push(b'}');
        self.plain(text)
    }

    /// An answer with this rest, encoded as the requester wants it.
    fn encoded(&self, text: Vec<u8>) -> Answer {
        let Some(encoding) = ContentEncoding::wanted(self.header) else { return self.plain(text) };
        let mut out = Vec::new();
        encoding.encode(&text, &mut out);
        Answer { encoding: Some(encoding), ..self.plain(out) }
    }

    /// An answer with this rest.
    fn plain(&self, text: Vec<u8>) -> Answer {
        Answer { reply: self.reply.into(), encoding: None, names_server: true, text }
    }

    /// An answer that is only this text.
    pub(super) fn bare(&self, text: Vec<u8>) -> Answer {
        Answer { names_server: false, ..self.plain(text) }
    }
}

/// A text of limited length.
struct Limited(Vec<u8>);

impl Write for Limited {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        if self.0.len() + text.len() > ANSWER_LEN_MAX {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.0.extend_from_slice(text);
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

const TOO_LONG: &str = "answer too long: ask for a part of it, by limit and offset";
