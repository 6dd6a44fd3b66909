//! The Python of other releases of Debian, with the OpenSSL that they came with: the tests
//! observe it.

use std::{fs, path::Path};

use anyhow::{Context as _, Result};

use crate::{
    shell::{say, target},
    suite::Suite,
};

/// Releases, and the OpenSSL in each; Debian 12 itself has 3.0.
const SUITES: [(&str, &str); 3] = [("bullseye", "1.1.1"), ("trixie", "3.5"), ("sid", "the newest")];

/// Unpacks them under `target/python`, unless they are there.
pub(crate) fn fetch() -> Result<()> {
    for (suite, openssl) in SUITES {
        let kept = target().join("python").join(suite);
        if kept.exists() {
            say(&format!("Python with OpenSSL {openssl}: in {}", kept.display()));
            continue;
        }
        say(&format!("Python with OpenSSL {openssl}: download from Debian {suite}"));
        let work = target().join("python").join(format!("{suite}-partial"));
        let tree = Suite::open(suite, &work)?.unpack_whole(&["python3"])?;
        merge(&tree)?;
        fs::rename(&tree, &kept).with_context(|| format!("move it to {}", kept.display()))?;
        fs::remove_dir_all(&work).with_context(|| format!("remove {}", work.display()))?;
    }
    Ok(())
}

/// Makes `/lib` what it is on an installed system, a link into `/usr`, where the packages
/// have not done so.
fn merge(tree: &Path) -> Result<()> {
    let link = tree.join("lib");
    if link.exists() {
        return Ok(());
    }
    std::os::unix::fs::symlink("usr/lib", &link).with_context(|| format!("link {}", link.display()))
}
