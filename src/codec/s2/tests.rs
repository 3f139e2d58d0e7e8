//! Streams of the real server, and invalid ones.

use crate::base::fuzzing;
use crate::codec::s2::fuzz::{fuzz_compress, fuzz_decompress};
use crate::codec::s2::{BLOCK_LEN, Compressor, Decompressor, S2Error};
use crate::config::compression::Level;

fn read(stream: &[u8]) -> Result<Vec<u8>, S2Error> {
    let mut decompressor = Decompressor::new();
    let (mut bytes, mut stream, mut at) = (Vec::new(), stream.to_vec(), 0);
    loop {
        let (plain, used) = decompressor.next(&mut stream[at..])?;
        at += used;
        match plain {
            Some(plain) => bytes.extend_from_slice(plain),
            None => return Ok(bytes),
        }
    }
}

fn written(level: Level, batch: &[u8]) -> Vec<u8> {
    let mut stream = Vec::new();
    Compressor::new(level).compress(batch, &mut stream);
    stream
}

/// Taken from between two real servers: the first PING of a route.
const PING: &[u8] = b"\xff\x06\x00\x00S2sTwO\x01\x0a\x00\x00\xab\x90\xcc$PING\r\n";

#[test]
fn a_ping_is_that_of_the_real_server() {
    assert_eq!(read(PING), Ok(b"PING\r\n".to_vec()));
    for level in [Level::Uncompressed, Level::Fast, Level::Better, Level::Best] {
        assert_eq!(written(level, b"PING\r\n"), PING, "{level:?}");
    }
    assert_eq!(read(&PING.repeat(3)), Ok(b"PING\r\n".repeat(3)));
}

/// The bytes of a real server of each level to a new route: INFO, interest in `$SYS`, then 40
/// messages in few batches.
#[test]
fn streams_of_the_real_server() {
    let fast = include_bytes!("../../../fuzz/corpus/s2/s2_fast");
    let better = include_bytes!("../../../fuzz/corpus/s2/s2_better");
    let best = include_bytes!("../../../fuzz/corpus/s2/s2_best");
    for stream in [&fast[..], better, best] {
        let plain = read(stream).unwrap();
        assert!(plain.starts_with(b"INFO {\"server_id\":\"N"));
        for n in 0..40 {
            let payload = format!("hello {n} world {}", n * n);
            let msg = format!(
                "RMSG $G orders.{}.new _INBOX.abc.{n} {}\r\n{payload}\r\n",
                n % 7,
                payload.len()
            );
            assert!(memchr::memmem::find(&plain, msg.as_bytes()).is_some(), "{msg}");
        }
    }
}

#[test]
fn levels_differ_in_what_they_make_of_a_batch() {
    let batch: Vec<u8> = (0..20_000)
        .flat_map(|n| format!("RMSG $G orders.{} 5\r\nhe{:03}\r\n", n % 97, n % 313).into_bytes())
        .collect();
    let lens = [Level::Uncompressed, Level::Fast, Level::Better, Level::Best].map(|level| {
        let stream = written(level, &batch);
        assert_eq!(read(&stream), Ok(batch.clone()));
        stream.len()
    });
    assert!(lens[0] > batch.len() && lens[0] < batch.len() + 64);
    assert!(lens[1] * 2 < batch.len(), "{lens:?} of {}", batch.len());
    assert!(lens.is_sorted_by(|one, next| one >= next), "{lens:?}");
}

#[test]
fn a_large_batch_has_several_blocks() {
    let mut random = fastrand::Rng::with_seed(1);
    let batch: Vec<u8> = (0..2 * BLOCK_LEN + 5).map(|_| random.u8(..)).collect();
    let mut stream = written(Level::Fast, &batch);
    assert_eq!(read(&stream), Ok(batch));
    let mut decompressor = Decompressor::new();
    for piece in stream.chunks_mut(4096) {
        let mut at = 0;
        while let (Some(_), used) = decompressor.next(&mut piece[at..]).unwrap() {
            at += used;
        }
    }
    assert!(decompressor.kept_len() < 1 << 20, "memory is given back");
}

#[test]
fn what_is_no_stream_is_refused_at_its_head() {
    assert_eq!(read(b"PING\r\n"), Err(S2Error::UnknownChunk(b'P')));
    assert_eq!(read(&PING[10..]), Err(S2Error::Identifier));
    assert_eq!(read(b"\xff\x06\x00\x00sNaPpY"), Ok(Vec::new()));
    assert_eq!(read(b"\xff\x06\x00\x00S2sTwo"), Err(S2Error::Identifier));
    assert_eq!(read(b"\xff\x07\x00\x00"), Err(S2Error::Length(7)));
    let behind = |chunk: &[u8]| read(&[&PING[..10], chunk].concat());
    assert_eq!(behind(b"\x01\x03\x00\x00"), Err(S2Error::Length(3)));
    assert_eq!(behind(b"\x00\xff\xff\xff"), Err(S2Error::Length(0xff_ffff)));
    assert_eq!(behind(b"\x02\x00\x00\x00"), Err(S2Error::UnknownChunk(2)));
    assert_eq!(behind(b"\x01\x05\x00\x00\x00\x00\x00\x00x"), Err(S2Error::Checksum));
    assert_eq!(behind(b"\x00\x05\x00\x00\x00\x00\x00\x00\x01"), Err(S2Error::Corrupt));
    let huge = b"\x00\x0a\x00\x00\x00\x00\x00\x00\xff\xff\xff\xff\x0f\x00";
    assert_eq!(behind(huge), Err(S2Error::Length(0xffff_ffff)));
    // Padding and unknown skippable chunks are skipped, of any length.
    let skipped = [b"\xfe\x03\x00\x00abc\x80\x00\x00\x00".as_slice(), PING].concat();
    assert_eq!(behind(&skipped), Ok(b"PING\r\n".to_vec()));
    let mut decompressor = Decompressor::new();
    decompressor.next(&mut PING[..10].to_vec()).unwrap();
    decompressor.next(&mut b"\xfe\xff\xff\xff".to_owned()).unwrap();
    decompressor.next(&mut [0; 100_000]).unwrap();
    assert!(decompressor.kept_len() < 100);
}

#[test]
fn fuzz_s2_corpus_and_seeded() {
    fuzzing::run("s2", 1_000, fuzz_decompress, fuzzing::mutated);
    fuzzing::run("s2", 1_000, fuzz_compress, |random, corpus| {
        // Text-like: pieces of the corpus, repeated.
        let mut bytes = vec![random.u8(..)];
        for _ in 0..random.usize(1..40) {
            bytes.extend_from_slice(&fuzzing::mutated(random, corpus));
        }
        bytes
    });
}
