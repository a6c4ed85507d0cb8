//! What is loaded.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use thiserror::Error;

use crate::store::VALUE_BYTES_MAX;

/// One key and its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// The key.
    pub key: String,
    /// The value.
    pub value: Vec<u8>,
}

/// The lines of a file, each under its number; without a file, the packages of this workspace's Cargo.lock:
/// name and version as the key, checksum and dependencies as the value.
///
/// # Errors
///
/// [`InputError`]: the file can't be read, has nothing in it, or a line that is too long.
pub fn read(file: Option<&Path>) -> Result<Vec<Item>, InputError> {
    let path = match file {
        Some(file) => file.to_owned(),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../Cargo.lock"),
    };
    let failed = |source| InputError::Read { path: path.clone(), source };
    if fs::metadata(&path).map_err(failed)?.len() > FILE_BYTES_MAX {
        return Err(InputError::Large(path));
    }
    let bytes = fs::read(&path).map_err(failed)?;
    let items = if file.is_some() { lines(&bytes) } else { packages(&bytes, &path)? };
    if let Some(long) = items.iter().find(|item| item.value.len() > ITEM_BYTES_MAX) {
        return Err(InputError::Long { path, key: long.key.clone(), len: long.value.len() });
    }
    if items.is_empty() { Err(InputError::Empty(path)) } else { Ok(items) }
}

fn lines(bytes: &[u8]) -> Vec<Item> {
    let bytes = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    if bytes.is_empty() {
        return Vec::new();
    }
    let lines = bytes.split(|byte| *byte == b'\n').enumerate();
    lines.map(|(number, line)| Item { key: format!("line:{}", number + 1), value: line.to_vec() }).collect()
}

#[derive(Deserialize)]
struct LockFile {
    #[serde(default)]
    package: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    version: String,
    checksum: Option<String>,
    #[serde(default)]
    dependencies: Vec<String>,
}

fn packages(bytes: &[u8], path: &Path) -> Result<Vec<Item>, InputError> {
    let wrong = |why: String| InputError::LockFile { path: path.to_owned(), why };
    let text = std::str::from_utf8(bytes).map_err(|error| wrong(error.to_string()))?;
    let file: LockFile = toml::from_str(text).map_err(|error| wrong(error.message().to_owned()))?;
    let item = |package: Package| {
        let Package { name, version, checksum, dependencies } = package;
        let checksum = checksum.unwrap_or_else(|| "none".to_owned());
        let value = format!("checksum={checksum} dependencies={}", dependencies.join(","));
        (format!("package:{name}@{version}"), value.into_bytes())
    };
    // The same package from two sources has one key; each key is written by one client only.
    let items: BTreeMap<String, Vec<u8>> = file.package.into_iter().map(item).collect();
    Ok(items.into_iter().map(|(key, value)| Item { key, value }).collect())
}

/// Why there is nothing to load.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum InputError {
    /// The file can't be read.
    #[error("{}: {source}", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// The file is too large to be kept in memory beside the store.
    #[error("{} has more than {FILE_BYTES_MAX} bytes", .0.display())]
    Large(PathBuf),
    /// There is nothing in the file.
    #[error("{} is empty", .0.display())]
    Empty(PathBuf),
    /// A line is longer than a value may be.
    #[error("{}: {key} has {len} bytes, and {ITEM_BYTES_MAX} are allowed", path.display())]
    Long {
        /// Which file.
        path: PathBuf,
        /// Which line.
        key: String,
        /// How long it is.
        len: usize,
    },
    /// Cargo.lock is not what it should be.
    #[error("{} can't be read as a lock file: {why}", path.display())]
    LockFile {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
}

const FILE_BYTES_MAX: u64 = 128 << 20;
/// A value gets a mark of the pass that wrote it.
const ITEM_BYTES_MAX: usize = VALUE_BYTES_MAX - 128;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lock_file_of_this_workspace_is_read() {
        let items = read(None).unwrap();
        let tokio = items.iter().find(|item| item.key.starts_with("package:tokio@")).unwrap();
        let value = std::str::from_utf8(&tokio.value).unwrap();
        assert!(value.starts_with("checksum=") && value.contains("pin-project-lite"), "{value}");
        assert!(items.len() > 50);
    }

    #[test]
    fn lines_are_numbered_and_may_be_empty() {
        let keys: Vec<_> = lines(b"a\n\nb\n").into_iter().map(|item| (item.key, item.value)).collect();
        let expected = [("line:1", "a"), ("line:2", ""), ("line:3", "b")];
        assert_eq!(keys, expected.map(|(key, value)| (key.to_owned(), value.as_bytes().to_vec())));
        assert!(lines(b"").is_empty());
    }
}
