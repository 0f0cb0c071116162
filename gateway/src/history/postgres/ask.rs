//! Questions: what the database has and what is still in memory, each row once.
//!
//! **Memory is read before the database**: a row that is written between the two is then seen twice, and never missed.

use std::collections::{BTreeMap, BTreeSet};

use fieldpost_protocol::{ClockQuality, Duty};
use tokio_postgres::types::ToSql;

use super::super::row::{AlarmEvent, Row, RowClass, RowKey};
use super::super::standing::Standing;
use super::super::table::aftermath_ms;
use super::super::{AlarmStory, Alarms, Found, HistoryError, LOOK_BACK_MS, Sees, Track};
use super::row::{alarm_columns, alarm_of, movement_columns, movement_of};
use super::{ASKING_MAX, Inner};
use crate::live::unit::UnitId;
use crate::postgres::link::Link;
use crate::postgres::{Fault, time_of};

type Parameters<'a> = &'a [&'a (dyn ToSql + Sync)];

impl Inner {
    async fn query(&self, sql: &str, parameters: Parameters<'_>) -> Result<Vec<tokio_postgres::Row>, Fault> {
        let _turn = self.asking.acquire().await.expect("nobody closes it");
        let idle = self.idle().pop().filter(|link| !link.is_closed());
        let link: Link = match idle {
            Some(link) => link,
            None => self.connect().await.inspect_err(|fault| self.note(Some(fault)))?.0,
        };
        // Dropped with its connection if it fails or is given up.
        let rows = link.client().query(sql, parameters).await.map_err(Fault::from);
        let rows = rows.inspect_err(|fault| self.note(Some(fault)))?;
        let mut idle = self.idle();
        if idle.len() < ASKING_MAX {
            idle.push(link);
        }
        Ok(rows)
    }

    pub(super) async fn track(&self, question: &Track) -> Result<Found<Row>, HistoryError> {
        let from_ms = question.after.map_or(question.from_ms, |after| after.at_ms.max(question.from_ms));
        let is_asked = |unit: &UnitId, row: &Row| {
            *unit == question.unit
                && row.said.class() == RowClass::Movement
                && (from_ms..question.until_ms).contains(&row.at_ms)
                && question.after.is_none_or(|after| row.key() > after)
        };
        let mut rows: Vec<Row> = self.in_memory(&is_asked).into_iter().map(|(_, row)| row).collect();
        let sql = format!(
            "SELECT {} FROM movement WHERE force = $1 AND device = $2 AND at >= $3 AND at < $4 \
             AND (at, boot, seq, print, kind) > ($5, $6, $7, $8, $9) ORDER BY at, boot, seq, print, kind LIMIT $10",
            movement_columns()
        );
        let (boot, seq, print, kind) = question.after.map_or((-1, -1, -1, -1), |after: RowKey| {
            (i64::from(after.boot), i64::from(after.seq), i64::from(after.print), i16::from(after.kind))
        });
        let after_at = time_of(question.after.map_or(from_ms, |after| after.at_ms));
        let limit = limit_of(question.rows_max);
        let found = self
            .query(
                &sql,
                &[
                    &question.unit.force.as_str(),
                    &question.unit.device.as_str(),
                    &time_of(from_ms),
                    &time_of(question.until_ms),
                    &after_at,
                    &boot,
                    &seq,
                    &print,
                    &kind,
                    &limit,
                ],
            )
            .await?;
        for row in &found {
            rows.push(movement_of(row)?.1);
        }
        super::super::table::in_order(&mut rows);
        let has_more = rows.len() > question.rows_max;
        rows.truncate(question.rows_max);
        Ok(Found { items: rows, has_more, damaged: Vec::new() })
    }

    /// Where `unit`, or every unit of `sees`, stood. Of each the database is asked for the few rows that decide: its newest
    /// position, the newest that was shown, its newest status, and the newest that hides positions.
    pub(super) async fn standings(
        &self,
        at_ms: u64,
        sees: &Sees,
        unit: Option<&UnitId>,
    ) -> Result<Vec<Standing>, HistoryError> {
        let from_ms = at_ms.saturating_sub(LOOK_BACK_MS);
        let is_asked = |of: &UnitId, row: &Row| {
            unit.is_none_or(|unit| unit == of)
                && sees.force(&of.force)
                && row.said.class() == RowClass::Movement
                && (from_ms..=at_ms).contains(&row.at_ms)
        };
        let mut rows = self.in_memory(&is_asked);
        let columns = movement_columns();
        let newest = |condition: &str| {
            format!(
                "(SELECT {columns} FROM movement m WHERE m.force = u.force AND m.device = u.device AND m.at >= $1 AND m.at <= $2 \
                 AND NOT (m.is_backlog AND m.clock = $3) AND {condition} \
                 ORDER BY m.at DESC, m.boot DESC, m.seq DESC, m.print DESC, m.kind DESC LIMIT 1)"
            )
        };
        let decide = [
            newest("m.kind = 0"),
            newest("m.kind = 0 AND NOT m.is_backlog AND m.received_at <= $2"),
            newest("m.kind = 1"),
            newest("m.kind = 1 AND m.duty = ANY ($4)"),
        ]
        .join(" UNION ALL ");
        let from = match unit {
            Some(_) => "(SELECT $5::text AS force, $6::text AS device WHERE $7::text[] IS NULL)",
            None => "(SELECT force, device FROM units WHERE $7::text[] IS NULL OR force = ANY ($7))",
        };
        let sql = format!(
            "SELECT r.* FROM {from} u, LATERAL ({decide}) r WHERE $5::text IS NULL OR $6::text IS NOT NULL"
        );
        let hiding: Vec<i16> =
            (0..=u8::MAX).filter(|code| !Duty(*code).permits_position()).map(i16::from).collect();
        let unset = i16::from(ClockQuality::Unset as u8);
        let (force, device) = (unit.map(|unit| unit.force.as_str()), unit.map(|unit| unit.device.as_str()));
        let forces = if unit.is_some() { None } else { forces_of(sees) };
        let found = self
            .query(&sql, &[&time_of(from_ms), &time_of(at_ms), &unset, &hiding, &force, &device, &forces])
            .await?;
        for row in &found {
            rows.push(movement_of(row)?);
        }
        let mut standings: BTreeMap<UnitId, Standing> = BTreeMap::new();
        for (of, row) in &rows {
            let fresh = || Standing::new(of.clone(), at_ms);
            standings.entry(of.clone()).or_insert_with(fresh).fold(row);
        }
        Ok(standings.into_values().filter(Standing::is_known).collect())
    }

    pub(super) async fn window(
        &self,
        from_ms: u64,
        until_ms: u64,
        sees: &Sees,
        rows_max: usize,
    ) -> Result<Found<(UnitId, Row)>, HistoryError> {
        let is_asked = |unit: &UnitId, row: &Row| {
            sees.force(&unit.force)
                && row.said.class() == RowClass::Movement
                && (from_ms..until_ms).contains(&row.at_ms)
        };
        let mut rows = self.in_memory(&is_asked);
        let sql = format!(
            "SELECT {} FROM movement WHERE at >= $1 AND at < $2 AND ($3::text[] IS NULL OR force = ANY ($3)) LIMIT $4",
            movement_columns()
        );
        let (from, until, limit) = (time_of(from_ms), time_of(until_ms), limit_of(rows_max));
        for row in &self.query(&sql, &[&from, &until, &forces_of(sees), &limit]).await? {
            rows.push(movement_of(row)?);
        }
        rows.sort_unstable_by(|a, b| (a.1.key(), &a.0).cmp(&(b.1.key(), &b.0)));
        rows.dedup_by(|a, b| (a.1.key(), &a.0) == (b.1.key(), &b.0));
        if rows.len() > rows_max { Err(HistoryError::TooMuch { rows_max }) } else { Ok(Found::whole(rows)) }
    }

    pub(super) async fn alarms(&self, question: &Alarms) -> Result<Found<AlarmStory>, HistoryError> {
        let memory = self
            .in_memory(&|unit, row| row.said.class() == RowClass::Alarms && question.sees.force(&unit.force));
        let mut raised: BTreeMap<(u64, String), (UnitId, Row, AlarmEvent)> = BTreeMap::new();
        for (unit, row) in memory.iter().cloned().chain(self.raised(question).await?) {
            let Some(event) = row.alarm_event().filter(|event| event.what == "raised") else { continue };
            let key = (row.at_ms, event.alarm.clone());
            let is_asked = (question.from_ms..question.until_ms).contains(&row.at_ms)
                && question.after.as_ref().is_none_or(|after| key > *after);
            if is_asked {
                raised.entry(key).or_insert((unit, row, event));
            }
        }
        let has_more = raised.len() > question.alarms_max;
        let stories: Vec<_> = raised.into_values().take(question.alarms_max).collect();
        let mut rows = self.since(&stories).await?;
        rows.extend(memory);
        rows.sort_unstable_by(|a, b| (a.1.key(), &a.0).cmp(&(b.1.key(), &b.0)));
        rows.dedup_by(|a, b| (a.1.key(), &a.0) == (b.1.key(), &b.0));
        let mut since: BTreeMap<(UnitId, String), Vec<(u64, AlarmEvent)>> = BTreeMap::new();
        for (unit, row) in rows {
            if let Some(event) = row.alarm_event().filter(|event| event.what != "raised") {
                since.entry((unit, event.alarm.clone())).or_default().push((row.at_ms, event));
            }
        }
        let items = stories.into_iter().map(|(unit, raised, event)| {
            let mut since = since.get(&(unit.clone(), event.alarm.clone())).cloned().unwrap_or_default();
            since.retain(|(at_ms, _)| *at_ms >= aftermath_ms(&raised));
            AlarmStory { unit, raised, event, since }
        });
        Ok(Found { items: items.collect(), has_more, damaged: Vec::new() })
    }

    async fn raised(&self, question: &Alarms) -> Result<Vec<(UnitId, Row)>, Fault> {
        let sql = format!(
            "SELECT DISTINCT ON (at, alarm) {} FROM alarms WHERE what = 'raised' AND at >= $1 AND at < $2 \
             AND (at, alarm) > ($3, $4) AND ($5::text[] IS NULL OR force = ANY ($5)) ORDER BY at, alarm, boot, seq LIMIT $6",
            alarm_columns()
        );
        let (after_ms, after) =
            question.after.as_ref().map_or((question.from_ms, ""), |(at_ms, alarm)| (*at_ms, alarm.as_str()));
        let from = time_of(question.from_ms.max(after_ms));
        let limit = limit_of(question.alarms_max);
        let rows = self
            .query(
                &sql,
                &[
                    &from,
                    &time_of(question.until_ms),
                    &time_of(after_ms),
                    &after,
                    &forces_of(&question.sees),
                    &limit,
                ],
            )
            .await?;
        rows.iter().map(alarm_of).collect()
    }

    /// What the database has of what happened to those alarms.
    async fn since(&self, stories: &[(UnitId, Row, AlarmEvent)]) -> Result<Vec<(UnitId, Row)>, Fault> {
        let Some(from_ms) = stories.iter().map(|(_, raised, _)| aftermath_ms(raised)).min() else {
            return Ok(Vec::new());
        };
        let sql = format!(
            "SELECT {} FROM alarms WHERE at >= $1 AND what <> 'raised' AND (force, device, alarm) IN \
             (SELECT * FROM unnest($2::text[], $3::text[], $4::text[]))",
            alarm_columns()
        );
        let forces: Vec<&str> = stories.iter().map(|(unit, _, _)| unit.force.as_str()).collect();
        let devices: Vec<&str> = stories.iter().map(|(unit, _, _)| unit.device.as_str()).collect();
        let alarms: Vec<&str> = stories.iter().map(|(_, _, event)| event.alarm.as_str()).collect();
        let rows = self.query(&sql, &[&time_of(from_ms), &forces, &devices, &alarms]).await?;
        rows.iter().map(alarm_of).collect()
    }
}

/// One more than is asked for, to see whether there is more.
fn limit_of(count_max: usize) -> i64 {
    i64::try_from(count_max).unwrap_or(i64::MAX).saturating_add(1)
}

fn forces_of(sees: &Sees) -> Option<Vec<&str>> {
    match sees {
        Sees::All => None,
        Sees::Only(forces) => {
            Some(forces.iter().map(fieldpost_protocol::ForceId::as_str).collect::<BTreeSet<_>>())
                .map(|forces| forces.into_iter().collect())
        }
    }
}
