//! Fuzz bodies of WebSocket frames: cuts do not change the result, which is that of a naive reader
//! of all bytes at once; written frames are read again.

use crate::codec::websocket::{
    self, Agreed, Frame, FrameReader, Violation, close_answer, is_valid_status,
};

/// The result of reading: the bytes of messages, with a mark at the end of a compressed one.
#[derive(Debug, Default, PartialEq, Eq)]
struct Said {
    data: Vec<(Vec<u8>, bool)>,
    pings: Vec<Vec<u8>>,
    close: Option<Vec<u8>>,
    violation: Option<Violation>,
}

impl Said {
    fn add(&mut self, bytes: &[u8], ends: bool) {
        match self.data.last_mut() {
            _ if bytes.is_empty() && !ends => {}
            Some((data, ended)) if !*ended => {
                data.extend_from_slice(bytes);
                *ended = ends;
            }
            _ => self.data.push((bytes.to_vec(), ends)),
        }
    }
}

/// Reads `pieces` as they come.
fn read<'a>(agreed: Agreed, pieces: impl Iterator<Item = &'a [u8]>) -> Said {
    let mut reader = FrameReader::new(agreed);
    let mut said = Said::default();
    for piece in pieces {
        let mut piece = piece.to_vec();
        let mut at = 0;
        loop {
            let len = piece.len() - at;
            match reader.next(&mut piece[at..]) {
                Err(violation) => {
                    said.violation = Some(violation);
                    return said;
                }
                Ok((None, used)) => {
                    assert_eq!(used, len, "nothing is left when there is nothing more");
                    break;
                }
                Ok((Some(frame), used)) => {
                    assert!(used <= len);
                    at += used;
                    match frame {
                        Frame::Data { bytes, compressed, last } => {
                            said.add(bytes, compressed && last);
                        }
                        Frame::Ping(payload) => said.pings.push(payload),
                        Frame::Pong => {}
                        Frame::Close(answer) => {
                            said.close = Some(answer);
                            return said;
                        }
                    }
                }
            }
        }
        assert!(reader.control.len() <= websocket::CONTROL_LEN_MAX);
    }
    said
}

/// Reads all of it at once, as RFC 6455 tells it, in the real server's order of checks.
fn read_naively(agreed: Agreed, bytes: &[u8]) -> Said {
    let mut said = Said::default();
    let mut rest = bytes;
    let mut message = None;
    while let Some((&first, behind)) = rest.split_first() {
        let (fin, rsv1, opcode) = (first >> 7 == 1, first >> 6 & 1 == 1, first & 15);
        let refused = match opcode {
            _ if first >> 4 & 3 != 0 => Some(Violation::Reserved),
            _ if rsv1 && !agreed.compressed => Some(Violation::Compressed),
            _ => None,
        };
        said.violation = refused;
        let Some((&second, behind)) = behind.split_first().filter(|_| refused.is_none()) else {
            return said;
        };
        let short = usize::from(second & 127);
        said.violation = match opcode {
            _ if agreed.masked && second < 128 => Some(Violation::Unmasked),
            8..=10 if short > 125 => Some(Violation::ControlTooLong),
            8..=10 if !fin => Some(Violation::ControlInFragments),
            8..=10 if rsv1 => Some(Violation::ControlCompressed),
            8..=10 => None,
            1 | 2 if message.is_some() => Some(Violation::NewMessage),
            0 if message.is_none() || rsv1 => Some(Violation::Continuation),
            0..=2 => None,
            _ => Some(Violation::Opcode(opcode)),
        };
        let more_len = [2, 8].get(short.wrapping_sub(126)).copied().unwrap_or(0);
        let key_len = if agreed.masked { 4 } else { 0 };
        if said.violation.is_some() || behind.len() < more_len + key_len {
            return said;
        }
        let (more, behind) = behind.split_at(more_len);
        let len = more.iter().fold(0, |len, &byte| len << 8 | u64::from(byte));
        let len = if more_len == 0 { short as u64 } else { len };
        if len > i64::MAX as u64 {
            said.violation = Some(Violation::Length);
            return said;
        }
        let (key, behind) = behind.split_at(key_len);
        let here = usize::try_from(len).unwrap_or(usize::MAX).min(behind.len());
        let unmasked = |(at, &byte): (usize, &u8)| byte ^ key.get(at % 4).unwrap_or(&0);
        let payload: Vec<u8> = behind[..here].iter().enumerate().map(unmasked).collect();
        let is_whole = here as u64 == len;
        rest = &behind[here..];
        match opcode {
            0..=2 => {
                let compressed = message.unwrap_or(rsv1);
                message = (!fin).then_some(compressed);
                let ends = fin && compressed && is_whole;
                said.add(&payload, ends);
            }
            9 if is_whole => said.pings.push(payload),
            8 if is_whole => {
                match close_answer(payload) {
                    Ok(answer) => said.close = Some(answer),
                    Err(violation) => said.violation = Some(violation),
                }
                return said;
            }
            _ => {}
        }
    }
    said
}

/// Reads `bytes`, the first of which chooses the agreement, whole, byte by byte, and cut in
/// two at each of the first places.
pub fn fuzz_frames(bytes: &[u8]) {
    let Some((&choice, bytes)) = bytes.split_first() else { return };
    let agreed = Agreed { masked: choice & 1 == 0, compressed: choice & 2 != 0 };
    let whole = read(agreed, [bytes].into_iter());
    assert_eq!(whole, read_naively(agreed, bytes));
    assert_eq!(read(agreed, bytes.chunks(1)), whole);
    for at in 0..bytes.len().min(100) {
        let (front, back) = bytes.split_at(at);
        assert_eq!(read(agreed, [front, back].into_iter()), whole, "cut at {at}");
    }
    if let Some(answer) = whole.close.filter(|answer| !answer.is_empty()) {
        assert!(is_valid_status(u16::from_be_bytes([answer[0], answer[1]])));
    }
}

/// Writes `bytes`, the first two of which choose how, and reads them again.
pub fn fuzz_written_frames(bytes: &[u8]) {
    let Some((&[choice, len_max], bytes)) = bytes.split_first_chunk() else { return };
    let (front, back) = bytes.split_at(bytes.len() / 3);
    let mut out = Vec::new();
    websocket::write_pong(&front[..front.len().min(websocket::CONTROL_LEN_MAX)], &mut out);
    let compressed = choice & 1 != 0;
    if compressed {
        websocket::write_compressed(bytes, 1 + usize::from(len_max), &mut out);
    } else {
        websocket::write_message([front, back].into_iter(), &mut out);
    }
    websocket::write_close(b"\x03\xe8bye", &mut out);
    let agreed = Agreed { masked: false, compressed };
    let said = read(agreed, out.chunks(1 + usize::from(choice)));
    let data: Vec<u8> = said.data.into_iter().flat_map(|(data, _)| data).collect();
    assert_eq!((data, said.violation), (bytes.to_vec(), None));
    assert_eq!(said.close.as_deref(), Some(&b"\x03\xe8bye"[..]));
}
