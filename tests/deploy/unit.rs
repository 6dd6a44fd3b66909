//! The systemd unit.

use std::{collections::BTreeMap, fs, process::Command};

use anyhow::{Context as _, Result};

use crate::{CAPABILITIES, MEMORY_MIB, PORT, output, text};

/// Exposure that `systemd-analyze security` may report at most, in tenths. What
/// remains is what the agent is for: it reads other processes and loads programs
/// into the kernel.
const EXPOSURE: u32 = 40;

/// The path that the unit starts.
pub(crate) const PROGRAM: &str = "/usr/local/bin/apiscope";

/// Every setting of the unit, with its values in order.
fn settings() -> Result<BTreeMap<String, Vec<String>>> {
    let mut settings: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for line in text("apiscope.service")?.lines() {
        if line.is_empty() || line.starts_with(['#', '[']) {
            continue;
        }
        let (key, value) =
            line.split_once('=').with_context(|| format!("not a setting: {line}"))?;
        settings.entry(key.to_owned()).or_default().push(value.to_owned());
    }
    Ok(settings)
}

/// Runs `systemd-analyze` on the unit, with a program that is there on any machine;
/// what it says about the unit.
fn analyze(arguments: &[&str]) -> Result<String> {
    let folder = tempfile::tempdir()?;
    let unit = folder.path().join("apiscope.service");
    fs::write(&unit, text("apiscope.service")?.replace(PROGRAM, "/bin/true"))?;
    let (_, messages) = output(Command::new("systemd-analyze").args(arguments).arg(&unit))
        .context("systemd-analyze (Debian: apt-get install systemd)")?;
    // Units of the machine that have nothing to do with ours may be commented on too.
    let about = messages.lines().filter(|line| line.contains("apiscope.service"));
    Ok(about.collect::<Vec<_>>().join("\n"))
}

#[test]
fn systemd_accepts_the_unit() {
    // An unknown setting is a message, not a failure.
    assert_eq!(analyze(&["verify", "--man=no"]).unwrap(), "");
}

#[test]
fn exposure_stays_low() {
    analyze(&["security", "--no-pager", "--offline=yes", &format!("--threshold={EXPOSURE}")])
        .unwrap();
}

#[test]
fn the_command_line_is_that_of_the_readme() {
    let settings = settings().unwrap();
    let expected = format!(
        "{PROGRAM} run --all --output none --state /var/lib/apiscope \
         --listen 127.0.0.1:{PORT} $APISCOPE_OPTIONS"
    );
    assert_eq!(settings["ExecStart"], [expected]);
    assert_eq!(settings["StateDirectory"], ["apiscope"]);
    // The leading dash: the file may be missing.
    assert_eq!(settings["EnvironmentFile"], ["-/etc/default/apiscope"]);
}

#[test]
fn nothing_waits_for_a_notification_that_never_comes() {
    let settings = settings().unwrap();
    assert_eq!(settings["Type"], ["exec"]);
    assert!(!settings.contains_key("WatchdogSec"));
}

#[test]
fn capabilities_are_those_of_the_container() {
    let expected = CAPABILITIES.map(|name| format!("CAP_{name}")).join(" ");
    assert_eq!(settings().unwrap()["CapabilityBoundingSet"], [expected]);
}

#[test]
fn the_agent_may_confine_itself_further() {
    let settings = settings().unwrap();
    let allowed = settings["SystemCallFilter"].join(" ");
    for call in
        ["seccomp", "landlock_create_ruleset", "landlock_add_rule", "landlock_restrict_self"]
    {
        assert!(allowed.split(' ').any(|name| name == call), "{call}");
    }
    // It would refuse itself what it is refused anyway, and hide that.
    assert!(!allowed.contains('~'), "{allowed}");
}

#[test]
fn what_the_agent_has_to_see_is_not_hidden_from_it() {
    let settings = settings().unwrap();
    for (key, value) in [
        ("PrivateTmp", "no"),
        ("PrivateUsers", "no"),
        ("ProtectHome", "read-only"),
        ("ProtectProc", "default"),
    ] {
        assert_eq!(settings[key], [value], "{key}");
    }
}

#[test]
fn payload_does_not_reach_the_disk_in_a_core_file() {
    assert_eq!(settings().unwrap()["LimitCORE"], ["0"]);
}

#[test]
fn memory_is_bounded() {
    assert_eq!(settings().unwrap()["MemoryMax"], [format!("{MEMORY_MIB}M")]);
}
