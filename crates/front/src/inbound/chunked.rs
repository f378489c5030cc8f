//! Chunked bodies: decoded strictly by RFC 9112 §7.1 and encoded in the plainest form, so that actix cannot
//! find another end. Drops extensions and trailers.

use bytes::{Buf, BufMut, BytesMut};

/// How many bytes of extensions one chunk may have.
const EXTENSION_SIZE_MAX: usize = 4 * 1024;

/// How many bytes of trailers a body may have.
const TRAILERS_SIZE_MAX: usize = 16 * 1024;

pub(super) const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// Decodes a chunked body.
#[derive(Debug)]
pub(super) struct Dechunker {
    place: Place,
    /// How many bytes of extensions or trailers were skipped.
    skipped: usize,
}

#[derive(Debug, Clone, Copy)]
enum Place {
    SizeStart,
    Size(u64),
    Extension(u64),
    SizeLf(u64),
    Data(u64),
    DataCr,
    DataLf,
    /// At the start of a trailer or of the final empty line.
    Line,
    Trailer,
    TrailerLf,
    EndLf,
}

/// The body is not validly chunked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(super) struct MalformedChunk(pub &'static str);

impl Default for Dechunker {
    fn default() -> Self {
        Self { place: Place::SizeStart, skipped: 0 }
    }
}

impl Dechunker {
    /// Moves the available body from `input` to `output`, reframed. Returns true once the body is over; bytes
    /// after it stay.
    ///
    /// # Errors
    ///
    /// Fails if the input is not a chunked body. What was moved before is valid.
    pub(super) fn advance(
        &mut self,
        input: &mut BytesMut,
        output: &mut BytesMut,
    ) -> Result<bool, MalformedChunk> {
        while !input.is_empty() {
            if let Place::Data(left) = self.place {
                let here = usize::try_from(left).unwrap_or(usize::MAX).min(input.len());
                output.put_slice(format!("{here:x}\r\n").as_bytes());
                output.put_slice(&input[..here]);
                output.put_slice(b"\r\n");
                input.advance(here);
                let left = left - here as u64;
                self.place = if left == 0 { Place::DataCr } else { Place::Data(left) };
                continue;
            }
            if matches!(self.place, Place::EndLf) && input[0] == b'\n' {
                input.advance(1);
                output.put_slice(LAST_CHUNK);
                return Ok(true);
            }
            self.place = self.step(input.get_u8())?;
        }
        Ok(false)
    }

    fn step(&mut self, byte: u8) -> Result<Place, MalformedChunk> {
        const SIZE: MalformedChunk = MalformedChunk("the size of a chunk is not valid");
        const END: MalformedChunk = MalformedChunk("a chunk does not end with a line break");
        const TRAILER: MalformedChunk = MalformedChunk("a trailer is not valid");
        Ok(match (self.place, byte) {
            (Place::SizeStart, _) => Place::Size(digit(byte).ok_or(SIZE)?),
            (Place::Size(size) | Place::Extension(size), b'\r') => Place::SizeLf(size),
            (Place::Size(size), b';' | b' ' | b'\t') => {
                self.skipped = 0;
                Place::Extension(size)
            }
            (Place::Size(size), _) => {
                let digit = digit(byte).ok_or(SIZE)?;
                Place::Size(size.checked_mul(16).ok_or(SIZE)? + digit)
            }
            (Place::Extension(_), _) if byte != b'\t' && byte.is_ascii_control() => return Err(SIZE),
            (Place::Extension(size), _) => {
                self.skip(EXTENSION_SIZE_MAX)?;
                Place::Extension(size)
            }
            (Place::SizeLf(0), b'\n') => {
                self.skipped = 0;
                Place::Line
            }
            (Place::SizeLf(size), b'\n') => Place::Data(size),
            (Place::SizeLf(_), _) => return Err(SIZE),
            (Place::DataCr, b'\r') => Place::DataLf,
            (Place::DataLf, b'\n') => Place::SizeStart,
            (Place::DataCr | Place::DataLf, _) => return Err(END),
            (Place::Line, b'\r') => Place::EndLf,
            (Place::Trailer, b'\r') => Place::TrailerLf,
            (Place::Line | Place::Trailer, _) if byte != b'\t' && byte.is_ascii_control() => {
                return Err(TRAILER);
            }
            (Place::Line | Place::Trailer, _) => {
                self.skip(TRAILERS_SIZE_MAX)?;
                Place::Trailer
            }
            (Place::TrailerLf, b'\n') => Place::Line,
            (Place::TrailerLf | Place::EndLf, _) => return Err(TRAILER),
            // Handled by the caller.
            (Place::Data(left), _) => Place::Data(left),
        })
    }

