//! Values as bytes: little-endian numbers, lists after their number of entries (32 bits), and before each value that
//! travels on its own the version of the protocol. Each value has one form only.

use super::error::DecodeError;
use super::VERSION;

/// Writes values one after another.
#[derive(Default)]
pub struct Writer(Vec<u8>);

impl Writer {
    /// Nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// The version of the protocol, and room for so many bytes more.
    pub fn versioned(capacity: usize) -> Self {
        let mut writer = Self(Vec::with_capacity(1 + capacity));
        writer.u8(VERSION);
        writer
    }

    /// One byte.
    pub fn u8(&mut self, value: u8) {
        self.0.push(value);
    }

    /// Two bytes.
    pub fn u16(&mut self, value: u16) {
        self.raw(&value.to_le_bytes());
    }

    /// Four bytes.
    pub fn u32(&mut self, value: u32) {
        self.raw(&value.to_le_bytes());
    }

    /// Eight bytes.
    pub fn u64(&mut self, value: u64) {
        self.raw(&value.to_le_bytes());
    }

    /// Bytes as they are.
    pub fn raw(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    /// The number of entries of a list, which has fewer than 2^32: all lists here are bounded.
    pub fn count(&mut self, count: usize) {
        debug_assert!(u32::try_from(count).is_ok());
        self.u32(count as u32);
    }

    /// Bytes after their number.
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.count(bytes.len());
        self.raw(bytes);
    }

    /// A byte 1 and the value, or a byte 0.
    pub fn option<T>(&mut self, value: Option<&T>, write: impl FnOnce(&mut Self, &T)) {
        self.u8(value.is_some().into());
        if let Some(value) = value {
            write(self, value);
        }
    }

    /// What was written.
    pub fn finish(self) -> Vec<u8> {
        self.0
    }
}

/// Reads values one after another. Nothing is allocated for entries that the bytes have no room for.
#[derive(Clone, Copy)]
pub struct Reader<'a> {
    what: &'static str,
    bytes: &'a [u8],
}

type Read<T> = Result<T, DecodeError>;

impl<'a> Reader<'a> {
    /// Reads a value with this name, that errors use.
    pub fn new(what: &'static str, bytes: &'a [u8]) -> Self {
        Self { what, bytes }
    }

    /// The same for a value that begins with the version of the protocol.
    ///
    /// # Errors
    /// If there is none, or another.
    pub fn versioned(what: &'static str, bytes: &'a [u8]) -> Read<Self> {
        let mut reader = Self::new(what, bytes);
        match reader.u8("version")? {
            VERSION => Ok(reader),
            found => Err(DecodeError::UnknownVersion { what, found, known: VERSION }),
        }
    }

    /// An error about a field of this value.
    pub fn malformed(&self, field: &'static str, reason: &'static str) -> DecodeError {
        DecodeError::Malformed { what: self.what, field, reason }
    }

    /// So many bytes.
    ///
    /// # Errors
    /// If there are not so many.
    pub fn raw(&mut self, length: usize, field: &'static str) -> Read<&'a [u8]> {
        let truncated = DecodeError::Truncated { what: self.what, field };
        let (head, tail) = self.bytes.split_at_checked(length).ok_or(truncated)?;
        self.bytes = tail;
        Ok(head)
    }

    /// The same as an array.
    ///
    /// # Errors
    /// If there are not so many.
    pub fn array<const N: usize>(&mut self, field: &'static str) -> Read<[u8; N]> {
        let mut array = [0; N];
        array.copy_from_slice(self.raw(N, field)?);
        Ok(array)
    }

    /// One byte.
    ///
    /// # Errors
    /// If there is none.
    pub fn u8(&mut self, field: &'static str) -> Read<u8> {
        self.array(field).map(|[byte]| byte)
    }

    /// Two bytes.
    ///
    /// # Errors
    /// If there are fewer.
    pub fn u16(&mut self, field: &'static str) -> Read<u16> {
        self.array(field).map(u16::from_le_bytes)
    }

    /// Four bytes.
    ///
    /// # Errors
    /// If there are fewer.
    pub fn u32(&mut self, field: &'static str) -> Read<u32> {
        self.array(field).map(u32::from_le_bytes)
    }

    /// Eight bytes.
    ///
    /// # Errors
    /// If there are fewer.
    pub fn u64(&mut self, field: &'static str) -> Read<u64> {
        self.array(field).map(u64::from_le_bytes)
    }

    /// A byte that is 0 or 1.
    ///
    /// # Errors
    /// If it is missing or something else.
    pub fn flag(&mut self, field: &'static str) -> Read<bool> {
        match self.u8(field)? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(self.malformed(field, "is marked as neither there (1) nor absent (0)")),
        }
    }

