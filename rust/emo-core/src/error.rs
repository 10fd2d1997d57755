//! One error type: a kind, a sentence that says what and where, and a hint where one is known.

use std::io::ErrorKind;

/// What went wrong, by who can mend it; the kinds match the Python classes of `emo.errors`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An argument that cannot be used.
    Usage,
    /// A damaged or foreign file.
    Artifact,
    /// Disk, permission or network trouble.
    Resource,
    /// The numbers do not allow it.
    Numerical,
    /// The caller asked to stop.
    Interrupted,
    /// A bug of this program.
    Internal,
}

/// The only error of this crate.
///
/// ```
/// use emo_core::error::{Error, Kind};
/// let error = Error::usage("n_labels is 0, at least 1 is needed").hint("pass the labels' count");
/// assert_eq!(error.kind(), Kind::Usage);
/// assert_eq!(error.to_string(), "n_labels is 0, at least 1 is needed");
/// ```
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    kind: Kind,
    message: String,
    hint: Option<String>,
}

/// Result of every fallible function of this crate.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), hint: None }
    }

    /// An argument that cannot be used.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(Kind::Usage, message)
    }

    /// A damaged or foreign file.
    pub fn artifact(message: impl Into<String>) -> Self {
        Self::new(Kind::Artifact, message).hint("restore the file from a copy, or make it again")
    }

    /// Disk, permission or network trouble.
    pub fn resource(message: impl Into<String>) -> Self {
        Self::new(Kind::Resource, message)
    }

    /// The numbers do not allow it.
    pub fn numerical(message: impl Into<String>) -> Self {
        Self::new(Kind::Numerical, message)
    }

    /// The caller asked to stop.
    #[must_use]
    pub fn interrupted() -> Self {
        Self::new(Kind::Interrupted, "interrupted")
    }

    /// A bug of this program, with what a panic said.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(Kind::Internal, message)
    }

    /// An operation of the system on `path` that failed.
    #[must_use]
    pub fn io(action: &str, path: &std::path::Path, error: &std::io::Error) -> Self {
        let hint = match error.kind() {
            ErrorKind::StorageFull => "free some space, or choose another disk",
            ErrorKind::PermissionDenied => "change its permissions, or choose another place",
            _ => "check the path, the disk and its permissions",
        };
        Self::resource(format!("cannot {action} {}: {error}", path.display())).hint(hint)
    }

    /// The same error with advice on how to mend it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Kind of this error.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Advice on how to mend it, if any is known.
    #[must_use]
    pub fn advice(&self) -> Option<&str> {
        self.hint.as_deref()
    }
}
