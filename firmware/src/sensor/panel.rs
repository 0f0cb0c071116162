//! Buttons and switches: from levels to what the wearer means.
//!
//! | line | level or gesture | means |
//! |---|---|---|
//! | emergency button | held for 1 s, or pressed twice within 600 ms | help, at once |
//! | with the cancel button held | the same | help, silently: the wearer may be watched |
//! | cancel button | pressed | "I am well": ends a pre-alarm, else checks in |
//! | cancel button | held for 2 s | takes raised alarms back: never by a bump |
//! | holster, CED safety | changes | an event |
//! | duty switch, dock | first level known, and changes | duty, dock |
//! | case switch | opens | an event |
//!
//! **No chord waits for another**: whether a call is silent is known when it is made, so silence costs no time. A third
//! press, which others use for it, would make every double press wait.
//!
//! A level counts once it has lasted for 30 ms; each line by itself, so one that chatters does not hold up the others. A
//! button that jams calls once. Levels that are not read (the bus fails) change nothing.

use fieldpost_protocol::EventCode;

use super::inputs::Inputs;

/// Which lines there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct PanelSettings {
    /// Lines that are connected; the others are taken to rest: weapon in, nothing pressed, not docked. Without the duty
    /// line duty comes by command alone.
    pub wired: u8,
    /// Every call by the button is silent, whatever else is held.
    pub is_always_silent: bool,
}

impl PanelSettings {
    /// Every line, and calls as the wearer makes them.
    pub const DEFAULT: Self = Self { wired: 0xFF, is_always_silent: false };
}

/// What the wearer did, or what happened to the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Act {
    /// Help is called.
    Help {
        /// The device must not sound, light or vibrate.
        silent: bool,
    },
    /// The wearer is well.
    Well,
    /// The wearer takes raised alarms back.
    TakeBack,
    /// The duty switch is at this position.
    Duty(bool),
    /// In the dock, or out of it.
    Dock(bool),
    /// A sensor changed.
    Event(EventCode),
}

/// Acts of one read: each of seven lines once, and a gesture of each button.
pub type Acts = heapless::Vec<Act, 10>;

const LINE_COUNT: usize = 8;
const DEBOUNCE_MS: u64 = 30;
const HOLD_MS: u64 = 1000;
const DOUBLE_MS_MAX: u64 = 600;
const TAKE_BACK_MS: u64 = 2000;
/// Levels of lines that are not connected.
const RESTING: u8 = Inputs::HOLSTER;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Button {
    Released,
    Pressed {
        since_ms: u64,
    },
    /// The press has had its effect.
    Spent,
}

/// Follows the lines. About 150 bytes.
#[derive(Debug, Clone)]
pub struct Panel {
    settings: PanelSettings,
    stable: u8,
    /// Since when a line differs from its stable level.
    differs_since_ms: [Option<u64>; LINE_COUNT],
    /// The duty switch until its first position is known: its level and since when.
    first_duty: Option<(bool, u64)>,
    duty_is_known: bool,
    panic: Button,
    cancel: Button,
    last_press_ms: Option<u64>,
}

impl Panel {
    /// A panel at rest.
    #[must_use]
    pub fn new(settings: PanelSettings) -> Self {
        Self {
            settings,
            stable: RESTING,
            differs_since_ms: [None; LINE_COUNT],
            first_duty: None,
            duty_is_known: false,
            panic: Button::Released,
            cancel: Button::Released,
            last_press_ms: None,
        }
    }

    /// Takes the levels of now; call it every 10 to 20 ms, changed or not.
    pub fn push(&mut self, now_ms: u64, inputs: Inputs) -> Acts {
        let wired = self.settings.wired;
        let levels = (inputs.0 & wired) | (RESTING & !wired);
        let changed = self.debounce(now_ms, levels);
        let mut acts = Acts::new();
        self.switches(changed, &mut acts);
        if let Some(act) = self.first_duty(now_ms, levels & Inputs::DUTY != 0) {
            acts.push(act).expect("one act a line, and there is room for ten");
        }
        self.panic_button(now_ms, changed & Inputs::PANIC != 0, &mut acts);
        self.cancel_button(now_ms, changed & Inputs::CANCEL != 0, &mut acts);
        acts
    }

    /// Moves lines that have lasted to the stable levels and returns which.
    fn debounce(&mut self, now_ms: u64, levels: u8) -> u8 {
        let mut changed = 0;
        for (line, since_ms) in self.differs_since_ms.iter_mut().enumerate() {
            let mask = 1 << line;
            if (levels ^ self.stable) & mask == 0 {
                *since_ms = None;
            } else if now_ms.saturating_sub(*since_ms.get_or_insert(now_ms)) >= DEBOUNCE_MS {
                *since_ms = None;
                changed |= mask;
            }
        }
        self.stable ^= changed;
        changed
    }

    fn is_high(&self, mask: u8) -> bool {
        self.stable & mask != 0
    }

