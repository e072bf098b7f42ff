use std::path::{Path, PathBuf};

use super::reader::Reader;
use super::{Listen, Store, values};

/// `[admin]`: how the operator's commands reach a running server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admin {
    /// The unix socket, which only the server's own user may use.
    pub socket: PathBuf,
}

impl Admin {
    /// The default: in the store.
    pub fn within(store: &Path) -> Self {
        Self {
            socket: store.join("admin.sock"),
        }
    }

    pub(super) fn read(reader: &mut Reader<'_>, store: &Store) -> Self {
        let default = Self::within(&store.path);
        let mut section = reader.section("admin");
        let socket = section.value("socket", default.socket, values::path);
        let length = socket.as_os_str().len();
        if length > Listen::LONGEST_PATH {
            let text = format!(
                "must be shorter: the path of a unix socket has at most {} bytes, and {} has {length}",
                Listen::LONGEST_PATH,
                socket.display()
            );
            section.refuse("socket", &text);
        }
        Self { socket }
    }
}
