//! A PostgreSQL output beside others: its answers are lost, then the server is gone, then it is back. A consumer of another
//! output has a database of its own on it.
//!
//! **What it committed before, the gateway cannot know: it comes again, and stands in the tables once all the same.**

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use fieldpost_gateway::config::RELEASE_ALL;
use tokio::task::block_in_place;

use super::{Cluster, EVENTS, Mood, Proxy, keys};
use crate::rig::RigError;

/// From one look to the next.
const AGAIN: Duration = Duration::from_millis(50);

/// The server, and what stands before it. Ended when dropped.
pub(in crate::rig) struct Beside {
    cluster: Cluster,
    proxy: Proxy,
}

impl Beside {
    /// Starts a server with a role that owns the output's schema and nothing else.
    pub(in crate::rig) async fn start() -> Result<Self, RigError> {
        let cluster = block_in_place(|| {
            let cluster = Cluster::start(&[])?;
            cluster.sql(
                "postgres",
                "CREATE ROLE gateway LOGIN; CREATE SCHEMA fieldpost AUTHORIZATION gateway; CREATE ROLE cad LOGIN",
            )?;
            cluster.sql("postgres", "CREATE DATABASE cad OWNER cad")?;
            Ok(cluster)
        });
        let cluster = cluster.map_err(RigError::io("start PostgreSQL"))?;
        let proxy = Proxy::start(cluster.port()).await.map_err(RigError::io("listen as a proxy"))?;
        Ok(Self { cluster, proxy })
    }

    /// The output, for the gateway's configuration.
    pub(in crate::rig) fn output(&self) -> String {
        format!(
            "[[forward.postgres]]\nurl = \"postgresql://gateway@127.0.0.1:{}/postgres\"\n\
             retry_delay_ms_max = 500\nattempt_ms_max = 2000\n{RELEASE_ALL}\n",
            self.proxy.port()
        )
    }

    /// Where the consumer of docs/sinks/nats.md writes.
    pub(in crate::rig) fn url_of_consumer(&self) -> String {
        self.cluster.url("cad", "cad")
    }

    /// Every id in the consumer's table, which has each once. None before it has made its table.
    pub(in crate::rig) fn ids_of_consumer(&self) -> Result<HashSet<String>, RigError> {
        let ids = block_in_place(|| {
            match self.cluster.sql("cad", "SELECT to_regclass('event') IS NOT NULL")?.as_str() {
                "t" => self.cluster.sql("cad", "SELECT id FROM event"),
                _ => Ok(String::new()),
            }
        });
        let ids = ids.map_err(RigError::io("ask the consumer's database"))?;
        Ok(ids.lines().map(str::to_owned).collect())
    }

    /// From now on the answer to a COMMIT is lost; returns when one was.
    pub(in crate::rig) async fn lose_answers(&self, most: Duration) -> Result<(), RigError> {
        self.proxy.be(Mood::CutsAfterCommit);
        let one = async {
            while self.proxy.cut_count() == 0 {
                tokio::time::sleep(AGAIN).await;
            }
        };
        tokio::time::timeout(most, one).await.map_err(|_| RigError::Hang(most))
    }

    /// `kill -9`.
    pub(in crate::rig) fn kill(&mut self) -> Result<(), RigError> {
        block_in_place(|| self.cluster.kill()).map_err(RigError::io("kill PostgreSQL"))
    }

    /// On the same data, and every answer passes again.
    pub(in crate::rig) fn restart(&mut self) -> Result<(), RigError> {
        self.proxy.be(Mood::Passes);
        block_in_place(|| self.cluster.restart()).map_err(RigError::io("start PostgreSQL again"))
    }

    /// Commits whose answer was lost.
    pub(in crate::rig) fn lost_answer_count(&self) -> u64 {
        self.proxy.cut_count()
    }

    /// How often each key stands in its tables.
    pub(in crate::rig) fn keys(&self) -> Result<HashMap<String, u32>, RigError> {
        block_in_place(|| keys(&self.cluster, EVENTS))
    }
}