    fn switches(&mut self, changed: u8, acts: &mut Acts) {
        let mut add = |act| acts.push(act).expect("one act a line, and there is room for ten");
        let events = [
            (Inputs::HOLSTER, Some(EventCode::HOLSTERED), Some(EventCode::UNHOLSTERED)),
            (Inputs::CED_ARMED, Some(EventCode::CED_ARMED), Some(EventCode::CED_SAFE)),
            (Inputs::CASE_OPEN, Some(EventCode::CASE_OPEN), None),
        ];
        for (mask, high, low) in events {
            if changed & mask != 0 {
                let code = if self.is_high(mask) { high } else { low };
                code.map(Act::Event).into_iter().for_each(&mut add);
            }
        }
        if changed & Inputs::DOCK != 0 {
            add(Act::Dock(self.is_high(Inputs::DOCK)));
        }
        if changed & Inputs::DUTY != 0 {
            self.duty_is_known = true;
            add(Act::Duty(self.is_high(Inputs::DUTY)));
        }
    }

    /// The first position is news even if it is that of rest: the switch may have been moved while the device was off.
    fn first_duty(&mut self, now_ms: u64, is_on: bool) -> Option<Act> {
        if self.duty_is_known || self.settings.wired & Inputs::DUTY == 0 {
            return None;
        }
        let (level, since_ms) = *self.first_duty.get_or_insert((is_on, now_ms));
        if level != is_on {
            self.first_duty = Some((is_on, now_ms));
            return None;
        }
        self.duty_is_known =
            now_ms.saturating_sub(since_ms) >= DEBOUNCE_MS && level == self.is_high(Inputs::DUTY);
        self.duty_is_known.then_some(Act::Duty(level))
    }

    fn panic_button(&mut self, now_ms: u64, has_changed: bool, acts: &mut Acts) {
        let mut is_call = false;
        if has_changed && self.is_high(Inputs::PANIC) {
            self.panic = Button::Pressed { since_ms: now_ms };
            let before_ms = self.last_press_ms.replace(now_ms);
            is_call = before_ms.is_some_and(|before_ms| now_ms.saturating_sub(before_ms) <= DOUBLE_MS_MAX);
        } else if has_changed {
            self.panic = Button::Released;
        }
        if let Button::Pressed { since_ms } = self.panic {
            is_call |= now_ms.saturating_sub(since_ms) >= HOLD_MS;
        }
        if is_call {
            self.panic = Button::Spent;
            self.last_press_ms = None;
            // The cancel button is part of the chord now, not a wish to cancel.
            let is_chord = self.is_high(Inputs::CANCEL);
            if is_chord {
                self.cancel = Button::Spent;
            }
            let silent = is_chord || self.settings.is_always_silent;
            acts.push(Act::Help { silent }).expect("one act a line, and there is room for ten");
        }
    }

