//! Reads a safetensors header under stricter rules than the format's own reader.
//!
//! No duplicate keys at any level, plain names, checked products, bounded rank and header, and
//! tensors that cover the data exactly, without gap or overlap.

use std::collections::HashSet;
use std::fmt;

use serde::de::{self, Deserialize, Deserializer, MapAccess, Visitor};

use crate::dtype::Dtype;
use crate::error::{Error, Result};

/// Longest header that is read, in bytes.
pub const MAX_HEADER: u64 = 16 << 20;
/// Highest rank of a tensor.
pub const MAX_RANK: usize = 8;
/// Longest name of a tensor, in bytes.
pub const MAX_NAME: usize = 256;
/// Bytes before the header: its length as a little-endian u64.
pub const PREFIX: u64 = 8;

/// Where one tensor lies in its file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorInfo {
    /// Name, printable ASCII without spaces.
    pub name: String,
    /// Element type.
    pub dtype: Dtype,
    /// Shape, outermost dimension first.
    pub shape: Vec<u64>,
    /// First byte, counted from the start of the file.
    pub begin: u64,
    /// One past the last byte, counted from the start of the file.
    pub end: u64,
}

/// Length of the header that the first eight bytes announce, checked against the file's size.
///
/// ```
/// use emo_core::shard::header::header_length;
/// assert_eq!(header_length([16, 0, 0, 0, 0, 0, 0, 0], 100).unwrap(), 16);
/// assert!(header_length([16, 0, 0, 0, 0, 0, 0, 0], 20).is_err());
/// ```
pub fn header_length(prefix: [u8; 8], file_len: u64) -> Result<u64> {
    let length = u64::from_le_bytes(prefix);
    if length > MAX_HEADER {
        return Err(Error::artifact(format!(
            "the header claims {length} bytes, the limit is {MAX_HEADER}"
        )));
    }
    if length < 2 || PREFIX + length > file_len {
        return Err(Error::artifact(format!(
            "the header claims {length} bytes in a file of {file_len}"
        )));
    }
    Ok(length)
}

/// Tensors of a header in the order of their bytes; `file_len` is the size of the whole file.
///
/// ```
/// use emo_core::shard::header::parse_header;
/// let json = br#"{"x":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]}}"#;
/// let tensors = parse_header(json, 8 + json.len() as u64 + 24).unwrap();
/// assert_eq!(tensors[0].shape, [2, 3]);
/// ```
pub fn parse_header(json: &[u8], file_len: u64) -> Result<Vec<TensorInfo>> {
    let bad = |what: String| Error::artifact(format!("bad header: {what}"));
    let body = json.trim_ascii_end();
    if json[body.len()..].iter().any(|byte| *byte != b' ') || body.first() != Some(&b'{') {
        return Err(bad("it must be one JSON object followed by spaces only".into()));
    }
    let Entries(entries) = serde_json::from_slice(body).map_err(|error| bad(error.to_string()))?;
    let data = PREFIX + json.len() as u64;
    let size = file_len
        .checked_sub(data)
        .ok_or_else(|| bad(format!("it ends at byte {data} of a file of {file_len}")))?;
    let mut tensors = entries
        .into_iter()
        .map(|(name, entry)| entry.place(name, data, size))
        .collect::<Result<Vec<_>>>()?;
    tensors.sort_by(|a, b| (a.begin, a.end, &a.name).cmp(&(b.begin, b.end, &b.name)));
    check_cover(&tensors, data, file_len)?;
    Ok(tensors)
}

fn check_cover(tensors: &[TensorInfo], data: u64, file_len: u64) -> Result<()> {
    let mut at = data;
    for tensor in tensors {
        if tensor.begin != at {
            let what = if tensor.begin > at { "a gap" } else { "an overlap" };
            return Err(Error::artifact(format!(
                "bad header: {what} before tensor {:?}, which begins at byte {} and not at {at}",
                tensor.name, tensor.begin
            )));
        }
        at = tensor.end;
    }
    if at == file_len {
        return Ok(());
    }
    Err(Error::artifact(format!(
        "bad header: the tensors end at byte {at}, the file at {file_len}"
    )))
}

