//! The push path: from the log to the sockets.

pub mod send_queue; // what one connection still has to be sent
mod outlet; // its socket and its backlog, under the queue's lock
mod backlog; // the frames that the socket did not take at once
