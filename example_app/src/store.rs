//! The entries, in one `SQLite` file. Everything that touches `SQLite` is here and runs on tokio's blocking threads; nothing
//! here knows HTTP.
//!
//! Two processes may have the file open for a moment when a new version of the app takes over. Hence WAL, which lets readers
//! and a writer work at the same time, and a timeout for writers.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rusqlite::{Connection, ErrorCode, OptionalExtension, Row, TransactionBehavior};
use tokio::sync::watch;

use crate::entry::{Checked, Entry};
use crate::error::Error;

/// How long a statement waits for another process's write.
const BUSY_TIME_MAX: Duration = Duration::from_secs(5);

/// How long to wait before asking for WAL again.
const WAL_RETRY_TIME: Duration = Duration::from_millis(5);

const FILE_NAME: &str = "guest_book.sqlite";

const SCHEMA_VERSION: i64 = 1;

const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS entry (
        id         INTEGER PRIMARY KEY AUTOINCREMENT,
        name       TEXT NOT NULL,
        message    TEXT NOT NULL,
        written_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%SZ', 'now'))
    ) STRICT;
    PRAGMA user_version = 1;
";

/// The book's entries. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Store {
    connection: Arc<Mutex<Connection>>,
    latest: watch::Sender<i64>,
}

impl Store {
    /// Opens the database in a folder, creating either if it is missing.
    pub(crate) fn open(folder: &Path) -> Result<Self, Error> {
        std::fs::create_dir_all(folder)
            .map_err(|source| Error::Folder { path: folder.to_owned(), source })?;
        let mut connection = Connection::open(folder.join(FILE_NAME))?;
        connection.busy_timeout(BUSY_TIME_MAX)?;
        enter_wal(&connection)?;
        // In WAL mode this loses at most the last entries in a power failure, never the file.
        connection.pragma_update(None, "synchronous", "NORMAL")?;
        migrate(&mut connection)?;
        let latest = find_latest_id(&connection)?;
        Ok(Self { connection: Arc::new(Mutex::new(connection)), latest: watch::Sender::new(latest) })
    }

    /// Writes an entry.
    pub(crate) async fn add(&self, checked: Checked) -> Result<Entry, Error> {
        let latest = self.latest.clone();
        self.run(move |connection| {
            let entry = connection
                .prepare_cached("INSERT INTO entry (name, message) VALUES (?1, ?2) RETURNING *")?
                .query_row([checked.name(), checked.message()], read_entry)?;
            latest.send_replace(entry.id);
            Ok(entry)
        })
        .await
    }

    /// One entry, if it exists.
    pub(crate) async fn get(&self, id: i64) -> Result<Option<Entry>, Error> {
        self.run(move |connection| {
            connection
                .prepare_cached("SELECT * FROM entry WHERE id = ?1")?
                .query_row([id], read_entry)
                .optional()
        })
        .await
    }

    /// The newest entries that are older than `before`, newest first.
    pub(crate) async fn list_before(&self, before: i64, count_max: u32) -> Result<Vec<Entry>, Error> {
        self.run(move |connection| {
            connection
                .prepare_cached("SELECT * FROM entry WHERE id < ?1 ORDER BY id DESC LIMIT ?2")?
                .query_map((before, count_max), read_entry)?
                .collect()
        })
        .await
    }

    /// The oldest entries that are newer than `after`, oldest first.
    pub(crate) async fn list_after(&self, after: i64, count_max: u32) -> Result<Vec<Entry>, Error> {
        self.run(move |connection| {
            connection
                .prepare_cached("SELECT * FROM entry WHERE id > ?1 ORDER BY id LIMIT ?2")?
                .query_map((after, count_max), read_entry)?
                .collect()
        })
        .await
    }

    /// How many entries there are.
    pub(crate) async fn count(&self) -> Result<i64, Error> {
        self.run(|connection| {
            connection.prepare_cached("SELECT count(*) FROM entry")?.query_row([], |row| row.get(0))
        })
        .await
    }

    /// The id of the newest entry, 0 in an empty book.
    pub(crate) async fn latest_id(&self) -> Result<i64, Error> {
        self.run(|connection| find_latest_id(connection)).await
    }

    /// Changes with each entry that this process writes.
    pub(crate) fn changes(&self) -> watch::Receiver<i64> {
        self.latest.subscribe()
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, Error> {
        let connection = Arc::clone(&self.connection);
        let task = tokio::task::spawn_blocking(move || {
            work(&mut connection.lock().unwrap_or_else(PoisonError::into_inner))
        });
        match task.await {
            Ok(result) => Ok(result?),
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                // Only at the end of the runtime is a blocking task never run.
                Err(_) => Err(Error::Store(rusqlite::Error::InvalidQuery)),
            },
        }
    }
}

