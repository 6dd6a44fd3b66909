//! The state on disk: services, endpoints and findings in SQLite, so that a restart
//! loses nothing that was shown. No payload is in it.

use std::{
    fs, io,
    os::unix::fs::{DirBuilderExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use rusqlite::{Connection, OpenFlags, params};
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    detect::Finding,
    export::ledger::Line,
    inventory::{Changes, Endpoint, EndpointKey, Service},
};

/// Name of the database in the state directory.
const FILE: &str = "apiscope.db";

/// Steps from an empty database to the newest schema; `PRAGMA user_version` tells how
/// many were taken. Never changed, only added to.
const MIGRATIONS: [&str; 2] = [
    "
    CREATE TABLE services (
        name TEXT PRIMARY KEY,
        value TEXT NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE endpoints (
        service TEXT NOT NULL,
        route TEXT NOT NULL,
        method TEXT NOT NULL,
        value TEXT NOT NULL,
        PRIMARY KEY (service, route, method)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE findings (
        id TEXT PRIMARY KEY,
        value TEXT NOT NULL
    ) STRICT, WITHOUT ROWID;
",
    "
    CREATE TABLE coverage (
        program TEXT PRIMARY KEY,
        value TEXT NOT NULL
    ) STRICT, WITHOUT ROWID;
",
];

/// How long a writer waits for another, and a reader for a writer.
const PATIENCE: Duration = Duration::from_secs(5);

/// All that a store holds.
#[derive(Debug, Default)]
pub struct State {
    /// Services, by name.
    pub services: Vec<Service>,
    /// Endpoints, by service, route and method.
    pub endpoints: Vec<Endpoint>,
    /// Findings, by id.
    pub findings: Vec<Finding>,
    /// What became of the connections of the latest run, by program.
    pub coverage: Vec<Line>,
    /// Rows that could not be read and were passed over.
    pub damaged: u64,
}

/// A database.
#[derive(Debug)]
pub struct Store {
    connection: Connection,
    path: PathBuf,
}

impl Store {
    /// Opens the state in a directory, which is made when it is not there, for its
    /// owner alone. A database of a newer version is refused and left as it is.
    pub fn open(directory: &Path) -> Result<Self> {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)
            .with_context(|| format!("make {} for the state", directory.display()))?;
        let path = directory.join(FILE);
        let connection = Connection::open(&path)
            .with_context(|| format!("open the state in {}", path.display()))?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600))
            .with_context(|| format!("keep {} to its owner", path.display()))?;
        let mut store = Self { connection, path };
        store.prepare().with_context(|| format!("open the state in {}", store.path.display()))?;
        Ok(store)
    }

    /// Whether there is no state in a directory.
    pub fn is_absent(directory: &Path) -> bool {
        let found = fs::metadata(directory.join(FILE));
        found.is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
    }

    /// Opens the state for reading only.
    pub fn open_read_only(directory: &Path) -> Result<Self> {
        let path = directory.join(FILE);
        let found = fs::metadata(&path);
        if found.as_ref().is_err_and(|error| error.kind() != io::ErrorKind::NotFound) {
            found.with_context(|| format!("look at the state in {}", path.display()))?;
        } else if found.is_err() {
            bail!(
                "there is no state in {}; apiscope run makes it, --state says where",
                directory.display()
            );
        }
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(&path, flags)
            .with_context(|| format!("open the state in {}", path.display()))?;
        connection.busy_timeout(PATIENCE).context("set the patience")?;
        let store = Self { connection, path };
        let version = store.version()?;
        if version > MIGRATIONS.len() {
            store.too_new(version)?;
        }
        Ok(store)
    }

    fn prepare(&mut self) -> Result<()> {
        self.connection.busy_timeout(PATIENCE)?;
        let version = self.version()?;
        if version > MIGRATIONS.len() {
            self.too_new(version)?;
        }
        self.connection.pragma_update(None, "journal_mode", "WAL")?;
        self.connection.pragma_update(None, "synchronous", "NORMAL")?;
        // What was merged away is gone from the file as well.
        self.connection.pragma_update(None, "secure_delete", "ON")?;
        for (step, after) in MIGRATIONS.iter().zip(1_i64..).skip(version) {
            let transaction = self.connection.transaction()?;
            transaction.execute_batch(step)?;
            transaction.pragma_update(None, "user_version", after)?;
            transaction.commit()?;
        }
        Ok(())
    }

    fn version(&self) -> Result<usize> {
        let version: i64 = self
            .connection
            .pragma_query_value(None, "user_version", |row| row.get(0))
            .context("read the version of the state")?;
        usize::try_from(version).context("version of the state")
    }

    fn too_new(&self, version: usize) -> Result<()> {
        bail!(
            "{} has version {version}, this apiscope knows {}; it was left as it is: \
             use a newer apiscope or another --state",
            self.path.display(),
            MIGRATIONS.len()
        )
    }

    /// Writes changes, all or none.
    pub fn apply(&mut self, changes: &Changes, findings: &[Finding]) -> Result<()> {
        let transaction = self.connection.transaction().context("begin to write the state")?;
        {
            let mut put = transaction
                .prepare_cached("INSERT OR REPLACE INTO services (name, value) VALUES (?1, ?2)")?;
            for service in &changes.services {
                put.execute(params![&*service.name, text(service)?])?;
            }
            let mut put = transaction.prepare_cached(
                "INSERT OR REPLACE INTO endpoints (service, route, method, value)
                 VALUES (?1, ?2, ?3, ?4)",
            )?;
            for endpoint in &changes.endpoints {
                let EndpointKey { service, route, method } = &endpoint.key;
                put.execute(params![&**service, &**route, &**method, text(endpoint)?])?;
            }
            let mut remove = transaction.prepare_cached(
                "DELETE FROM endpoints WHERE service = ?1 AND route = ?2 AND method = ?3",
            )?;
            for EndpointKey { service, route, method } in &changes.removed {
                remove.execute(params![&**service, &**route, &**method])?;
            }
            let mut put = transaction
                .prepare_cached("INSERT OR REPLACE INTO findings (id, value) VALUES (?1, ?2)")?;
            for finding in findings {
                put.execute(params![finding.id, text(finding)?])?;
            }
        }
        transaction.commit().context("write the state")
    }

    /// Begins the coverage ledger of a run: that of the run before is gone.
    pub fn begin_coverage(&mut self) -> Result<()> {
        self.connection.execute("DELETE FROM coverage", []).context("write the state")?;
        Ok(())
    }

    /// Writes what became of the connections of programs, all or none.
    pub fn cover(&mut self, lines: &[Line]) -> Result<()> {
        let transaction = self.connection.transaction().context("begin to write the state")?;
        {
            let mut put = transaction.prepare_cached(
                "INSERT OR REPLACE INTO coverage (program, value) VALUES (?1, ?2)",
            )?;
            for line in lines {
                put.execute(params![line.program, text(line)?])?;
            }
        }
        transaction.commit().context("write the state")
    }

    /// Reads all of it.
    pub fn load(&self) -> Result<State> {
        let mut state = State::default();
        state.services =
            self.values("SELECT value FROM services ORDER BY name", &mut state.damaged)?;
        state.endpoints = self.values(
            "SELECT value FROM endpoints ORDER BY service, route, method",
            &mut state.damaged,
        )?;
        state.findings =
            self.values("SELECT value FROM findings ORDER BY id", &mut state.damaged)?;
        if self.version()? > 1 {
            state.coverage =
                self.values("SELECT value FROM coverage ORDER BY program", &mut state.damaged)?;
        }
        Ok(state)
    }

    fn values<T: DeserializeOwned>(&self, query: &str, damaged: &mut u64) -> Result<Vec<T>> {
        let context = || format!("read the state in {}", self.path.display());
        let mut statement = self.connection.prepare(query).with_context(context)?;
        let rows = statement.query_map([], |row| row.get::<_, String>(0)).with_context(context)?;
        let mut values = Vec::new();
        for row in rows {
            match serde_json::from_str(&row.with_context(context)?) {
                Ok(value) => values.push(value),
                Err(_) => *damaged += 1,
            }
        }
        Ok(values)
    }
}

