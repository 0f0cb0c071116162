//! QEMU's machine protocol: object properties, the network link, stop and go.
//!
//! Source: QEMU 7.2, docs/interop/qmp-spec. One JSON object a line; answers come in the order of the commands, events in
//! between are not needed here.

use std::{
    os::unix::net::UnixStream,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::{Failure, socket::Lines};

/// QEMU answers in milliseconds; on a machine that builds at the same time, in a second.
const ANSWER_WAIT_MAX: Duration = Duration::from_secs(20);

/// A connection that speaks QMP.
#[derive(Debug)]
pub struct Qmp {
    lines: Lines,
}

impl Qmp {
    /// Takes the greeting and enters command mode.
    ///
    /// # Errors
    /// [`Failure`] if this is not QMP.
    pub fn open(stream: UnixStream) -> Result<Self, Failure> {
        let mut qmp = Self { lines: Lines::new(stream) };
        let greeting = qmp.read()?;
        if greeting.get("QMP").is_none() {
            return Err(Failure::child("qemu", format!("greeted with {greeting}, which is not QMP")));
        }
        qmp.execute("qmp_capabilities", json!({}))?;
        Ok(qmp)
    }

    /// One command and its answer.
    ///
    /// # Errors
    /// [`Failure::Child`] if QEMU refuses it or is gone.
    pub fn execute(&mut self, command: &str, arguments: Value) -> Result<Value, Failure> {
        let mut line = json!({ "execute": command });
        line["arguments"] = arguments;
        self.lines.write(&line.to_string()).map_err(Failure::io(format!("cannot send {command} to qemu")))?;
        loop {
            let mut answer = self.read()?;
            if let Some(error) = answer.get("error") {
                return Err(Failure::child("qemu", format!("refused {line}: {error}")));
            }
            if let Some(value) = answer.get_mut("return") {
                return Ok(value.take());
            }
        }
    }

    /// Sets a property of a device made with `-device ..,id=ID`.
    ///
    /// # Errors
    /// [`Failure`] if there is no such device or property.
    pub fn set(&mut self, id: &str, property: &str, value: Value) -> Result<(), Failure> {
        let mut arguments = property_of(id, property);
        arguments["value"] = value;
        self.execute("qom-set", arguments).map(drop)
    }

    /// Reads a property of a device.
    ///
    /// # Errors
    /// [`Failure`] if there is no such device or property.
    pub fn get(&mut self, id: &str, property: &str) -> Result<Value, Failure> {
        self.execute("qom-get", property_of(id, property))
    }

    fn read(&mut self) -> Result<Value, Failure> {
        let deadline = Instant::now() + ANSWER_WAIT_MAX;
        let line = self.lines.read(deadline).map_err(Failure::io("qemu's QMP socket"))?;
        let line = line.ok_or_else(|| Failure::child("qemu", "does not answer on its QMP socket"))?;
        serde_json::from_str(&line).map_err(|error| Failure::child("qemu", format!("{error} in {line}")))
    }
}

fn property_of(id: &str, property: &str) -> Value {
    json!({ "path": format!("/machine/peripheral/{id}"), "property": property })
}
