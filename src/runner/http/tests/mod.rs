//! Scripted servers on raw sockets: what a runner does byte by byte, and what the client sees.

mod agent;
mod answers;
mod closing;
mod connecting;
mod counting;
mod crowd;
mod early;
mod encrypted;
mod http2;
mod large_bodies;
mod plain;
mod room;
mod scripted;
mod silence;
mod smuggling;
mod tunnels;
mod unwritten;
mod withdrawing;
