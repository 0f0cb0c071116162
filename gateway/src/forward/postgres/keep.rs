//! Retention: whole days are dropped when their class's time is over.
//!
//! **A hold wins, and while the holds cannot be read nothing is removed.** A class without a period in `[retention]` stays: the
//! tables are the force's. A row that came late is kept its period from its receipt.

use std::sync::Arc;
use std::time::Duration;

use super::insert::lock_of;
use super::{PLAN, PostgresSettings, Table};
use crate::history::Holds;
use crate::live::NowMs;
use crate::postgres::days::{self, Day, Kept};
use crate::postgres::link::Link;
use crate::postgres::{Fault, schema, time_of};
use crate::retention::{Periods, RetentionClass};

/// How often days are looked at.
const EVERY: Duration = Duration::from_secs(600);

/// What is removed when.
#[derive(Clone)]
pub struct RetentionSettings {
    /// How long each class is kept.
    pub periods: Periods,
    /// What is kept longer.
    pub holds: Holds,
    /// The gateway's clock.
    pub now_ms: NowMs,
}

impl Table {
    fn class(self) -> RetentionClass {
        match self {
            Self::Positions => RetentionClass::Positions,
            Self::Alarms => RetentionClass::Alarms,
            Self::Events => RetentionClass::Events,
        }
    }
}

/// Looks for ever; a failure is said once and tried again at the next turn.
pub(super) async fn run(settings: Arc<PostgresSettings>) {
    let has_periods =
        Table::ALL.into_iter().any(|table| settings.retention.periods.own(table.class()).is_some());
    if !has_periods {
        return;
    }
    let mut was_well = true;
    loop {
        tokio::time::sleep(EVERY).await;
        let done = once(&settings).await;
        if let Err(fault) = &done
            && was_well
        {
            tracing::warn!(%fault, "what is over stays in the database until it answers");
        }
        was_well = done.is_ok();
    }
}

/// Looks at every day once. Each is judged and dropped in a transaction of its own, between two batches: a day that somebody
/// reads holds up no other.
///
/// # Errors
/// The last fault; every day that could go has gone, unless the connection ended.
pub(super) async fn once(settings: &PostgresSettings) -> Result<(), Fault> {
    let server = &settings.server;
    let link = Link::open(server).await?;
    link.run("checking the schema", schema::ensure(link.client(), &server.schema, &PLAN)).await?;
    let now_ms = (settings.retention.now_ms)();
    let mut outcome = Ok(());
    for table in Table::ALL {
        let Some(period_ms) = settings.retention.periods.own(table.class()) else { continue };
        let received_from_ms = now_ms.saturating_sub(period_ms);
        for day in days::all(link.client(), table.as_str()).await? {
            if day.ends_ms() > received_from_ms {
                break;
            }
            // Asked for each day: a hold that is placed meanwhile counts.
            let holds = (settings.retention.holds)();
            let kept = Kept { holds: &holds, received_from_ms };
            if let Err(fault) = retire(&link, settings, table, day, &kept).await {
                // Whatever the day met, its transaction must not stand in front of the next.
                link.run("retention", async { Ok(link.client().batch_execute("ROLLBACK").await?) }).await?;
                outcome = Err(fault);
            }
        }
    }
    outcome.and(forget_boots(&link, settings, now_ms).await)
}

async fn retire(
    link: &Link,
    settings: &PostgresSettings,
    table: Table,
    day: Day,
    kept: &Kept<'_>,
) -> Result<(), Fault> {
    let work = async {
        link.client().batch_execute(&lock_of(&settings.server.schema)).await?;
        days::retire(link.client(), table.as_str(), day, kept).await?;
        link.client().batch_execute("COMMIT").await?;
        Ok(())
    };
    link.run("retention", work).await
}

/// Boots whose last day is longer ago than any class is kept: nothing of them can be there but what is held.
async fn forget_boots(link: &Link, settings: &PostgresSettings, now_ms: u64) -> Result<(), Fault> {
    let periods = Table::ALL.map(|table| settings.retention.periods.own(table.class()));
    if let [Some(a), Some(b), Some(c)] = periods {
        let before = time_of(now_ms.saturating_sub(a.max(b).max(c)));
        let sql = "DELETE FROM boots b WHERE b.last_at < $1 AND NOT EXISTS (SELECT FROM positions p WHERE p.force = b.force \
                   AND p.device = b.device AND p.boot = b.boot) AND NOT EXISTS (SELECT FROM alarms a WHERE a.force = b.force \
                   AND a.device = b.device AND a.boot = b.boot) AND NOT EXISTS (SELECT FROM events e WHERE e.force = b.force \
                   AND e.device = b.device AND e.boot = b.boot)";
        let work = async {
            // A writer that has just looked a boot up must find it there until it commits.
            link.client().batch_execute(&lock_of(&settings.server.schema)).await?;
            link.client().execute(sql, &[&before]).await?;
            Ok(link.client().batch_execute("COMMIT").await?)
        };
        link.run("retention", work).await?;
    }
    Ok(())
}
