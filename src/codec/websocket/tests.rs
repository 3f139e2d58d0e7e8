use super::fuzz::{fuzz_frames, fuzz_written_frames};
use super::*;
use crate::base::fuzzing;

const PLAIN: Agreed = Agreed { masked: true, compressed: false };

/// A frame of a client: its first byte, and its payload behind a key.
fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut key = *b"\x37\xfa\x21\x3d";
    let mut frame = Vec::new();
    write_head(first, payload.len(), &mut frame);
    frame[1] |= MASK;
    frame.extend_from_slice(&key);
    let at = frame.len();
    frame.extend_from_slice(payload);
    unmask(&mut frame[at..], &mut key);
    frame
}

fn violation(agreed: Agreed, mut bytes: Vec<u8>) -> String {
    let mut reader = FrameReader::new(agreed);
    let mut at = 0;
    loop {
        match reader.next(&mut bytes[at..]) {
            Ok((Some(_), used)) => at += used,
            Ok((None, _)) => return String::new(),
            Err(violation) => return violation.to_string(),
        }
    }
}

#[test]
fn the_example_of_the_rfc_is_read() {
    let mut hello = *b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58";
    let mut reader = FrameReader::new(PLAIN);
    let (frame, used) = reader.next(&mut hello).unwrap();
    let bytes = &mut b"Hello".to_owned()[..];
    assert_eq!(frame, Some(Frame::Data { bytes, compressed: false, last: true }));
    assert_eq!(used, 11);
}

/// The payload of a message with an illegal length is never waited for, nor is its memory.
#[test]
fn breaches_are_told_as_nats_server_tells_them() {
    let deflated = Agreed { compressed: true, ..PLAIN };
    let unmasked = |first, payload: &[u8]| {
        let mut frame = Vec::new();
        write_head(first, payload.len(), &mut frame);
        frame
    };
    let too_long = "control frame length bigger than maximum allowed of 125 bytes";
    let within = "new message started before final frame for previous message was received";
    for (agreed, bytes, text) in [
        (PLAIN, vec![0x92], "RSV2 and RSV3 must be clear"),
        (PLAIN, vec![0xa2], "RSV2 and RSV3 must be clear"),
        (PLAIN, vec![0xc2], "compressed frame received without negotiated permessage-deflate"),
        (PLAIN, unmasked(0x82, b"a"), "mask bit missing"),
        (PLAIN, masked(0x89, &[0; 126]), too_long),
        (PLAIN, masked(0x09, b""), "control frame does not have final bit set"),
        (deflated, masked(0xc9, b""), "control frame must not be compressed"),
        (PLAIN, [masked(0x02, b"a"), masked(0x82, b"b")].concat(), within),
        (PLAIN, masked(0x80, b"a"), "invalid continuation frame"),
        (deflated, [masked(0x42, b"a"), masked(0xc0, b"b")].concat(), "invalid continuation frame"),
        (PLAIN, masked(0x83, b"a"), "unknown opcode 3"),
        (PLAIN, masked(0x8b, &[0; 200]), "unknown opcode 11"),
        (PLAIN, b"\x82\xff\x80\0\0\0\0\0\0\0abcd".to_vec(), "invalid 64-bit payload length"),
        (PLAIN, masked(0x88, b"\x03"), "close frame payload cannot be 1 byte"),
        (PLAIN, masked(0x88, b"\x03\xe7"), "invalid close status code 999"),
        (PLAIN, masked(0x88, b"\x03\xed"), "invalid close status code 1005"),
        (PLAIN, masked(0x88, b"\x13\x88"), "invalid close status code 5000"),
        (PLAIN, b"\x82\xff\x7f\xff\xff\xff\xff\xff\xff\xffabcdefgh".to_vec(), ""),
        (PLAIN, b"\x82\xfe\0\x01abcdx\x82\xff\0\0\0\0\0\0\0\x01abcdx".to_vec(), ""),
    ] {
        assert_eq!(violation(agreed, bytes), text);
    }
}

#[test]
fn a_close_is_answered_with_its_own_payload_if_that_is_text() {
    for (payload, answer) in [
        (&b""[..], &b""[..]),
        (b"\x03\xe8", b"\x03\xe8"),
        (b"\x0f\xa0bye", b"\x0f\xa0bye"),
        (b"\x03\xe8\xff", b"\x03\xefinvalid utf8 body in close frame"),
    ] {
        let mut bytes = masked(0x88, payload);
        let mut reader = FrameReader::new(PLAIN);
        let (frame, _) = reader.next(&mut bytes).unwrap();
        assert_eq!(frame, Some(Frame::Close(answer.to_vec())));
    }
}

#[test]
fn lengths_are_as_short_as_can_be() {
    for (len, head) in [
        (0, &b"\x82\0"[..]),
        (125, b"\x82\x7d"),
        (126, b"\x82\x7e\0\x7e"),
        (65_535, b"\x82\x7e\xff\xff"),
        (65_536, b"\x82\x7f\0\0\0\0\0\x01\0\0"),
    ] {
        let mut out = Vec::new();
        write_message([&vec![0; len][..]].into_iter(), &mut out);
        assert!(out.starts_with(head) && out.len() == head.len() + len);
    }
}

#[test]
fn a_close_tells_the_reason() {
    for (reason, payload) in [
        (ClosedReason::ServerShutdown, &b"\x03\xe9Server Shutdown"[..]),
        (ClosedReason::MaxPayloadExceeded, b"\x03\xf1Maximum Message Payload Exceeded"),
        (ClosedReason::MaxConnectionsExceeded, b"\x03\xf0Maximum Connections Exceeded"),
        (ClosedReason::ProtocolViolation, b"\x03\xeaProtocol Violation"),
        (ClosedReason::Kicked, b"\x03\xf3Kicked"),
    ] {
        assert_eq!(closing_payload(reason), payload);
    }
    let longest = Violation::NewMessage.close_payload();
    assert!(longest.starts_with(b"\x03\xeanew message") && longest.len() <= CONTROL_LEN_MAX);
}

#[test]
fn cuts_do_not_matter() {
    fuzzing::run("websocket", 30_000, fuzz_frames, |random, inputs| match random.u8(..3) {
        0 => fuzzing::mutated(random, inputs),
        _ => {
            // Frames that are right, but for a few bytes.
            let mut bytes = vec![random.u8(..)];
            for _ in 0..random.usize(1..8) {
                let first =
                    *random.choice(&[0x02, 0x82, 0x00, 0x80, 0x42, 0xc2, 0x89, 0x8a]).unwrap();
                let payload: Vec<u8> = (0..random.usize(..20)).map(|_| random.u8(..)).collect();
                bytes.extend(masked(first, &payload));
            }
            if random.bool() { bytes } else { fuzzing::mutated(random, &[bytes]) }
        }
    });
}

#[test]
fn what_is_written_is_read_again() {
    fuzzing::run("websocket", 2_000, fuzz_written_frames, fuzzing::mutated);
}
