//! Whose something is.

use std::sync::Arc;

/// Who acts through a server: over HTTP whoever holds a token of this name, else [`Principal::local`]. Jobs, questions and limits
/// are a principal's own.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Principal(Arc<str>);

impl Principal {
    /// Who needs no token: the user the server runs as, on standard input, at the command line, at a unix socket.
    pub fn local() -> Self {
        Self::named("local")
    }

    /// The principal of this name.
    pub fn named(name: &str) -> Self {
        Self(name.into())
    }

    /// Its name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for Principal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}
