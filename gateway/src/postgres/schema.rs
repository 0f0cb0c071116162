//! The schema: made, checked and migrated, or refused.
//!
//! **A schema that is not ours, or of a later release, is not touched**, and an older one is brought up in one transaction:
//! all of it or nothing. `fieldpost_schema` says what was applied: a row a migration, with the checksum of its text.

use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

use super::Fault;

/// One step, never changed once it was released.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Migration {
    /// From 1 on, without holes.
    pub(crate) version: i32,
    /// Its SQL, for a search path that begins with the schema.
    pub(crate) sql: &'static str,
}

/// What a schema is for, and how it comes to be.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    /// `events` or `history`: a sink never writes into a history.
    pub(crate) purpose: &'static str,
    /// Whether it needs PostGIS.
    pub(crate) needs_postgis: bool,
    /// Every step, in order.
    pub(crate) migrations: &'static [Migration],
}

impl Migration {
    fn checksum(&self) -> i64 {
        crc32c::crc32c(self.sql.as_bytes()).into()
    }
}

/// Brings the schema `name` to the newest version of `plan`. Returns whether it was empty before.
///
/// # Errors
/// [`Fault`]; the schema is as it was.
pub(crate) async fn ensure(client: &Client, name: &str, plan: &Plan) -> Result<bool, Fault> {
    let done = work(client, name, plan).await;
    if done.is_err() {
        // Fails only if the connection is gone, and then the server does it.
        _ = client.batch_execute("ROLLBACK").await;
    }
    done
}

async fn work(client: &Client, name: &str, plan: &Plan) -> Result<bool, Fault> {
    client.batch_execute("BEGIN").await?;
    // Two gateways that start at once take turns.
    client
        .execute("SELECT pg_advisory_xact_lock(hashtextextended('fieldpost schema ' || $1, 0))", &[&name])
        .await?;
    if client.query_opt("SELECT 1 FROM pg_namespace WHERE nspname = $1", &[&name]).await?.is_none() {
        let quoted = super::quoted(name);
        client.batch_execute(&format!("CREATE SCHEMA {quoted}")).await.map_err(|error| match error.code() {
            Some(code) if *code == SqlState::INSUFFICIENT_PRIVILEGE => Fault::misconfigured(format!(
                "there is no schema {quoted} and we may not make it: CREATE SCHEMA {quoted} AUTHORIZATION <the gateway's role>"
            )),
            _ => Fault::from(error),
        })?;
    }
    let applied = applied(client, name, plan).await?;
    if plan.needs_postgis
        && client.query_opt("SELECT 1 FROM pg_extension WHERE extname = 'postgis'", &[]).await?.is_none()
    {
        return Err(Fault::misconfigured(
            "the database has no PostGIS: as its administrator, CREATE EXTENSION postgis",
        ));
    }
    for migration in &plan.migrations[applied..] {
        client.batch_execute(migration.sql).await?;
        let row = "INSERT INTO fieldpost_schema (version, purpose, checksum) VALUES ($1, $2, $3)";
        client.execute(row, &[&migration.version, &plan.purpose, &migration.checksum()]).await?;
        tracing::info!(schema = name, version = migration.version, "migrated the database");
    }
    client.batch_execute("COMMIT").await?;
    Ok(applied == 0)
}

/// How many migrations the schema has.
async fn applied(client: &Client, name: &str, plan: &Plan) -> Result<usize, Fault> {
    let tables = "SELECT relname::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
                  WHERE n.nspname = $1 AND c.relkind IN ('r', 'p', 'v', 'm', 'f') ORDER BY relname = 'fieldpost_schema' DESC, relname LIMIT 1";
    match client.query_opt(tables, &[&name]).await?.map(|row| row.get::<_, String>(0)) {
        Some(table) if table == "fieldpost_schema" => {}
        Some(table) => {
            return Err(Fault::misconfigured(format!(
                "the schema \"{name}\" holds \"{table}\", which is not ours: give `schema` a name of its own"
            )));
        }
        None => {
            client
                .batch_execute(
                    "CREATE TABLE fieldpost_schema (version int PRIMARY KEY, purpose text NOT NULL, \
                     checksum bigint NOT NULL, applied_at timestamptz NOT NULL DEFAULT now())",
                )
                .await?;
            return Ok(0);
        }
    }
    let rows =
        client.query("SELECT version, purpose, checksum FROM fieldpost_schema ORDER BY version", &[]).await?;
    let newest = plan.migrations.last().map_or(0, |migration| migration.version);
    for (place, row) in rows.iter().enumerate() {
        let (version, purpose, checksum): (i32, String, i64) = (row.get(0), row.get(1), row.get(2));
        if purpose != plan.purpose {
            return Err(Fault::misconfigured(format!(
                "the schema \"{name}\" is for {purpose}, not for {}: give `schema` a name of its own",
                plan.purpose
            )));
        }
        if version > newest {
            return Err(Fault::misconfigured(format!(
                "the schema \"{name}\" has version {version}, this release knows up to {newest}: update the gateway"
            )));
        }
        let known = plan.migrations.get(place);
        if known.is_none_or(|known| known.version != version || known.checksum() != checksum) {
            return Err(Fault::misconfigured(format!(
                "version {version} of the schema \"{name}\" is not the one that this release knows: it was changed by hand or by \
                 a build of its own; give `schema` a new name"
            )));
        }
    }
    Ok(rows.len())
}
