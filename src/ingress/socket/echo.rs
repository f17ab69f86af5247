//! Answers every message with itself: what a conformance suite such as Autobahn needs to see the
//! real decoder, encoder and queue at work.
//!
//! No route leads here; `examples/autobahn_echo.rs` serves it.

use std::time::Duration;

use tokio::net::{TcpStream, tcp::OwnedReadHalf};

use crate::{
    egress::send_queue::{Pushed, SendQueue, Unsent},
    ingress::socket::{
        closing,
        decoder::{Decoder, Item, Limits},
        reader::{self, ReadError},
    },
    protocol::websocket::{
        close::CloseReason,
        encode::{binary_frame, close_frame, pong_frame, text_frame},
    },
};

/// The suite sends messages of 16 MiB, also in fragments of 64 bytes.
const LIMITS: Limits = Limits {
    message_bytes_max: 16 << 20,
    fragments_max: 1 << 20,
    text_only: false,
};

/// Room for a few of the longest messages.
const QUEUE_BYTES_MAX: usize = 64 << 20;

/// The suite judges after a second how a connection ended.
const CLOSE_GRACE: Duration = Duration::from_millis(500);

/// Serves one connection until it ends, starting with `leftover`.
pub async fn serve_echo(stream: TcpStream, leftover: Vec<u8>) {
    let (mut input, output) = stream.into_split();
    let queue = SendQueue::new(output, QUEUE_BYTES_MAX);
    if let Err(ReadError::Protocol(error)) = run(&mut input, &queue, leftover).await {
        let sentence = error.to_string();
        let reason = CloseReason {
            code: error.close_code(),
            reason: &sentence,
        };
        queue.close(&close_frame(Some(reason)), Unsent::Deliver);
    }
    closing::finish(&mut input, &queue, CLOSE_GRACE).await;
}

async fn run(
    input: &mut OwnedReadHalf,
    queue: &SendQueue,
    mut leftover: Vec<u8>,
) -> Result<(), ReadError> {
    let mut decoder = Decoder::new(LIMITS);
    decoder.feed(&mut leftover, |item| answer(queue, item))?;
    drop(leftover);
    while !queue.is_closed() {
        reader::read(input, &mut decoder, |item| answer(queue, item)).await?;
        queue.flush().await?;
    }
    Ok(())
}

fn answer(queue: &SendQueue, item: Item<'_>) {
    let frame = match item {
        Item::Text(text) => text_frame(text.as_bytes()),
        Item::Binary(payload) => binary_frame(payload),
        Item::Ping(payload) => pong_frame(payload),
        Item::Pong(_) => return,
        Item::Close(reason) => return queue.close(&close_frame(reason), Unsent::Deliver),
    };
    if queue.push(&frame) == Pushed::Full {
        queue.abort();
    }
}

#[cfg(test)]
mod tests;
