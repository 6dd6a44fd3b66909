//! What was done, what was seen, and the difference.

use std::{collections::BTreeMap, fs, path::Path};

use anyhow::{Context as _, Result, bail, ensure};
use serde::Deserialize;
use serde_json::Value;

/// SHA-256 of nothing.
const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/// What every value begins with that must stay in the observed programs: clients send it
/// in queries and bodies.
const SECRET: &str = "secret-";

/// A call by what identifies it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Deserialize)]
pub struct Done {
    /// The method.
    pub method: String,
    /// The path, without query.
    pub path: String,
    /// The status.
    pub status: u16,
    /// Length of the request's body.
    pub request_size: u64,
    /// Hash of the request's body; `None` when not compared.
    pub request_sha256: Option<String>,
    /// Length of the response's body.
    pub response_size: u64,
    /// Hash of the response's body; `None` when not compared.
    pub response_sha256: Option<String>,
    /// Port of the client's socket; `None` on a unix socket, or when not compared.
    pub port: Option<u16>,
}

impl Done {
    /// Without the client's port.
    #[must_use]
    pub fn without_port(mut self) -> Self {
        self.port = None;
        self
    }

    /// Without what is known of bodies but their lengths.
    #[must_use]
    pub fn without_hashes(mut self) -> Self {
        self.request_sha256 = None;
        self.response_sha256 = None;
        self
    }
}

/// Reads what a client wrote down.
pub fn read(file: &Path) -> Result<Vec<Done>> {
    let text = fs::read_to_string(file).with_context(|| format!("read {}", file.display()))?;
    text.lines().map(|line| serde_json::from_str(line).context("parse what was done")).collect()
}

/// A line of the agent's output.
#[derive(Clone, Debug)]
pub struct Call(pub Value);

impl Call {
    /// Parses a line, which must not tell a secret.
    pub fn parse(line: &str) -> Result<Self> {
        ensure!(!line.contains(SECRET), "a value was told: {line}");
        Ok(Self(serde_json::from_str(line).with_context(|| format!("parse {line:?}"))?))
    }

    /// A text; empty when absent.
    pub fn text(&self, key: &str) -> &str {
        self.0.get(key).and_then(Value::as_str).unwrap_or_default()
    }

    /// Texts of a list; none when absent.
    pub fn texts(&self, key: &str) -> Vec<&str> {
        let list = self.0.get(key).and_then(Value::as_array).into_iter().flatten();
        list.filter_map(Value::as_str).collect()
    }

    /// A number; `None` when absent.
    pub fn number(&self, key: &str) -> Option<u64> {
        self.0.get(key).and_then(Value::as_u64)
    }

    /// Whether a flag is present and set.
    pub fn is(&self, key: &str) -> bool {
        self.0.get(key).and_then(Value::as_bool).unwrap_or_default()
    }

    /// Port of the client's end.
    pub fn client_port(&self) -> Option<u16> {
        self.number("client.port").and_then(|port| port.try_into().ok())
    }

    /// The call as a client would have written it down.
    pub fn done(&self) -> Done {
        let size = |message| self.number(&format!("http.{message}.body.size")).unwrap_or_default();
        let hash = |message| match self.text(&format!("apiscope.{message}.body.sha256")) {
            // An empty body may be told by its size alone.
            "" if size(message) == 0 => Some(EMPTY.to_owned()),
            "" => None,
            hash => Some(hash.to_owned()),
        };
        Done {
            method: self.text("http.request.method").to_owned(),
            path: self.text("url.path").to_owned(),
            status: self
                .number("http.response.status_code")
                .and_then(|status| status.try_into().ok())
                .unwrap_or_default(),
            request_size: size("request"),
            request_sha256: hash("request"),
            response_size: size("response"),
            response_sha256: hash("response"),
            port: self.client_port(),
        }
    }
}

