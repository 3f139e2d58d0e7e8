//! Reading files up to a limit: a device, or the wrong file, must not fill the memory.
//!
//! Errors are in the real server's words.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use crate::base::os_error::OsError;

/// Length above which a file holds neither a configuration nor keys.
const FILE_LEN_MAX: u64 = 16 * 1024 * 1024;

/// Reads a whole file.
///
/// # Errors
/// `no such file or directory`, `permission denied`, and so on; or it is too long.
pub fn read(path: &Path) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let file = File::open(path);
    let read = file.and_then(|file| file.take(FILE_LEN_MAX + 1).read_to_end(&mut bytes));
    read.map_err(|error| OsError(&error).to_string())?;
    if bytes.len() as u64 > FILE_LEN_MAX {
        return Err(format!("longer than {} MiB", FILE_LEN_MAX >> 20));
    }
    Ok(bytes)
}

/// Reads a file of text.
///
/// # Errors
/// As [`read`]; or it is not UTF-8.
pub fn read_text(path: &Path) -> Result<String, String> {
    String::from_utf8(read(path)?).map_err(|error| {
        let before = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
        format!("line {line} is not UTF-8")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_file_is_told_in_the_words_of_the_real_server() {
        let missing = read_text(Path::new("/nonexistent"));
        assert_eq!(missing, Err("no such file or directory".to_owned()));
    }

    #[test]
    fn other_encodings_are_told_by_their_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("latin1.conf");
        std::fs::write(&path, b"# a\n# f\xfcr\n").unwrap();
        assert_eq!(read_text(&path), Err("line 2 is not UTF-8".to_owned()));
    }

    #[test]
    fn a_device_is_no_text() {
        assert_eq!(read_text(Path::new("/dev/zero")), Err("longer than 16 MiB".to_owned()));
    }
}
