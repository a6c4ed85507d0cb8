use core::fmt;

/// What is known of a request that did not simply succeed.
///
/// Every error of every crate answers `outcome()` with one of these three. Only [`Outcome::NotDone`] may be
/// retried blindly; after [`Outcome::Unknown`], a retry can do the work twice unless the request is
/// idempotent.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Outcome {
    /// It took effect.
    Done,
    /// It had no effect and never will.
    NotDone,
    /// It may have taken effect, or may yet.
    Unknown,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Done => "done",
            Self::NotDone => "not done",
            Self::Unknown => "unknown",
        })
    }
}
