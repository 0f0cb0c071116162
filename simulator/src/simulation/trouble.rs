//! What goes wrong, and its end.

use std::io;

use fieldpost_gateway::spool::faulty::Unsynced;

use super::{
    event::{Event, Over},
    plan::Fault,
    promise::Fact,
    run::Run,
};

impl Run<'_> {
    /// A fault of the plan begins.
    pub(super) fn strike(&mut self, index: usize) {
        let (_, fault) = self.plan.faults[index];
        self.trace.note(self.now_ms, b'F', &[index as u8], format_args!("fault: {fault:?}"));
        let device = self.trouble.index(self.bodies.len());
        if matches!(fault, Fault::SyncFails { .. } | Fault::WriteFails { .. } | Fault::DiskFull { .. }) {
            self.know(&Fact::DiskFails);
        }
        match fault {
            Fault::GatewayKilled => self.crash_gateway(Unsynced::Kept, "killed"),
            Fault::GatewayPowerCut => {
                let unsynced = match self.trouble.index(3) {
                    0 => Unsynced::Lost,
                    _ => Unsynced::Torn(self.trouble.number()),
                };
                self.crash_gateway(unsynced, "power cut");
            }
            Fault::DevicePowerCut => {
                let writes = self.trouble.index(6) as u32;
                self.bodies[device].flash.cut_after(writes, self.trouble.happens(0.5));
                if self.trouble.happens(0.3) {
                    self.power_off(device);
                }
            }
            Fault::ConnectionCut => {
                if let Some(conn) = self.bodies[device].link.conn {
                    self.cut(conn);
                }
            }
            Fault::Partition { everybody: true, .. } => {
                self.everybody_is_cut_off = true;
                (0..self.bodies.len()).for_each(|device| self.cut_off(device));
            }
            Fault::Partition { .. } => {
                self.bodies[device].is_out_of_reach = true;
                self.cut_off(device);
            }
            Fault::SyncFails { after } => self.disk.fail_sync_after(after),
            Fault::WriteFails { after } => self.disk.fail_write_after(after, io::ErrorKind::Other),
            Fault::DiskFull { .. } => self.disk.set_space(Some(0)),
            Fault::SlowDisk { .. } => self.disk_is_slow = true,
            Fault::SinkDown { .. } => self.sink.set_down(true),
            Fault::GatewayClock { jump_s } => self.wall_off_s = jump_s,
            Fault::DeviceClock { jump_s } => self.bodies[device].clock_off_s = jump_s,
            Fault::BrokerKilled { .. } => self.kill_broker(),
            Fault::BrokerUnfaithful { .. } => self.broker.is_unfaithful = true,
            Fault::BrokerCut => self.lose_gateway_at_broker(),
        }
        if let Some((after_ms, over)) = fault.over(device) {
            self.events.add(self.now_ms + after_ms, Event::Over(over));
        }
    }

    /// A fault that lasts is over.
    pub(super) fn end_of(&mut self, over: Over) {
        self.trace.note(self.now_ms, b'O', &[], format_args!("over: {over:?}"));
        match over {
            Over::Partition(None) => self.everybody_is_cut_off = false,
            Over::Partition(Some(device)) => self.bodies[device].is_out_of_reach = false,
            Over::DiskFull => self.disk.set_space(None),
            Over::SlowDisk => self.disk_is_slow = false,
            Over::SinkDown => self.sink.set_down(false),
            Over::DeviceClock(device) => self.bodies[device].clock_off_s = 0,
            Over::BrokerDown => self.broker.is_down = false,
            Over::BrokerUnfaithful => self.broker.is_unfaithful = false,
        }
    }

    /// Everything works again, for good.
    pub(super) fn heal(&mut self) {
        self.trace.note(self.now_ms, b'H', &[], format_args!("everything is healed"));
        self.is_healed = true;
        self.disk.heal();
        self.disk_is_slow = false;
        self.everybody_is_cut_off = false;
        self.sink.set_down(false);
        (self.broker.is_down, self.broker.is_unfaithful) = (false, false);
        self.wall_off_s = 0;
        for device in 0..self.bodies.len() {
            self.bodies[device].is_out_of_reach = false;
            self.bodies[device].clock_off_s = 0;
            if self.bodies[device].flash.is_dead() {
                self.power_off(device);
            }
            self.bodies[device].flash.revive();
        }
    }

    /// The gateway is gone from one instant to the next; `unsynced` is what its disk forgets.
    pub(super) fn crash_gateway(&mut self, unsynced: Unsynced, words: &str) {
        let Some(gateway) = self.gateway.take() else { return };
        self.trace.note(self.now_ms, b'C', &[], format_args!("gateway ends: {words}, {unsynced:?}"));
        self.know(&Fact::Crashed { committed: gateway.committed() });
        self.crashes += 1;
        self.gateway_life += 1;
        // First the disk: nothing that is dropped below may still reach it.
        self.disk = self.disk.cut_power(unsynced);
        gateway.kill(&mut self.tasks);
        self.lose_gateway_at_broker();
        let says_so = unsynced == Unsynced::Kept;
        for conn in self.conns.keys().copied().collect::<Vec<_>>() {
            self.gateway_end_is_gone(conn, says_so);
        }
        let downtime_ms = 200 + self.trouble.index(8_000) as u64;
        self.events.add(self.now_ms + downtime_ms, Event::GatewayStarts { life: self.gateway_life });
    }
}
