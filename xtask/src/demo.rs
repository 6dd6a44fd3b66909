//! demo
use anyhow::Result;
#[derive(clap::Args)]
pub(crate) struct Args {}
pub(crate) fn task(_args: &Args) -> Result<()> {
    Ok(())
}
