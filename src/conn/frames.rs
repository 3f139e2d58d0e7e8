//! `Frames`: encoded frames on their way to connections, and what their receivers count.

use std::ops::Deref;
use std::sync::Arc;

/// Frames for a connection.
#[derive(Debug, Clone, Copy)]
pub struct Frames<'a> {
    text: &'a [u8],
    /// Their memory, if other connections get them, too.
    pub(super) shared: Option<&'a Arc<Vec<u8>>>,
    /// The number of messages among them.
    pub msgs: u64,
    /// The bytes of these messages.
    pub bytes: u64,
}

impl<'a> Frames<'a> {
    /// No frames: whoever sends them writes those that wait.
    pub const NONE: Frames<'static> = Frames { text: b"", shared: None, msgs: 0, bytes: 0 };

    /// Frames that other connections get, too. A queue that has to keep them does not copy them;
    /// they count for each.
    pub fn shared(frames: &'a Arc<Vec<u8>>) -> Frames<'a> {
        Frames { text: frames, shared: Some(frames), ..Frames::NONE }
    }

    /// The same with `msgs` messages of `bytes` bytes among them.
    pub fn with_msgs(self, msgs: u64, bytes: u64) -> Frames<'a> {
        Frames { msgs, bytes, ..self }
    }
}

impl<'a, T: AsRef<[u8]> + ?Sized> From<&'a T> for Frames<'a> {
    /// Frames without messages, which are copied if they have to wait.
    #[inline]
    fn from(frames: &'a T) -> Frames<'a> {
        Frames { text: frames.as_ref(), ..Frames::NONE }
    }
}

impl Deref for Frames<'_> {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        self.text
    }
}
