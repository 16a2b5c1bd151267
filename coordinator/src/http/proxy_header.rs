//! What a proxy that speaks the PROXY protocol (versions 1 and 2) says at the beginning of a connection: for whom it
//! connects.
//!
//! <https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt>

use std::{io, net::IpAddr};

use proxy_header::{ParseConfig, ProxyHeader};
use tokio::io::{AsyncRead, AsyncReadExt};

/// How version 2 begins.
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";

/// The longest header of version 1, its line end included.
const LINE: usize = 107;

/// No proxy of today says more in version 2.
const MOST: usize = 4096;

/// Reads the header and nothing after it: the address that is connected for, or nothing if the proxy connects on its
/// own account.
///
/// # Errors
/// If something else comes.
pub(crate) async fn read(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<IpAddr>> {
    // The shortest header of version 1 has three bytes more.
    let mut header = vec![0; SIGNATURE.len()];
    stream.read_exact(&mut header).await?;
    if header == SIGNATURE {
        // Version and command, family, and the length of the rest.
        let mut fixed = [0; 4];
        stream.read_exact(&mut fixed).await?;
        header.extend_from_slice(&fixed);
        let length = usize::from(u16::from_be_bytes([fixed[2], fixed[3]]));
        if length > MOST {
            return Err(wrong("its PROXY header is too long"));
        }
        let begin = header.len();
        header.resize(begin + length, 0);
        stream.read_exact(&mut header[begin..]).await?;
    } else if header.starts_with(b"PROXY ") {
        while header.last() != Some(&b'\n') {
            if header.len() == LINE {
                return Err(wrong("its PROXY line is too long"));
            }
            header.push(stream.read_u8().await?);
        }
    } else {
        return Err(wrong("it does not begin with a PROXY header"));
    }
    let config = ParseConfig { include_tlvs: false, allow_v1: true, allow_v2: true };
    match ProxyHeader::parse(&header, config) {
        Ok((parsed, length)) if length == header.len() => {
            Ok(parsed.proxied_address().map(|address| address.source.ip().to_canonical()))
        }
        _ => Err(wrong("its PROXY header cannot be read")),
    }
}

fn wrong(problem: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, problem)
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    async fn of(bytes: &[u8]) -> Result<(Option<String>, usize), String> {
        let mut rest = bytes;
        let read = read(&mut rest).await;
        let address = read.map_err(|error| error.to_string())?;
        Ok((address.map(|address| address.to_string()), bytes.len() - rest.len()))
    }

    fn version_2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
        [&SIGNATURE[..], &[command, family], &length, rest].concat()
    }

    #[tokio::test]
    async fn both_versions_are_read_and_nothing_beyond() {
        let v4 = [&[192, 0, 2, 1, 192, 0, 2, 2, 1, 2, 3, 4][..], &[4, 0, 1, 9]].concat();
        let v6 = [&[0x20, 1, 0xd, 0xb8][..], &[0; 12], &[1; 16], &[1, 2, 3, 4]].concat();
        for (header, expected) in [
            (b"PROXY TCP4 192.0.2.1 192.0.2.2 1 65535\r\n".to_vec(), Some("192.0.2.1")),
            (b"PROXY TCP6 2001:db8::1 ::1 1 2\r\n".to_vec(), Some("2001:db8::1")),
            (b"PROXY TCP6 ::ffff:192.0.2.1 ::1 1 2\r\n".to_vec(), Some("192.0.2.1")),
            (b"PROXY UNKNOWN\r\n".to_vec(), None),
            (b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n".to_vec(), None),
            (version_2(0x21, 0x11, &v4), Some("192.0.2.1")),
            (version_2(0x21, 0x21, &v6), Some("2001:db8::")),
            // The proxy looks whether somebody is there.
            (version_2(0x20, 0x00, &[]), None),
        ] {
            let length = header.len();
            let bytes = [header, b"GET / HTTP/1.1\r\n".to_vec()].concat();
            let expected = expected.map(str::to_owned);
            assert_eq!(of(&bytes).await, Ok((expected, length)), "{bytes:?}");
            // Cut off anywhere.
            for end in 0..length {
                assert!(of(&bytes[..end]).await.is_err(), "{:?}", &bytes[..end]);
            }
        }
    }

    #[tokio::test]
    async fn all_else_is_an_error() {
        let long = [b"PROXY TCP4 ".to_vec(), vec![b'1'; 200], b"\r\n".to_vec()].concat();
        for bytes in [
            b"GET / HTTP/1.1\r\nhost: x\r\n\r\n".to_vec(),
            b"PROXY TCP4 192.0.2.1 192.0.2.2 1 65536\r\n".to_vec(),
            b"PROXY TCP4 2001:db8::1 ::1 1 2\r\n".to_vec(),
            b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\n".to_vec(),
            b"PROXY TCP5 192.0.2.1 192.0.2.2 1 2\r\n".to_vec(),
            version_2(0x31, 0x11, &[0; 12]),
            version_2(0x21, 0x11, &[0; 11]),
            [&SIGNATURE[..], &[0x21, 0x11, 0xff, 0xff], &vec![0; 1 << 16]].concat(),
            long,
        ] {
            of(&bytes).await.unwrap_err();
        }
    }

    proptest! {
        /// Whatever comes: no panic, and never more than a header is taken.
        #[test]
        fn nothing_is_too_strange(
            version in 0..3,
            bytes in vec(any::<u8>(), 0..150),
            text in "[A-Z0-9 .:]{0,120}",
        ) {
            let bytes = match version {
                0 => bytes,
                1 => [SIGNATURE.to_vec(), bytes].concat(),
                _ => [b"PROXY ".to_vec(), text.into_bytes(), b"\r\n".to_vec()].concat(),
            };
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            if let Ok((_, length)) = runtime.block_on(of(&bytes)) {
                prop_assert!(length <= bytes.len() && length <= 16 + MOST);
            }
        }
    }
}