    fn skip(&mut self, limit: usize) -> Result<(), MalformedChunk> {
        self.skipped += 1;
        if self.skipped > limit {
            return Err(MalformedChunk("the extensions or trailers of its chunks are too long"));
        }
        Ok(())
    }
}

fn digit(byte: u8) -> Option<u64> {
    char::from(byte).to_digit(16).map(u64::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds a body in pieces of this size. Returns the data, the number of bytes left over, and how it
    /// ended.
    fn dechunk(body: &[u8], piece: usize) -> (Vec<u8>, usize, Result<bool, MalformedChunk>) {
        let (mut dechunker, mut input, mut output) = (Dechunker::default(), BytesMut::new(), BytesMut::new());
        let mut used = 0;
        let mut ended = Ok(false);
        for piece in body.chunks(piece) {
            input.extend_from_slice(piece);
            used += piece.len();
            ended = dechunker.advance(&mut input, &mut output);
            if ended != Ok(false) {
                break;
            }
        }
        let mut data = Vec::new();
        let mut rest = &output[..];
        while !rest.is_empty() {
            let end = rest.windows(2).position(|two| two == b"\r\n").unwrap();
            let size = usize::from_str_radix(std::str::from_utf8(&rest[..end]).unwrap(), 16).unwrap();
            assert_eq!(size == 0, rest == LAST_CHUNK);
            data.extend_from_slice(&rest[end + 2..end + 2 + size]);
            rest = &rest[end + size + 4..];
        }
        (data, body.len() - used + input.len(), ended)
    }

    #[test]
    fn bodies_are_taken_apart_however_they_are_cut() {
        for (body, data) in [
            ("0\r\n\r\n", ""),
            ("3\r\nabc\r\n0\r\n\r\n", "abc"),
            (
                "3;a=b\r\nabc\r\n09 ;x\r\n\r\n1\r\n2\r\n3\r\n000\r\nx-a: 1\r\nb: 2\r\n\r\n",
                "abc\r\n1\r\n2\r\n3",
            ),
        ] {
            for piece in 1..=body.len() {
                let whole = format!("{body}GET");
                let (found, rest, ended) = dechunk(whole.as_bytes(), piece);
                assert_eq!(ended, Ok(true), "{body:?} by {piece}");
                assert_eq!(
                    (String::from_utf8(found).unwrap().as_str(), rest),
                    (data, 3),
                    "{body:?} by {piece}"
                );
            }
        }
    }

    #[test]
    fn what_is_no_chunk_is_refused() {
        for body in [
            "zz\r\n",
            "\r\n",
            "-1\r\n",
            "0x1\r\n",
            "1\na\r\n",
            "1\r\nab\r\n",
            "1\r\na\n",
            "1;\n\r\na\r\n",
            "11111111111111111\r\n",
            "0\r\n\n",
            "0\r\na: \x01\r\n\r\n",
            "0\r\n\rx",
        ] {
            let (_, _, ended) = dechunk(body.as_bytes(), body.len());
            assert!(ended.is_err(), "{body:?}");
        }
        for endless in [
            "1;".to_owned() + &"x".repeat(EXTENSION_SIZE_MAX + 1),
            "0\r\n".to_owned() + &"x: 1\r\n".repeat(TRAILERS_SIZE_MAX),
        ] {
            assert!(dechunk(endless.as_bytes(), 999).2.is_err());
        }
    }
}