/// Refuse names that are empty, long, reserved, or hold anything but printable ASCII.
pub fn check_name(name: &str) -> Result<()> {
    let plain = name.bytes().all(|byte| byte.is_ascii_graphic());
    if plain && !name.is_empty() && name.len() <= MAX_NAME && name != "__metadata__" {
        return Ok(());
    }
    let shown: String = name.chars().take(40).collect();
    Err(Error::artifact(format!(
        "tensor name {shown:?} is not plain: 1 to {MAX_NAME} printable ASCII characters without spaces"
    )))
}

/// Bytes of a tensor, or `None` where the product overflows or ends inside a byte.
#[must_use]
pub fn tensor_bytes(dtype: Dtype, shape: &[u64]) -> Option<u64> {
    let mut bits = dtype.bits();
    for extent in shape {
        bits = bits.checked_mul(*extent)?;
    }
    bits.is_multiple_of(8).then_some(bits / 8)
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    dtype: String,
    shape: Vec<u64>,
    data_offsets: [u64; 2],
}

impl Entry {
    fn place(self, name: String, data: u64, size: u64) -> Result<TensorInfo> {
        check_name(&name)?;
        let bad = |what: String| Error::artifact(format!("bad header: tensor {name:?} {what}"));
        let dtype = Dtype::from_name(&self.dtype)
            .ok_or_else(|| bad(format!("has the unknown dtype {:?}", self.dtype)))?;
        if self.shape.len() > MAX_RANK {
            return Err(bad(format!("has rank {}, the limit is {MAX_RANK}", self.shape.len())));
        }
        let bytes = tensor_bytes(dtype, &self.shape)
            .ok_or_else(|| bad(format!("has the impossible shape {:?}", self.shape)))?;
        let [begin, end] = self.data_offsets;
        if begin > end || end > size || end - begin != bytes {
            return Err(bad(format!(
                "claims bytes {begin} to {end} of {size}, but {} {:?} takes {bytes}",
                self.dtype, self.shape
            )));
        }
        Ok(TensorInfo { name, dtype, shape: self.shape, begin: data + begin, end: data + end })
    }
}

struct Entries(Vec<(String, Entry)>);

impl<'de> Deserialize<'de> for Entries {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        deserializer.deserialize_map(EntriesVisitor)
    }
}

struct EntriesVisitor;

impl<'de> Visitor<'de> for EntriesVisitor {
    type Value = Entries;

    fn expecting(&self, out: &mut fmt::Formatter) -> fmt::Result {
        out.write_str("an object of tensors")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<Entries, A::Error> {
        let mut seen = HashSet::new();
        let mut entries = Vec::new();
        while let Some(name) = map.next_key::<String>()? {
            if !seen.insert(name.clone()) {
                return Err(de::Error::custom(format_args!("duplicate key {name:?}")));
            }
            if name == "__metadata__" {
                map.next_value::<Metadata>()?;
            } else {
                entries.push((name, map.next_value()?));
            }
        }
        Ok(Entries(entries))
    }
}

/// String pairs that are checked for form and then dropped.
struct Metadata;

impl<'de> Deserialize<'de> for Metadata {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        deserializer.deserialize_map(MetadataVisitor)
    }
}

struct MetadataVisitor;

impl<'de> Visitor<'de> for MetadataVisitor {
    type Value = Metadata;

