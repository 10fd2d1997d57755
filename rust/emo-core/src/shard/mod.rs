//! One safetensors file: a strictly read header, a guarded mapping or positional reads, hashes.

pub mod hash;
pub mod header;
pub mod map;
pub mod write;

use std::fs::{File, Metadata};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use crate::error::{Error, Result};
use header::{PREFIX, TensorInfo};
use map::Mapping;

/// An open shard.
///
/// ```no_run
/// use emo_core::shard::Shard;
/// let shard = Shard::open("shards/0000.safetensors".as_ref())?;
/// for tensor in shard.tensors() {
///     println!("{} {:?}", tensor.name, tensor.shape);
/// }
/// # Ok::<(), emo_core::error::Error>(())
/// ```
#[derive(Debug)]
pub struct Shard {
    path: PathBuf,
    file: File,
    stamp: Stamp,
    tensors: Vec<TensorInfo>,
    mapping: OnceLock<Option<Mapping>>,
}

/// What must not change while a file is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    bytes: u64,
    inode: (u64, u64),
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        #[cfg(unix)]
        let inode = {
            use std::os::unix::fs::MetadataExt;
            (metadata.dev(), metadata.ino())
        };
        #[cfg(not(unix))]
        let inode = (0, 0);
        Self { bytes: metadata.len(), inode }
    }
}

impl Shard {
    /// Open a shard and read its header under the strict rules.
    pub fn open(path: &Path) -> Result<Self> {
        let file = open_regular(path)?;
        let stamp =
            Stamp::of(&file.metadata().map_err(|error| Error::io("look at", path, &error))?);
        let mut shard = Self {
            path: path.to_owned(),
            file,
            stamp,
            tensors: Vec::new(),
            mapping: OnceLock::new(),
        };
        shard.tensors = shard.read_header().map_err(|error| locate(&error, path))?;
        Ok(shard)
    }

    fn read_header(&self) -> Result<Vec<TensorInfo>> {
        if self.stamp.bytes < PREFIX {
            return Err(Error::artifact(format!(
                "{} bytes are too few for a header",
                self.stamp.bytes
            )));
        }
        let mut prefix = [0; PREFIX as usize];
        self.read_at(0, &mut prefix)?;
        let mut json = vec![0; header::header_length(prefix, self.stamp.bytes)? as usize];
        self.read_at(PREFIX, &mut json)?;
        header::parse_header(&json, self.stamp.bytes)
    }

    /// Path this shard was opened with.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Size of the file in bytes when it was opened.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.stamp.bytes
    }

    /// Tensors in the order of their bytes.
    #[must_use]
    pub fn tensors(&self) -> &[TensorInfo] {
        &self.tensors
    }

    /// The tensor of this name.
    pub fn tensor(&self, name: &str) -> Result<&TensorInfo> {
        self.tensors.iter().find(|tensor| tensor.name == name).ok_or_else(|| {
            let known: Vec<&str> =
                self.tensors.iter().take(8).map(|tensor| tensor.name.as_str()).collect();
            let more = if self.tensors.len() > known.len() { ", ..." } else { "" };
            Error::artifact(format!("{} holds no tensor {name:?}", self.path.display()))
                .hint(format!("it holds: {}{more}", known.join(", ")))
        })
    }

    /// The file as guarded memory, or `None` where it cannot be mapped.
    pub fn mapping(&self) -> Option<&Mapping> {
        self.mapping.get_or_init(|| Mapping::new(&self.file, self.stamp.bytes)).as_ref()
    }

    /// Whether positional reads are safer here than a mapping.
    #[must_use]
    pub fn is_remote(&self) -> bool {
        map::is_remote(&self.file)
    }

    /// Fill `buffer` from byte `offset` on; a file that ends early is an error.
    pub fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<()> {
        let mut done = 0;
        while done < buffer.len() {
            match read_some(&self.file, offset + done as u64, &mut buffer[done..]) {
                Ok(0) => return Err(self.truncated()),
                Ok(count) => done += count,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Error::io("read", &self.path, &error)),
            }
        }
        Ok(())
    }

    /// Fail when the file was truncated, grown or replaced since it was opened.
    pub fn check_unchanged(&self) -> Result<()> {
        if self.mapping.get().and_then(Option::as_ref).is_some_and(Mapping::lost_pages) {
            return Err(self.truncated());
        }
        for metadata in [self.file.metadata(), std::fs::metadata(&self.path)] {
            let stamp = Stamp::of(
                &metadata.map_err(|error| Error::io("look again at", &self.path, &error))?,
            );
            if stamp.bytes < self.stamp.bytes && stamp.inode == self.stamp.inode {
                return Err(self.truncated());
            }
            if stamp != self.stamp {
                return Err(self.changed("changed or replaced"));
            }
        }
        Ok(())
    }

    fn truncated(&self) -> Error {
        self.changed("truncated")
    }

    fn changed(&self, how: &str) -> Error {
        Error::artifact(format!("{} was {how} while it was read", self.path.display()))
            .hint("shards are immutable once published; capture the store again")
    }
}

/// Open a file for reading; folders, pipes and devices are refused before they can block.
pub(crate) fn open_regular(path: &Path) -> Result<File> {
    let opening = |error: &std::io::Error| {
        if error.kind() == std::io::ErrorKind::NotFound {
            Error::artifact(format!("there is no file {}", path.display()))
        } else {
            Error::io("open", path, error)
        }
    };
    if !std::fs::metadata(path).map_err(|error| opening(&error))?.is_file() {
        return Err(Error::artifact(format!("{} is not a regular file", path.display())));
    }
    File::open(path).map_err(|error| opening(&error))
}

fn locate(error: &Error, path: &Path) -> Error {
    let text = error.to_string();
    let shown = path.display().to_string();
    if error.kind() != crate::error::Kind::Artifact || text.contains(&shown) {
        return error.clone();
    }
    Error::artifact(format!("{shown}: {text}")).hint("this is no sound safetensors file")
}

#[cfg(unix)]
fn read_some(file: &File, offset: u64, buffer: &mut [u8]) -> std::io::Result<usize> {
    std::os::unix::fs::FileExt::read_at(file, buffer, offset)
}

#[cfg(windows)]
fn read_some(file: &File, offset: u64, buffer: &mut [u8]) -> std::io::Result<usize> {
    std::os::windows::fs::FileExt::seek_read(file, buffer, offset)
}
