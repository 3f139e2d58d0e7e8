//! Message tracing: the documents that servers publish about the way of a message, and what becomes
//! of the message itself.

mod alone;
mod files;
mod routed;
mod scene;
