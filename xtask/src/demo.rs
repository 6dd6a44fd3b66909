//! `cargo xtask demo`: the agent watches a small API under the traffic of a few
//! clients, and shows what it made of that.

use std::{fs, path::Path};

use anyhow::{Context as _, Result};

use crate::{
    setup,
    shell::{cargo, command, require_root, root, run, say, target},
};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// How calls are shown as they come: lines, json, tui or none.
    #[arg(long, value_name = "KIND", default_value = "lines")]
    output: String,
}

pub(crate) fn task(args: &Args) -> Result<()> {
    setup::demo()?;
    say("build the agent");
    run(cargo().args(["build", "--package", "apiscope", "--bin", "apiscope"]))?;
    require_root("watching")?;
    let directory = target().join("demo");
    if directory.exists() {
        fs::remove_dir_all(&directory)
            .with_context(|| format!("remove {}", directory.display()))?;
    }
    fs::create_dir_all(&directory).with_context(|| format!("create {}", directory.display()))?;
    certificate(&directory)?;

    let agent = target().join("debug/apiscope");
    let state = directory.join("state");
    say("watch an API, over HTTP and HTTPS, and its clients: no other process is observed");
    run(command(&agent)
        .arg("run")
        .arg("--state")
        .arg(&state)
        .args(["--output", &args.output, "--"])
        .arg(root().join("xtask/demo/run.sh"))
        .arg(&directory))?;

    say("the endpoints that were seen");
    run(command(&agent).arg("inventory").arg("--state").arg(&state))?;
    say("what is wrong with them");
    run(command(&agent).arg("findings").arg("--state").arg(&state))?;
    let services = directory.join("services");
    let services =
        fs::read_to_string(&services).with_context(|| format!("read {}", services.display()))?;
    for service in services.lines() {
        say(&format!("the OpenAPI document of {service}"));
        run(command(&agent)
            .arg("openapi")
            .arg("--state")
            .arg(&state)
            .args(["--service", service]))?;
    }
    say(&format!("the state stays in {}", state.display()));
    Ok(())
}

/// Makes the API's certificate, which its clients trust and nobody else.
fn certificate(directory: &Path) -> Result<()> {
    say("make a certificate for localhost, for one day");
    run(command("openssl")
        .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1"])
        .args(["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"])
        .arg("-keyout")
        .arg(directory.join("key.pem"))
        .arg("-out")
        .arg(directory.join("cert.pem")))
}
