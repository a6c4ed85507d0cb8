//! Where a cluster's data is, and what is known of the cluster before any node runs.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use quorate_core::ClusterId;
use tempfile::TempDir;
use thiserror::Error;

/// The data directory of a cluster: a folder for each node, and a file that says which cluster it is.
///
/// The file also says whether the cluster is founded. Founding is an explicit act: only while the file says
/// that it isn't done are nodes started with the list of the first voters. A node whose folder is lost later
/// comes back as a standby and can't vote against what it has forgotten.
#[derive(Debug)]
pub struct Directory {
    path: PathBuf,
    cluster: ClusterId,
    nodes: u64,
    founded: bool,
    // Removes a temporary directory when the cluster is dropped.
    _temporary: Option<TempDir>,
}

impl Directory {
    /// Opens the directory of a cluster, or makes it if there is nothing; a temporary one without a path.
    ///
    /// # Errors
    ///
    /// [`DirectoryError`]; nothing was changed then, but an empty folder may have been made.
    pub fn open(path: Option<&Path>, nodes: Option<u64>) -> Result<Self, DirectoryError> {
        let Some(path) = path else {
            let temporary =
                TempDir::with_prefix("quorate-").map_err(DirectoryError::io("a temporary directory"))?;
            let path = temporary.path().to_owned();
            return Self::make(path, nodes, Some(temporary));
        };
        fs::create_dir_all(path).map_err(DirectoryError::io(path.display()))?;
        let file = path.join(FILE);
        match fs::read_to_string(&file) {
            Ok(text) => Self::load(path.to_owned(), &text, nodes),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let mut others = fs::read_dir(path).map_err(DirectoryError::io(path.display()))?;
                if others.next().is_some() {
                    return Err(DirectoryError::Foreign(path.to_owned()));
                }
                Self::make(path.to_owned(), nodes, None)
            }
            Err(error) => Err(DirectoryError::io(file.display())(error)),
        }
    }

    fn make(path: PathBuf, nodes: Option<u64>, temporary: Option<TempDir>) -> Result<Self, DirectoryError> {
        let cluster = getrandom::u64().map_err(|error| DirectoryError::Random(error.to_string()))?;
        let (cluster, nodes) = (ClusterId::new(cluster), nodes.unwrap_or(NODES));
        let made = Self { path, cluster, nodes, founded: false, _temporary: temporary };
        made.save()?;
        Ok(made)
    }

    fn load(path: PathBuf, text: &str, wanted: Option<u64>) -> Result<Self, DirectoryError> {
        let damaged = || DirectoryError::Damaged(path.join(FILE));
        let mut lines = text.lines();
        let mut field = |name: &str| lines.next()?.strip_prefix(name)?.strip_prefix('=').map(str::to_owned);
        let mut read = || Some((field("version")?, field("cluster")?, field("nodes")?, field("founded")?));
        let (version, cluster, nodes, founded) = read().ok_or_else(damaged)?;
        let cluster = u64::from_str_radix(&cluster, 16).map_err(|_| damaged())?;
        let nodes = nodes.parse().ok().filter(|nodes| (1..=9).contains(nodes)).ok_or_else(damaged)?;
        let founded = match &founded[..] {
            "yes" => true,
            "no" => false,
            _ => return Err(damaged()),
        };
        if version != VERSION {
            return Err(DirectoryError::Version { version });
        }
        if let Some(wanted) = wanted.filter(|wanted| *wanted != nodes) {
            return Err(DirectoryError::Nodes { wanted, there: nodes });
        }
        Ok(Self { path, cluster: ClusterId::new(cluster), nodes, founded, _temporary: None })
    }

    /// The name that the nodes know each other by.
    pub const fn cluster(&self) -> ClusterId {
        self.cluster
    }

    /// How many nodes there are; they are numbered from 1.
    pub const fn nodes(&self) -> u64 {
        self.nodes
    }

    /// The folder of a node.
    pub fn node(&self, id: u64) -> PathBuf {
        self.path.join(format!("node-{id}"))
    }

    /// Whether every node has its first voters on disk.
    pub const fn is_founded(&self) -> bool {
        self.founded
    }

    /// Remembers that every node has its first voters on disk.
    ///
    /// # Errors
    ///
    /// If it can't be written. Nodes are then still started as founders, which does no harm to those that
    /// have voters already.
    pub fn set_founded(&mut self) -> Result<(), DirectoryError> {
        self.founded = true;
        self.save()
    }

    // Under another name first, so that a crash leaves the old file or the new one.
    fn save(&self) -> Result<(), DirectoryError> {
        let founded = if self.founded { "yes" } else { "no" };
        let Self { cluster, nodes, .. } = self;
        let text = format!("version={VERSION}\ncluster={cluster}\nnodes={nodes}\nfounded={founded}\n");
        let (file, new) = (self.path.join(FILE), self.path.join(format!("{FILE}.new")));
        let write = || {
            let mut out = File::create(&new)?;
            out.write_all(text.as_bytes())?;
            out.sync_all()?;
            fs::rename(&new, &file)?;
            File::open(&self.path)?.sync_all()
        };
        write().map_err(DirectoryError::io(file.display()))
    }
}