    fn cancel_button(&mut self, now_ms: u64, has_changed: bool, acts: &mut Acts) {
        if has_changed && !self.is_high(Inputs::CANCEL) {
            self.cancel = Button::Released;
        } else if has_changed {
            self.cancel = if self.is_high(Inputs::PANIC) {
                Button::Spent
            } else {
                acts.push(Act::Well).expect("one act a line, and there is room for ten");
                Button::Pressed { since_ms: now_ms }
            };
        }
        if let Button::Pressed { since_ms } = self.cancel
            && now_ms.saturating_sub(since_ms) >= TAKE_BACK_MS
            && !self.is_high(Inputs::PANIC)
        {
            self.cancel = Button::Spent;
            acts.push(Act::TakeBack).expect("one act a line, and there is room for ten");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use proptest::prelude::{any, prop, proptest};

    use super::*;

    const REST: u8 = Inputs::HOLSTER | Inputs::DUTY;
    const PANIC: u8 = REST | Inputs::PANIC;
    const CANCEL: u8 = REST | Inputs::CANCEL;

    /// Levels with their durations, read every 10 ms; duty and dock left out.
    fn play(settings: PanelSettings, script: &[(u8, u64)]) -> Vec<(u64, Act)> {
        let mut panel = Panel::new(settings);
        let mut now_ms = 0;
        let mut acts = Vec::new();
        for (levels, lasts_ms) in script {
            for _ in 0..lasts_ms / 10 {
                acts.extend(panel.push(now_ms, Inputs(*levels)).into_iter().map(|act| (now_ms, act)));
                now_ms += 10;
            }
        }
        acts.retain(|(_, act)| !matches!(act, Act::Duty(_)));
        acts
    }

    fn acts(script: &[(u8, u64)]) -> Vec<Act> {
        play(PanelSettings::DEFAULT, script).into_iter().map(|(_, act)| act).collect()
    }

    #[test]
    fn a_press_of_a_second_calls_after_a_second_and_once() {
        let acts = play(PanelSettings::DEFAULT, &[(REST, 1000), (PANIC, 60_000), (REST, 1000)]);
        assert_eq!(acts, [(2030, Act::Help { silent: false })]);
        assert_eq!(self::acts(&[(REST, 1000), (PANIC, 900), (REST, 5000)]), [], "a bump");
    }

    #[test]
    fn two_presses_call_with_the_second() {
        assert_eq!(
            acts(&[(REST, 500), (PANIC, 100), (REST, 200), (PANIC, 100), (REST, 3000)]),
            [Act::Help { silent: false }]
        );
        let slowly = [(REST, 500), (PANIC, 100), (REST, 600), (PANIC, 100), (REST, 3000)];
        assert_eq!(acts(&slowly), [], "two bumps");
    }

    #[test]
    fn with_the_cancel_button_held_the_call_is_silent_and_cancels_nothing() {
        let chord = PANIC | Inputs::CANCEL;
        assert_eq!(
            acts(&[(REST, 500), (PANIC, 100), (chord, 6000), (REST, 500)]),
            [Act::Help { silent: true }]
        );
        // Cancel first: its press says well, and then it is the chord's.
        let script = [(REST, 500), (CANCEL, 100), (chord, 6000), (CANCEL, 5000), (REST, 500)];
        assert_eq!(acts(&script), [Act::Well, Act::Help { silent: true }]);
        // The hand that wanted to take back presses the emergency button just in time.
        let script = [(REST, 500), (CANCEL, 1900), (chord, 3000), (REST, 500)];
        assert_eq!(acts(&script), [Act::Well, Act::Help { silent: true }]);
        let always = PanelSettings { is_always_silent: true, ..PanelSettings::DEFAULT };
        let calls = play(always, &[(REST, 500), (PANIC, 2000)]);
        assert_eq!(calls[0].1, Act::Help { silent: true });
    }

    #[test]
    fn a_press_says_well_and_two_seconds_take_back() {
        assert_eq!(acts(&[(REST, 500), (CANCEL, 100), (REST, 5000)]), [Act::Well]);
        assert_eq!(acts(&[(REST, 500), (CANCEL, 9000), (REST, 500)]), [Act::Well, Act::TakeBack]);
    }

    #[test]
    fn switches_speak_when_they_change() {
        let drawn = Inputs::DUTY;
        let armed = drawn | Inputs::CED_ARMED;
        assert_eq!(
            acts(&[(REST, 100), (drawn, 100), (armed, 100), (drawn, 100), (REST, 100)]),
            [EventCode::UNHOLSTERED, EventCode::CED_ARMED, EventCode::CED_SAFE, EventCode::HOLSTERED]
                .map(Act::Event)
        );
        let docked = REST | Inputs::DOCK;
        assert_eq!(acts(&[(REST, 100), (docked, 100), (REST, 100)]), [Act::Dock(true), Act::Dock(false)]);
        assert_eq!(acts(&[(REST | Inputs::CASE_OPEN, 100), (REST, 100)]), [Act::Event(EventCode::CASE_OPEN)]);
        assert_eq!(
            acts(&[(drawn, 100)]),
            [Act::Event(EventCode::UNHOLSTERED)],
            "drawn when the device starts"
        );
    }

    #[test]
    fn the_duty_switch_is_known_soon_after_the_start_whatever_its_position() {
        for levels in [0, Inputs::DUTY] {
            let mut panel = Panel::new(PanelSettings::DEFAULT);
            let acts: Vec<Act> = (0..20).flat_map(|n| panel.push(n * 10, Inputs(levels))).collect();
            let duties: Vec<_> = acts.iter().filter(|act| matches!(act, Act::Duty(_))).collect();
            assert_eq!(duties, [&Act::Duty(levels != 0)]);
        }
    }

    #[test]
    fn a_line_that_is_not_connected_says_nothing() {
        let settings = PanelSettings { wired: Inputs::PANIC, ..PanelSettings::DEFAULT };
        let acts = play(settings, &[(0, 500), (!Inputs::PANIC, 5000), (0xFF, 2000)]);
        assert_eq!(acts.iter().map(|(_, act)| *act).collect::<Vec<_>>(), [Act::Help { silent: false }]);
    }

    proptest! {
        #[test]
        fn a_line_that_chatters_holds_up_no_other(noise in prop::collection::vec(any::<bool>(), 300)) {
            let mut panel = Panel::new(PanelSettings::DEFAULT);
            let mut calls = 0;
            for (n, chatter) in noise.iter().enumerate() {
                let holster = if *chatter { Inputs::HOLSTER } else { 0 };
                let panic = if n > 50 { Inputs::PANIC } else { 0 };
                let acts = panel.push(n as u64 * 10, Inputs(holster | panic | Inputs::DUTY));
                calls += acts.iter().filter(|act| matches!(act, Act::Help { .. })).count();
            }
            assert_eq!(calls, 1);
        }

        #[test]
        fn levels_shorter_than_the_debounce_mean_nothing(levels in prop::collection::vec(any::<u8>(), 200)) {
            let mut panel = Panel::new(PanelSettings::DEFAULT);
            for (n, level) in levels.iter().enumerate() {
                // Every other read is at rest: no level lasts.
                let now_ms = n as u64 * 20;
                let mut acts = panel.push(now_ms, Inputs(*level)).into_iter().collect::<Vec<_>>();
                acts.extend(panel.push(now_ms + 10, Inputs(REST)));
                acts.retain(|act| !matches!(act, Act::Duty(true)));
                assert_eq!(acts, []);
            }
        }
    }
}