fn text<T: Serialize>(value: &T) -> Result<String> {
    serde_json::to_string(value).context("write a value of the state")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::call::{Role, Timestamp};

    fn service(name: &str, calls: u64) -> Service {
        Service {
            name: name.into(),
            seen_from: Role::Server,
            executable: "/bin/x".into(),
            port: Some(1),
            hosts: BTreeSet::new(),
            tls: false,
            first_seen: Timestamp(1),
            last_seen: Timestamp(2),
            calls,
        }
    }

    fn changes(services: Vec<Service>) -> Changes {
        Changes { services, ..Changes::default() }
    }

    #[test]
    fn a_restart_keeps_what_was_written() {
        let directory = tempfile::tempdir().unwrap();
        let mut store = Store::open(directory.path()).unwrap();
        store.apply(&changes(vec![service("a", 1), service("b", 1)]), &[]).unwrap();
        store.apply(&changes(vec![service("a", 5)]), &[]).unwrap();
        drop(store);
        let state = Store::open(directory.path()).unwrap().load().unwrap();
        let calls: Vec<_> = state.services.iter().map(|service| service.calls).collect();
        assert_eq!(calls, [5, 1]);
        let mode = fs::metadata(directory.path().join(FILE)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn the_ledger_is_that_of_the_latest_run() {
        let directory = tempfile::tempdir().unwrap();
        let line = |program: &str, decoded| Line {
            program: program.into(),
            since: Timestamp(1),
            decoded,
            bytes: [1, 2],
            lost: vec![("shed".into(), 3)],
            gaps: Vec::new(),
        };
        let mut store = Store::open(directory.path()).unwrap();
        store.cover(&[line("a", 1), line("b", 1)]).unwrap();
        store.cover(&[line("a", 2)]).unwrap();
        assert_eq!(store.load().unwrap().coverage, [line("a", 2), line("b", 1)]);
        store.begin_coverage().unwrap();
        store.cover(&[line("c", 1)]).unwrap();
        assert_eq!(store.load().unwrap().coverage, [line("c", 1)]);
    }

    #[test]
    fn a_state_of_before_is_read_and_brought_up_to_date() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        store.connection.execute_batch("DROP TABLE coverage").unwrap();
        store.connection.pragma_update(None, "user_version", 1).unwrap();
        drop(store);
        let before = Store::open_read_only(directory.path()).unwrap().load().unwrap();
        assert!(before.coverage.is_empty());
        Store::open(directory.path()).unwrap().begin_coverage().unwrap();
    }

    #[test]
    fn a_reader_sees_the_state_while_it_is_written() {
        let directory = tempfile::tempdir().unwrap();
        let mut store = Store::open(directory.path()).unwrap();
        store.apply(&changes(vec![service("a", 1)]), &[]).unwrap();
        let reader = Store::open_read_only(directory.path()).unwrap();
        store.apply(&changes(vec![service("b", 1)]), &[]).unwrap();
        assert_eq!(reader.load().unwrap().services.len(), 2);
    }

    #[test]
    fn a_newer_version_is_refused_and_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        store.connection.pragma_update(None, "user_version", 99).unwrap();
        drop(store);
        for error in [
            Store::open(directory.path()).unwrap_err(),
            Store::open_read_only(directory.path()).unwrap_err(),
        ] {
            assert!(format!("{error:#}").contains("version 99"), "{error:#}");
        }
    }

    #[test]
    fn no_state_is_said_with_what_to_do() {
        let directory = tempfile::tempdir().unwrap();
        let error = Store::open_read_only(directory.path()).unwrap_err();
        assert!(error.to_string().contains("apiscope run"), "{error}");
    }

    #[test]
    fn a_file_that_is_no_database_is_not_overwritten() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(FILE);
        fs::write(&path, "precious notes, not a database at all").unwrap();
        assert!(Store::open(directory.path()).is_err());
        assert!(fs::read_to_string(&path).unwrap().starts_with("precious"));
    }

    #[test]
    fn damaged_rows_are_passed_over_and_counted() {
        let directory = tempfile::tempdir().unwrap();
        let mut store = Store::open(directory.path()).unwrap();
        store.apply(&changes(vec![service("a", 1), service("b", 1)]), &[]).unwrap();
        store.connection.execute("UPDATE services SET value = '{' WHERE name = 'a'", []).unwrap();
        let state = store.load().unwrap();
        assert_eq!((state.services.len(), state.damaged), (1, 1));
    }
}
