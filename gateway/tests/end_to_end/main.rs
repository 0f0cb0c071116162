//! The gateway's library against real parts: real sockets, real TLS and MQTT, real servers, a real disk or one that can
//! be told to go wrong. One binary, so that the gateway is linked once.

mod custody;
mod door;
mod downlink;
mod forward;
mod front_door;
mod mqtt;