    fn expecting(&self, out: &mut fmt::Formatter) -> fmt::Result {
        out.write_str("an object of strings")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<Metadata, A::Error> {
        let mut seen = HashSet::new();
        while let Some((key, _)) = map.next_entry::<String, String>()? {
            if !seen.insert(key.clone()) {
                return Err(de::Error::custom(format_args!(
                    "duplicate key {key:?} in the metadata"
                )));
            }
        }
        Ok(Metadata)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(json: &str, data: u64) -> Result<Vec<TensorInfo>> {
        parse_header(json.as_bytes(), PREFIX + json.len() as u64 + data)
    }

    fn refused(json: &str, data: u64, part: &str) {
        let error = parse(json, data).expect_err(json);
        assert!(error.to_string().contains(part), "{error} does not mention {part:?}");
    }

    #[test]
    fn reads_metadata_padding_and_empty_tensors() {
        let json = r#"{"__metadata__":{"a":"b"},"e":{"dtype":"I64","shape":[0,2],"data_offsets":[4,4]},
            "x":{"dtype":"BF16","shape":[1,2],"data_offsets":[0,4]}}      "#;
        let tensors = parse(json, 4).unwrap();
        assert_eq!(tensors.iter().map(|t| t.name.as_str()).collect::<Vec<_>>(), ["x", "e"]);
        assert_eq!(tensors[0].begin, PREFIX + json.len() as u64);
    }

    #[test]
    fn refuses_what_the_rules_forbid() {
        let one = r#""dtype":"F32","shape":[1],"data_offsets":[0,4]"#;
        refused(&format!(r#"{{"x":{{{one}}},"x":{{{one}}}}}"#), 4, "duplicate key");
        refused(&format!(r#"{{"x":{{{one},"dtype":"F32"}}}}"#), 4, "duplicate field");
        refused(&format!(r#"{{"x":{{{one},"extra":1}}}}"#), 4, "unknown field");
        refused(r#"{"__metadata__":{"a":"b","a":"c"}}"#, 0, "duplicate key");
        refused(r#"{"__metadata__":{"a":1}}"#, 0, "string");
        refused(&format!(r#"{{"":{{{one}}}}}"#), 4, "not plain");
        refused(&format!(r#"{{"a b":{{{one}}}}}"#), 4, "not plain");
        refused(&format!(r#"{{"a\u0000":{{{one}}}}}"#), 4, "not plain");
        refused(&format!(r#"{{"x":{{{one}}}}}"#), 5, "the file at");
        refused(&format!(r#"{{"x":{{{one}}}}}"#), 3, "claims bytes");
        refused(&format!("{{\"x\":{{{one}}}}}\n"), 4, "spaces only");
        refused(&format!(r#" {{"x":{{{one}}}}}"#), 4, "one JSON object");
        refused(r#"{"x":{"dtype":"F33","shape":[1],"data_offsets":[0,4]}}"#, 4, "unknown dtype");
        refused(r#"{"x":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}}"#, 4, "bad header");
        refused(r#"{"x":{"dtype":"F32","shape":[1.0],"data_offsets":[0,4]}}"#, 4, "bad header");
        refused(r#"{"x":{"dtype":"F4","shape":[1],"data_offsets":[0,1]}}"#, 1, "impossible shape");
        refused(
            r#"{"x":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,0]}}"#,
            0,
            "impossible shape",
        );
        refused(
            r#"{"x":{"dtype":"U8","shape":[1,1,1,1,1,1,1,1,1],"data_offsets":[0,1]}}"#,
            1,
            "rank 9",
        );
    }

    #[test]
    fn refuses_gaps_and_overlaps() {
        let two = |a: u64, b: u64| {
            format!(
                r#"{{"x":{{"dtype":"U8","shape":[4],"data_offsets":[0,4]}},
                "y":{{"dtype":"U8","shape":[4],"data_offsets":[{a},{b}]}}}}"#
            )
        };
        assert!(parse(&two(4, 8), 8).is_ok());
        refused(&two(5, 9), 9, "a gap");
        refused(&two(3, 7), 7, "an overlap");
        refused(&two(0, 4), 4, "an overlap");
    }

    #[test]
    fn length_is_bounded() {
        assert!(header_length((MAX_HEADER + 1).to_le_bytes(), u64::MAX).is_err());
        assert!(header_length(u64::MAX.to_le_bytes(), 100).is_err());
        assert!(header_length(1u64.to_le_bytes(), 100).is_err());
    }

    proptest::proptest! {
        #[test]
        fn never_panics(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
            let _ = parse_header(&bytes, 8 + bytes.len() as u64);
        }

        #[test]
        fn never_panics_on_mutations(at in 0usize..110, byte in proptest::num::u8::ANY) {
            let mut json = br#"{"__metadata__":{"k":"v"},"x":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]},"y":{"dtype":"I64","shape":[1],"data_offsets":[24,32]}}"#.to_vec();
            json[at] = byte;
            if let Ok(tensors) = parse_header(&json, 8 + json.len() as u64 + 32) {
                let total: u64 = tensors.iter().map(|tensor| tensor.end - tensor.begin).sum();
                proptest::prop_assert_eq!(total, 32);
            }
        }
    }
}
