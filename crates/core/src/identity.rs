//! Two identities are kept apart everywhere: the process ([`BootId`]) and the disk ([`StoreId`]).

use core::fmt;

macro_rules! identity {
    ($(#[$doc:meta])* $name:ident($int:ty), $format:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub struct $name($int);

        impl $name {
            /// Wraps a number.
            pub const fn new(id: $int) -> Self {
                Self(id)
            }

            /// The number.
            pub const fn get(self) -> $int {
                self.0
            }
        }

        impl From<$int> for $name {
            fn from(id: $int) -> Self {
                Self(id)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, $format, self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "(", $format, ")"), self.0)
            }
        }
    };
}

identity! {
    /// A member of the cluster, named by the people who run it. Stable across restarts and machines.
    NodeId(u64), "{}"
}
identity! {
    /// The cluster a node belongs to. Nodes of different clusters refuse to talk.
    ClusterId(u64), "{:016x}"
}
identity! {
    /// One run of a process: new at each start. It fences connections, calls and late completions.
    ///
    /// Draw it from the operating system's generator. It says nothing of what the node remembers: that is
    /// [`StoreId`].
    BootId(u64), "{:016x}"
}
identity! {
    /// A node's durable state: drawn at random when that state is made, and gone only when it is wiped.
    ///
    /// Promises that outlive a process (a vote, a replica's acknowledgement, a clock's actor) are bound to
    /// it, so that a restarted node is the same voter and a node with a wiped disk is not.
    StoreId(u128), "{:032x}"
}
