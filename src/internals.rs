//! The insides, for the benches and the fuzz targets of this repository. No promise holds for them.

pub use crate::base::ids::{Kind, ServerId};
pub use crate::base::left::Left;
pub use crate::base::moment::Moment;
pub use crate::client::Client;
pub use crate::config::check::Checked;
pub use crate::conn::frames::Frames;
pub use crate::conn::outbound::Outbound;
pub use crate::conn::{Conn, Wire};
pub use crate::deliver::Delivery;
pub use crate::machine::Machine;
pub use crate::machine::session::{Session, Step};
pub use crate::parser::{ClientRules, Grammar, Parser, RouteRules};
pub use crate::registry::Registry;
pub use crate::route::mesh::Mesh;
pub use crate::route::{Role, Route};
pub use crate::sublist::cache::{Lookup, MatchCache};
pub use crate::sublist::result::MatchResult;
pub use crate::sublist::{Entry, Interest, Sublist, UNLISTED};

/// The fuzz bodies.
#[cfg(feature = "fuzz")]
pub mod fuzz {
    pub use crate::base::subject_transform::fuzz::fuzz_transform;
    pub use crate::client::fuzz::fuzz_client;
    pub use crate::codec::connect::fuzz_connect;
    pub use crate::codec::s2::fuzz::{fuzz_compress, fuzz_decompress};
    pub use crate::codec::upgrade::fuzz_upgrade;
    pub use crate::codec::websocket::fuzz::{fuzz_frames, fuzz_written_frames};
    pub use crate::config::conf::fuzz::fuzz_conf;
    pub use crate::net::deflate::fuzz::{fuzz_deflate, fuzz_inflate};
    pub use crate::parser::fuzz::{fuzz_parser, fuzz_route_parser};
    pub use crate::route::fuzz::{fuzz_mesh, fuzz_route};
    pub use crate::sublist::fuzz::fuzz_sublist_ops;
    pub use crate::tool::line_client::server_op::fuzz_server_ops;
}
