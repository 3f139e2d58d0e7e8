//! Cuts bytes of a server into frames: one control line, and the payload of MSG, HMSG and RMSG.

/// The length of the first whole frame in `bytes`, or `None` if it is not complete.
pub(crate) fn frame_len(bytes: &[u8]) -> Option<usize> {
    let line_len = bytes.iter().position(|&byte| byte == b'\n')? + 1;
    let line = &bytes[..line_len];
    if !is_message(line) {
        return Some(line_len);
    }
    let text = std::str::from_utf8(line).ok();
    // The subject may hold any bytes; the size is what stands after the last blank.
    let size = match text {
        Some(text) => text.split_whitespace().next_back()?.parse::<usize>().ok(),
        None => last_number(line),
    };
    let len = line_len + size.unwrap_or(0) + 2;
    (bytes.len() >= len).then_some(len)
}

/// True for the first line of a frame that carries a payload.
pub(crate) fn is_message(line: &[u8]) -> bool {
    [&b"MSG "[..], b"HMSG ", b"RMSG "].iter().any(|start| line.starts_with(start))
}

fn last_number(line: &[u8]) -> Option<usize> {
    let line = line.trim_ascii_end();
    let start = line.iter().rposition(|&byte| byte == b' ')? + 1;
    std::str::from_utf8(&line[start..]).ok()?.parse().ok()
}

/// Splits into whole frames; an incomplete end is the last element.
pub(crate) fn split(mut bytes: &[u8]) -> Vec<&[u8]> {
    let mut frames = Vec::new();
    while !bytes.is_empty() {
        let (frame, rest) = bytes.split_at(frame_len(bytes).unwrap_or(bytes.len()));
        frames.push(frame);
        bytes = rest;
    }
    frames
}
