//! FNV-1a of 32 bits, for numbers on which servers have to agree.

/// The hash of no bytes.
pub const FNV_BASIS: u32 = 0x811c_9dc5;

const FNV_PRIME: u32 = 0x0100_0193;

/// The hash of more bytes behind those of `hash`.
#[must_use]
pub fn fnv1a(hash: u32, bytes: &[u8]) -> u32 {
    bytes.iter().fold(hash, |hash, &byte| (hash ^ u32::from(byte)).wrapping_mul(FNV_PRIME))
}
