//! One session with a server, set up so that what it commits is durable and what it leaves behind holds no lock.

use std::time::Duration;

use tokio::task::AbortHandle;
use tokio::time::timeout;
use tokio_postgres::config::SslMode;
use tokio_postgres::{Client, Config, NoTls};

use super::tls::Tls;
use super::{CONNECT_MS_MAX, Fault, STATEMENT_MS_MAX, Server, quoted};
use crate::forward::RetryReason;

/// How long a statement waits for a lock: others' sessions are given way, the batch is tried again.
const LOCK_MS_MAX: u64 = 10_000;

/// A session. Dropping it ends the connection at once; the server rolls back what was not committed.
pub(crate) struct Link {
    client: Client,
    connection: AbortHandle,
}

impl Drop for Link {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

impl Link {
    /// Connects and sets the session up; the search path is the server's schema, then PostGIS's if it is there.
    pub(crate) async fn open(server: &Server) -> Result<Self, Fault> {
        let limit = Duration::from_millis(CONNECT_MS_MAX);
        let link = timeout(limit, Self::connect(server)).await.unwrap_or_else(|_| {
            let detail = format!("the server does not answer within {CONNECT_MS_MAX} ms");
            Err(Fault::again(RetryReason::Unreachable, detail))
        })?;
        link.run("setting the session up", link.set_up(&server.schema)).await?;
        Ok(link)
    }

    async fn connect(server: &Server) -> Result<Self, Fault> {
        let mut config: Config =
            server.url.parse().map_err(|_| Fault::misconfigured("the url is not one of PostgreSQL"))?;
        config.application_name("fieldpost").connect_timeout(Duration::from_millis(CONNECT_MS_MAX));
        config.keepalives_idle(Duration::from_secs(30)).tcp_user_timeout(Duration::from_secs(30));
        if let Some(path) = &server.password_file {
            let text = tokio::fs::read_to_string(path).await.map_err(|error| {
                Fault::again(RetryReason::Credentials, format!("cannot read {}: {error}", path.display()))
            })?;
            config.password(text.lines().next().unwrap_or_default());
        }
        match Tls::of(server)? {
            Some(tls) => {
                config.ssl_mode(SslMode::Require);
                let (client, connection) = config.connect(tls).await?;
                Ok(Self { client, connection: tokio::spawn(drive(connection)).abort_handle() })
            }
            None => {
                config.ssl_mode(SslMode::Disable);
                let (client, connection) = config.connect(NoTls).await?;
                Ok(Self { client, connection: tokio::spawn(drive(connection)).abort_handle() })
            }
        }
    }

    async fn set_up(&self, schema: &str) -> Result<(), Fault> {
        let schema = quoted(schema);
        // A role or database may be set to a faster commit that is not durable; a stronger one is left as it is.
        self.client
            .batch_execute(&format!(
                "SET statement_timeout = {STATEMENT_MS_MAX}; SET lock_timeout = {LOCK_MS_MAX}; \
                 SET idle_in_transaction_session_timeout = {STATEMENT_MS_MAX}; SET TimeZone = 'UTC'; \
                 SET client_min_messages = warning; SET jit = off; SET default_transaction_isolation = 'read committed'; \
                 SELECT set_config('synchronous_commit', 'on', false) \
                 WHERE current_setting('synchronous_commit') IN ('off', 'local')"
            ))
            .await?;
        let postgis = "SELECT n.nspname FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace WHERE e.extname = 'postgis'";
        let of_postgis = self.client.query_opt(postgis, &[]).await?.map(|row| row.get::<_, String>(0));
        // pg_temp last: nobody's temporary table stands in for one of ours.
        let mut path = vec![schema];
        path.extend(of_postgis.as_deref().map(quoted));
        path.push("pg_temp".to_owned());
        Ok(self.client.batch_execute(&format!("SET search_path = {}", path.join(", "))).await?)
    }

    /// The settings by which the server answers before it has written, if there are such: a session cannot change them.
    pub(crate) async fn forgets_by(&self) -> Result<Option<String>, Fault> {
        let sql = "SELECT string_agg(name, ', ' ORDER BY name) FROM pg_settings \
                   WHERE name IN ('fsync', 'full_page_writes') AND setting = 'off'";
        Ok(self.client.query_one(sql, &[]).await?.get(0))
    }

    /// The client library's handle.
    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    /// Whether the connection has ended.
    pub(crate) fn is_closed(&self) -> bool {
        self.client.is_closed()
    }

    /// Waits for `work` no longer than the server itself would let it run: a server that was stopped says nothing.
    pub(crate) async fn run<T>(
        &self,
        what: &str,
        work: impl Future<Output = Result<T, Fault>>,
    ) -> Result<T, Fault> {
        timeout(Duration::from_millis(STATEMENT_MS_MAX), work).await.unwrap_or_else(|_| {
            let detail = format!("{what}: no answer within {STATEMENT_MS_MAX} ms");
            Err(Fault::again(RetryReason::Timeout, detail))
        })
    }
}

/// Drives a connection to its end. Whoever waits for an answer is told of a failure there.
async fn drive<S, T>(connection: tokio_postgres::Connection<S, T>)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
    T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    if connection.await.is_err() {
        tracing::debug!("a connection to PostgreSQL ended in a fault");
    }
}