/// Switches the file to WAL. `SQLite` needs the file for itself then, and does not apply `busy_timeout`: of several
/// processes that open a new file at once, all but one fail immediately. So this waits on its own.
fn enter_wal(connection: &Connection) -> rusqlite::Result<()> {
    let deadline = Instant::now() + BUSY_TIME_MAX;
    loop {
        match connection.pragma_update(None, "journal_mode", "WAL") {
            Err(error)
                if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy)
                    && Instant::now() < deadline =>
            {
                std::thread::sleep(WAL_RETRY_TIME);
            }
            other => return other,
        }
    }
}

fn migrate(connection: &mut Connection) -> rusqlite::Result<()> {
    let version: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    if version < SCHEMA_VERSION {
        // Immediate, because another process may be about to do the same.
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        transaction.execute_batch(SCHEMA)?;
        transaction.commit()?;
    }
    Ok(())
}

fn find_latest_id(connection: &Connection) -> rusqlite::Result<i64> {
    connection.query_row("SELECT coalesce(max(id), 0) FROM entry", [], |row| row.get(0))
}

fn read_entry(row: &Row<'_>) -> rusqlite::Result<Entry> {
    Ok(Entry {
        id: row.get("id")?,
        name: row.get("name")?,
        message: row.get("message")?,
        written_at: row.get("written_at")?,
    })
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;
    use crate::entry::Draft;

    fn checked(message: &str) -> Checked {
        Draft { name: "Ada".into(), message: message.into() }.check().expect("a good draft")
    }

    #[tokio::test]
    async fn entries_outlive_the_store() {
        let folder = tempfile::tempdir().expect("a folder");
        let written = {
            let store = Store::open(&folder.path().join("made/here")).expect("a new store");
            store.add(checked("first")).await.expect("an entry")
        };
        let store = Store::open(&folder.path().join("made/here")).expect("the same store");
        assert_eq!(store.get(written.id).await.expect("a look"), Some(written));
        assert_eq!(store.get(99).await.expect("a look"), None);
    }

    #[tokio::test]
    async fn two_stores_on_one_file_write_without_losing_anything() {
        let folder = tempfile::tempdir().expect("a folder");
        let old = Store::open(folder.path()).expect("the old store");
        let new = Store::open(folder.path()).expect("the new store");
        let writers = [old.clone(), new].map(|store| {
            tokio::spawn(async move {
                for number in 0..20 {
                    store.add(checked(&number.to_string())).await.expect("an entry");
                }
            })
        });
        for writer in writers {
            writer.await.expect("a writer that ends well");
        }
        assert_eq!(old.count().await.expect("a count"), 40);
        assert_eq!(old.latest_id().await.expect("an id"), 40);
    }

    /// The folder in which the test below has a process open a store.
    const FOLDER_VARIABLE: &str = "EXAMPLE_APP_TEST_FOLDER";

    #[test]
    #[ignore = "the part that the processes of the next test run"]
    fn one_of_several_processes_opens_a_store() {
        Store::open(std::env::var(FOLDER_VARIABLE).expect("a folder").as_ref()).expect("a store");
    }

    #[test]
    fn several_processes_open_a_new_file_at_once() {
        // SQLite locks files against other processes, so threads would not do. Without a wait, a third of the rounds fail.
        for _ in 0..20 {
            let folder = tempfile::tempdir().expect("a folder");
            let processes = [(); 4].map(|()| {
                Command::new(std::env::current_exe().expect("this test's program"))
                    .args(["--ignored", "--exact", "store::tests::one_of_several_processes_opens_a_store"])
                    .env(FOLDER_VARIABLE, folder.path())
                    .stdout(Stdio::piped())
                    .spawn()
                    .expect("a process")
            });
            for process in processes {
                let output = process.wait_with_output().expect("its end");
                assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
            }
        }
    }

    #[tokio::test]
    async fn lists_are_cut_at_either_side() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::open(folder.path()).expect("a store");
        for number in 1..=5 {
            store.add(checked(&number.to_string())).await.expect("an entry");
        }
        let ids = |entries: Vec<Entry>| entries.iter().map(|entry| entry.id).collect::<Vec<_>>();
        assert_eq!(ids(store.list_before(5, 2).await.expect("a list")), [4, 3]);
        assert_eq!(ids(store.list_after(3, 9).await.expect("a list")), [4, 5]);
    }
}
