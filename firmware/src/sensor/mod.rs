//! Sensors: bytes from a part in, readings out. Drivers of buses live with the board; here is what the bytes mean.

pub mod nmea;