/// Why a directory can't be a cluster's.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum DirectoryError {
    /// The file system refused.
    #[error("{what}: {source}")]
    Io {
        /// What was tried to be read or written.
        what: String,
        /// What the operating system said.
        source: io::Error,
    },
    /// The operating system gave no random bytes for the cluster's name.
    #[error("no random bytes: {0}")]
    Random(String),
    /// There is something else in it.
    #[error("{} is not empty and holds no cluster", .0.display())]
    Foreign(PathBuf),
    /// The file that describes the cluster can't be read.
    #[error("{} does not describe a cluster", .0.display())]
    Damaged(PathBuf),
    /// It was made by another version of this program.
    #[error("it has the layout {version}, and only {VERSION} is known")]
    Version {
        /// The version it has.
        version: String,
    },
    /// The cluster has another number of nodes than was asked for.
    #[error("the cluster has {there} nodes, not {wanted}")]
    Nodes {
        /// How many were asked for.
        wanted: u64,
        /// How many there are.
        there: u64,
    },
}

impl DirectoryError {
    fn io(what: impl ToString) -> impl FnOnce(io::Error) -> Self {
        let what = what.to_string();
        move |source| Self::Io { what, source }
    }
}

const FILE: &str = "cluster";
const VERSION: &str = "1";
const NODES: u64 = 3;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_remembers_its_cluster() {
        let parent = TempDir::new().unwrap();
        let path = parent.path().join("new");
        let mut made = Directory::open(Some(&path), Some(5)).unwrap();
        assert!(!made.is_founded());
        made.set_founded().unwrap();
        let again = Directory::open(Some(&path), None).unwrap();
        assert_eq!((again.cluster(), again.nodes(), again.is_founded()), (made.cluster(), 5, true));
        let error = Directory::open(Some(&path), Some(3)).unwrap_err();
        assert_eq!(error.to_string(), "the cluster has 5 nodes, not 3");
    }

    #[test]
    fn what_is_no_cluster_is_left_alone() {
        let path = TempDir::new().unwrap();
        fs::write(path.path().join("letter.txt"), "dear").unwrap();
        assert!(matches!(Directory::open(Some(path.path()), None), Err(DirectoryError::Foreign(_))));
        for text in [
            "",
            "version=1\n",
            "version=1\ncluster=x\nnodes=3\nfounded=no\n",
            "version=1\ncluster=1\nnodes=0\nfounded=no",
        ] {
            fs::write(path.path().join(FILE), text).unwrap();
            assert!(matches!(Directory::open(Some(path.path()), None), Err(DirectoryError::Damaged(_))));
        }
        fs::write(path.path().join(FILE), "version=2\ncluster=1\nnodes=3\nfounded=no\n").unwrap();
        assert!(matches!(Directory::open(Some(path.path()), None), Err(DirectoryError::Version { .. })));
    }

    #[test]
    fn a_temporary_directory_is_removed() {
        let made = Directory::open(None, None).unwrap();
        let path = made.node(1).parent().unwrap().to_owned();
        assert_eq!(made.nodes(), 3);
        assert!(path.exists());
        drop(made);
        assert!(!path.exists());
    }
}