    /// The number of entries of a list, of which each has at least so many bytes.
    ///
    /// # Errors
    /// If there are more entries than `most`, or than the bytes have room for.
    pub fn count(&mut self, entry_length: usize, most: usize, field: &'static str) -> Read<usize> {
        let count = self.u32(field)? as usize;
        if count > most {
            return Err(self.malformed(field, "has more entries than are allowed"));
        }
        if count > self.bytes.len() / entry_length.max(1) {
            return Err(DecodeError::Truncated { what: self.what, field });
        }
        Ok(count)
    }

    /// A list of entries that each have at least so many bytes.
    ///
    /// # Errors
    /// As for [`Reader::count`], and those of `read`.
    pub fn list<T>(
        &mut self,
        entry_length: usize,
        most: usize,
        field: &'static str,
        mut read: impl FnMut(&mut Self) -> Read<T>,
    ) -> Read<Vec<T>> {
        let count = self.count(entry_length, most, field)?;
        // The bytes have room for them, so memory for them is no more than a small multiple of the bytes.
        let mut list = Vec::with_capacity(count);
        for _ in 0..count {
            list.push(read(self)?);
        }
        Ok(list)
    }

    /// Bytes after their number.
    ///
    /// # Errors
    /// If there are more than `most`, or fewer than the number says.
    pub fn bytes(&mut self, most: usize, field: &'static str) -> Read<&'a [u8]> {
        let count = self.count(1, most, field)?;
        self.raw(count, field)
    }

    /// Text after its number of bytes.
    ///
    /// # Errors
    /// As for [`Reader::bytes`], and if it is not UTF-8.
    pub fn text(&mut self, most: usize, field: &'static str) -> Read<&'a str> {
        let bytes = self.bytes(most, field)?;
        std::str::from_utf8(bytes).map_err(|_| self.malformed(field, "is not UTF-8 text"))
    }

    /// A value that may be absent.
    ///
    /// # Errors
    /// As for [`Reader::flag`], and those of `read`.
    pub fn option<T>(
        &mut self,
        field: &'static str,
        read: impl FnOnce(&mut Self) -> Read<T>,
    ) -> Read<Option<T>> {
        self.flag(field)?.then(|| read(self)).transpose()
    }

    /// All that is left.
    pub fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.bytes)
    }

    /// Refuses anything that is left.
    ///
    /// # Errors
    /// If something is.
    pub fn end(self) -> Read<()> {
        match self.bytes.len() {
            0 => Ok(()),
            count => Err(DecodeError::TrailingBytes { what: self.what, count }),
        }
    }
}

/// Whether keys rise strictly: sorted, and none is there twice.
pub(super) fn is_rising<T: Ord>(keys: impl IntoIterator<Item = T>) -> bool {
    let mut keys = keys.into_iter();
    let Some(mut last) = keys.next() else { return true };
    keys.all(|key| {
        let rises = last < key;
        last = key;
        rises
    })
}

/// serde writes values as their bytes.
macro_rules! serde_as_bytes {
    ($($name:ident),* $(,)?) => {$(
        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_bytes(&self.to_bytes())
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Visitor;

                impl serde::de::Visitor<'_> for Visitor {
                    type Value = $name;

                    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        write!(f, "the bytes of a {}", stringify!($name))
                    }

                    fn visit_bytes<E: serde::de::Error>(self, bytes: &[u8]) -> Result<$name, E> {
                        $name::from_bytes(bytes).map_err(E::custom)
                    }
                }

                deserializer.deserialize_bytes(Visitor)
            }
        }
    )*};
}

pub(super) use serde_as_bytes;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_that_the_bytes_have_no_room_for_are_refused() {
        let mut writer = Writer::new();
        writer.u32(u32::MAX);
        let bytes = writer.finish();
        let mut reader = Reader::new("thing", &bytes);
        let error = reader.list(32, usize::MAX, "list", |reader| reader.array::<32>("entry"));
        assert_eq!(error, Err(DecodeError::Truncated { what: "thing", field: "list" }));
        let mut reader = Reader::new("thing", &bytes);
        let error = reader.count(0, 5, "list").unwrap_err();
        assert_eq!(error.to_string(), "the list of the thing has more entries than are allowed");
    }

    #[test]
    fn versions_and_flags_are_checked() {
        let error = Reader::versioned("thing", &[3]).map(|_| ()).unwrap_err();
        assert_eq!(error, DecodeError::UnknownVersion { what: "thing", found: 3, known: 2 });
        assert!(Reader::versioned("thing", &[]).is_err());
        assert!(Reader::new("thing", &[2]).flag("option").is_err());
        assert!(Reader::new("thing", &[2]).end().is_err());
    }

    #[test]
    fn rising_means_sorted_and_unique() {
        assert!(is_rising::<u8>([]) && is_rising([1]) && is_rising([1, 2, 9]));
        assert!(!is_rising([1, 1]) && !is_rising([2, 1]) && !is_rising([1, 3, 2]));
    }
}
