//! What the first process of the emulated computer (`init.c`) hands out: a line, then frames of a kind, a length and a content.

use std::io::{self, Read};

/// Comes before the frames; what the computer prints until then is not ours.
const START: &[u8] = b"\n=== the program starts\n";

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Frame {
    Output(Vec<u8>),
    Errors(Vec<u8>),
    /// The program has ended with this status.
    Status(u8),
}

/// Reads up to the first frame.
pub(super) fn skip_to_start(from: &mut impl Read) -> io::Result<()> {
    let mut end = Vec::new();
    while end != START {
        if end.len() == START.len() {
            end.remove(0);
        }
        end.extend(bytes::<1>(from)?);
    }
    Ok(())
}

pub(super) fn read(from: &mut impl Read) -> io::Result<Frame> {
    let [kind, low, high] = bytes(from)?;
    let mut content = vec![0; usize::from(u16::from_le_bytes([low, high]))];
    from.read_exact(&mut content)?;
    match (kind, &content[..]) {
        (1, _) => Ok(Frame::Output(content)),
        (2, _) => Ok(Frame::Errors(content)),
        (3, &[status]) => Ok(Frame::Status(status)),
        _ => Err(io::Error::new(io::ErrorKind::InvalidData, format!("a frame of kind {kind}"))),
    }
}

fn bytes<const N: usize>(from: &mut impl Read) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    from.read_exact(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn frames_are_read_after_the_start() {
        let mut stream: &[u8] =
            b"Booting\n\n=== the\n=== the program starts\n\x01\x03\x00one\x02\x00\x00\x01\x00\x01\
            ";
        skip_to_start(&mut stream).unwrap();
        assert_eq!(read(&mut stream).unwrap(), Frame::Output(b"one".to_vec()));
        assert_eq!(read(&mut stream).unwrap(), Frame::Errors(Vec::new()));
        assert_eq!(read(&mut stream).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        let long = [&[1, 0x2c, 0x01][..], &[b'x'; 300], &[3, 1, 0, 101]].concat();
        let mut stream = &long[..];
        assert_eq!(read(&mut stream).unwrap(), Frame::Output(vec![b'x'; 300]));
        assert_eq!(read(&mut stream).unwrap(), Frame::Status(101));
        assert!(stream.is_empty());
    }

    #[test]
    fn what_is_no_frame_is_refused() {
        assert_eq!(skip_to_start(&mut &b"Booting\n"[..]).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        for bytes in [&b"\x04\x00\x00"[..], b"\x03\x00\x00", b"\x03\x02\x00ab", b"BIOS"] {
            read(&mut &*bytes).unwrap_err();
        }
        assert_eq!(read(&mut &b"\x04\x00\x00"[..]).unwrap_err().kind(), io::ErrorKind::InvalidData);
    }
}