/// Fails unless both hold the same calls, each as often.
pub fn compare(done: &[Done], seen: &[Done]) -> Result<()> {
    let mut balance: BTreeMap<&Done, i64> = BTreeMap::new();
    for call in done {
        *balance.entry(call).or_default() += 1;
    }
    for call in seen {
        *balance.entry(call).or_default() -= 1;
    }
    let differ = |sign: i64| {
        let calls = balance.iter().filter(move |(_, count)| **count * sign > 0);
        let number: i64 = calls.clone().map(|(_, count)| count * sign).sum();
        let text: Vec<String> =
            calls.take(4).map(|(call, count)| format!("\n  {} x {call:?}", count * sign)).collect();
        (number, text.concat())
    };
    let (lost, lost_calls) = differ(1);
    let (invented, invented_calls) = differ(-1);
    ensure!(
        lost == 0 && invented == 0,
        "{} done, {} seen; {lost} lost:{lost_calls}\n{invented} invented:{invented_calls}",
        done.len(),
        seen.len(),
    );
    Ok(())
}

/// Fails unless the same calls were seen as were done, all of them complete.
pub fn compare_complete(done: &[Done], calls: &[Call]) -> Result<()> {
    let seen: Vec<Done> = calls.iter().map(Call::done).collect();
    compare(done, &seen)?;
    for call in calls {
        let whole = call.is("apiscope.complete") && call.number("apiscope.lost_bytes") == Some(0);
        ensure!(whole, "not complete: {}", call.0);
    }
    Ok(())
}

/// Fails unless a text is the same in every call.
pub fn all(calls: &[Call], key: &str, text: &str) -> Result<()> {
    ensure!(!calls.is_empty(), "no calls");
    for call in calls {
        ensure!(call.text(key) == text, "{key} is not {text:?}: {}", call.0);
    }
    Ok(())
}

/// Fails unless every call was captured in a library whose name begins so. Before 5.15 a
/// kernel does not tell which library a probe is in, and no name may be invented.
pub fn all_by_library(calls: &[Call], name: &str) -> Result<()> {
    ensure!(!calls.is_empty(), "no calls");
    let named = kernel_version()? >= (5, 15);
    for call in calls {
        let library = call.text("apiscope.tls.library");
        let right = if named { library.starts_with(name) } else { library.is_empty() };
        ensure!(right, "another library than {name:?}: {}", call.0);
    }
    Ok(())
}

/// Major and minor version of the kernel.
pub fn kernel_version() -> Result<(u32, u32)> {
    let uname = rustix::system::uname();
    let release = uname.release().to_string_lossy();
    let mut numbers = release.split('.').map(str::parse);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => Ok((major, minor)),
        _ => bail!("kernel {release}"),
    }
}

/// Fails unless both ends of every call were seen and made one.
pub fn all_both_ends(calls: &[Call]) -> Result<()> {
    all(calls, "apiscope.role", "server")?;
    for call in calls {
        ensure!(call.is("apiscope.both_ends"), "one end alone: {}", call.0);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn done(path: &str) -> Done {
        let call = serde_json::json!({ "http.request.method": "GET", "url.path": path });
        Call::parse(&call.to_string()).unwrap().done()
    }

    #[test]
    fn the_same_calls_in_another_order_are_the_same() {
        let (one, two) = (done("/1"), done("/2"));
        compare(&[one.clone(), two.clone()], &[two, one]).unwrap();
    }

    #[test]
    fn a_call_that_is_seen_twice_is_invented() {
        let error = compare(&[done("/1")], &[done("/1"), done("/1")]).unwrap_err();
        assert!(error.to_string().contains("1 invented"), "{error}");
    }

    #[test]
    fn a_call_that_is_not_seen_is_lost() {
        let error = compare(&[done("/1"), done("/2")], &[done("/2")]).unwrap_err();
        assert!(error.to_string().contains("1 lost:\n  1 x Done"), "{error}");
    }

    #[test]
    fn a_line_that_tells_a_value_is_refused() {
        assert!(Call::parse(r#"{"url.query":"q=secret-7"}"#).is_err());
    }
}
