//! What the product does, told as stories through a whole server: one file for each behaviour.

mod accounts;
mod bad_requests;
mod connections;
mod faults;
mod groups;
mod members;
mod matrix;
mod follow;
mod history;
mod joining;
mod lifecycle;
mod resume;
mod sending;
mod slow_reader;
mod sockets;
mod unread;
