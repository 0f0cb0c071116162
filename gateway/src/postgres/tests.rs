//! A server that the tests of this process share, and a database of its own for each.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use super::Server;
use super::cluster::Cluster;

/// The server of the tests that run now; ended with the last of them.
static SHARED: Mutex<Weak<Cluster>> = Mutex::new(Weak::new());
static DATABASES: AtomicU32 = AtomicU32::new(0);

/// A database with PostGIS, and a role `gateway` that may make schemas in it and nothing else.
pub(crate) struct Database {
    pub(crate) cluster: Arc<Cluster>,
    pub(crate) name: String,
}

impl Database {
    pub(crate) fn new() -> Self {
        let cluster = {
            let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
            shared.upgrade().unwrap_or_else(|| {
                // A test's process never loses power.
                let cluster = Arc::new(Cluster::start(&["fsync=off", "shared_buffers=32MB"]).unwrap());
                cluster.sql("postgres", "CREATE ROLE gateway LOGIN").unwrap();
                *shared = Arc::downgrade(&cluster);
                cluster
            })
        };
        let name = format!("t{}", DATABASES.fetch_add(1, Ordering::Relaxed));
        cluster.sql("postgres", &format!("CREATE DATABASE {name}")).unwrap();
        let database = Self { cluster, name };
        database
            .sql(&format!("CREATE EXTENSION postgis; GRANT CREATE ON DATABASE {} TO gateway", database.name));
        database
    }

    pub(crate) fn server(&self) -> Server {
        Server {
            url: self.cluster.url("gateway", &self.name),
            schema: "fieldpost".to_owned(),
            password_file: None,
            authority: None,
            client: None,
        }
    }

    /// As the administrator.
    pub(crate) fn sql(&self, sql: &str) -> String {
        self.cluster.sql(&self.name, sql).unwrap()
    }
}
